"""Pure functions, one folder per stage and one file per backend."""
