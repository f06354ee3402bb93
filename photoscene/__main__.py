"""`python -m photoscene` is the command `photoscene`."""

from photoscene.cli import app

if __name__ == "__main__":
    app(prog_name="photoscene")
