"""The lite profile measured: what it makes of a photo alone, and every stage beside its rivals."""
