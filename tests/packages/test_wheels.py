"""Each of the three wheels installs alone into an empty environment, without files of the others.

``make test`` installs the device's; ``make test-debs`` installs all three, which takes minutes.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packages.conftest import ROOT, run

PACKAGES = {"edge_agent": "edge-agent", "edge_convert": "edge-convert", "edge_hub": "edge-hub"}
NEEDED = {"edge_agent": [], "edge_convert": ["edge_agent"], "edge_hub": ["edge_agent"]}
INSTALLED = PACKAGES if os.environ.get("EDGE_AGENT_WHEELS") == "all" else ("edge_agent",)

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_files_of_its_package_alone(wheels: dict[str, Path], package: str) -> None:
    names = zipfile.ZipFile(wheels[package]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {package, next(top for top in tops if top.endswith(".dist-info"))}
    others = set(PACKAGES) - {package}
    assert not [name for name in names if any(other in name for other in others)]
    assert not [name for name in names if name.endswith((".c", ".h", "pyproject.toml"))]
    sources = ROOT / "edge_agent" if package == "edge_agent" else ROOT / "tools" / package
    modules = {f"{package}/{path.relative_to(sources)}" for path in sources.rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_the_wheel_is_for_systems_as_old_as_glibc_2_17(wheels: dict[str, Path]) -> None:
    """The kernel in it is the one that `make setup` compiled and that all tests run."""
    wanted = re.findall(r"manylinux_(\d+)_(\d+)_x86_64", wheels["edge_agent"].name)
    assert wanted
    assert min((int(major), int(minor)) for major, minor in wanted) <= (2, 17)


@pytest.mark.parametrize("package", INSTALLED)
def test_a_wheel_works_alone(wheels: dict[str, Path], package: str, tmp_path: Path) -> None:
    """In an empty environment with its dependencies, of which edge-agent's wheel may be one."""
    run(sys.executable, "-m", "venv", tmp_path)
    programs = tmp_path / "bin"
    index = ["--find-links", wheels["edge_agent"].parent, "--constraint", ROOT / "constraints.txt"]
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "-q", "--no-compile", *index, wheels[package])
    run(*pip, "check")

    program = PACKAGES[package]
    assert run(programs / program, "--version").stdout.startswith(f"{program} ")
    assert f"usage: {program}" in run(programs / program, "--help").stdout
    there = {name for name in PACKAGES.values() if (programs / name).exists()}
    assert there == {PACKAGES[name] for name in (package, *NEEDED[package])}
    for other in set(PACKAGES) - {package, *NEEDED[package]}:
        script = f"import {other}"
        missing = subprocess.run(
            [programs / "python", "-c", script], capture_output=True, text=True, check=False
        )
        assert f"No module named '{other}'" in missing.stderr


def test_a_device_has_its_extras_and_none_of_the_converter_s(wheels: dict[str, Path]) -> None:
    metadata = zipfile.ZipFile(wheels["edge_agent"])
    (name,) = [name for name in metadata.namelist() if name.endswith("METADATA")]
    lines = metadata.read(name).decode().splitlines()
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra")}
    assert {"litert", "onnx", "tflite", "h3", "metrics"} <= extras
    assert "convert" not in extras
