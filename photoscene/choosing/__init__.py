"""Choosing masks by hand: at a prompt or in a local page, one entry at a time."""

PROMPTS, MASKS = "prompts.json", "masks.png"  # what a choice leaves in the run folder
