"""The example's files import each other by name, as they do when run as scripts."""

import sys
from pathlib import Path

import pytest

from edge_convert.cli import main

OFFICE = Path(__file__).parents[3] / "examples" / "office"
sys.path.insert(0, str(OFFICE))


@pytest.fixture(scope="session")
def office_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office's model, as the demo makes it."""
    path = tmp_path_factory.mktemp("office") / "office.npz"
    data = OFFICE / "data" / "office_occupancy.csv"
    assert main(["fit", str(data), "--template", str(OFFICE / "office.toml"), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def office_eab(office_npz: Path) -> Path:
    """The office's bundle, as the demo makes it."""
    path = office_npz.with_suffix(".eab")
    assert main(["convert", str(office_npz), "-o", str(path), "--name", "office"]) == 0
    return path
