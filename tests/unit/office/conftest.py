"""The example's files import each other by name, as they do when run as scripts."""

import sys
from pathlib import Path

OFFICE = Path(__file__).parents[3] / "examples" / "office"
sys.path.insert(0, str(OFFICE))
