"""Commands that measure and show what photoscene does on known photos and scenes."""
