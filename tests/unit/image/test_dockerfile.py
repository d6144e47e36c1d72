"""hadolint accepts the Dockerfiles."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HADOLINT = Path(sys.executable).parent / "hadolint"


@pytest.mark.parametrize("name", ["Dockerfile.arm64", "deploy/hub/Dockerfile"])
def test_the_recipe_is_clean(name: str) -> None:
    found = subprocess.run([HADOLINT, ROOT / name], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_a_careless_recipe_is_noticed(tmp_path: Path) -> None:
    recipe = tmp_path / "Dockerfile"
    recipe.write_text("FROM debian\nRUN sudo apt-get install python3\n")
    found = subprocess.run([HADOLINT, recipe], capture_output=True, text=True, check=False)
    assert found.returncode != 0
