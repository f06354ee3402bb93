"""What several tests share; the folders of the project and of the tests' own files."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
BACKENDS = Path(__file__).with_name("backends")  # as users write them, one file each
