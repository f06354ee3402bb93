"""What a person names on the command line, checked and taken into the store."""
