"""One file per step: its VERSION, its call (what it reads and how it is keyed), its compute."""
