"""The generator's benchmark: FLOP counts, steps, shortcuts and memory."""
