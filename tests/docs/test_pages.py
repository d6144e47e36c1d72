"""Runs every command of README.md and docs/, here or where ``ELSEWHERE`` names.

Each page begins with what the quick start left; ``navigation.py`` runs all pages one after the other.
"""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import board_checks
import given
import numpy as np
import pytest
from blocks import (
    BOARD,
    CLONE,
    DOCS,
    PYMDP,
    ROOT,
    TORCH,
    blocks,
    here,
    make_clone,
    pages,
    run,
)
from board_checks import install

pytestmark = pytest.mark.broker
START = "out/start"
QUICK = DOCS / "quick-start.md"


# Commands in the clone, and the file and words in it that run them.
ELSEWHERE = {
    "make setup": "Makefile: test: setup",
    "make demo": "tests/broker/test_demo.py: demo.py",
    "make test": ".ci/run: make test",
    "make learn-demo": "tests/hub/test_learn_demo.py: demo",
}
ON_THE_BOARD = set(given.install_commands().splitlines())
CONVERT, INSTALL = DOCS / "how-to" / "convert.md", DOCS / "how-to" / "install.md"
# What a page makes itself: a key is never overwritten.
NOT_THERE = {CONVERT: ("fleet-key*",)}


def readers_own(folder: Path) -> None:
    """Write the files that a reader of `CONVERT` is taken to have: a network, and recordings for it."""
    for name in ("policy.onnx", "recorded.npz"):
        shutil.copyfile(ROOT / "tests" / "data" / "docs" / name, folder / name)
    rng = np.random.default_rng(3)
    for name in ("held-out.npz", "day.npz"):
        np.savez(folder / name, x=(2 * rng.standard_normal((200, 6))).astype(np.float32))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quick start was run: the other pages begin with what it left."""
    folder = tmp_path_factory.mktemp("start")
    make_clone(folder)
    done = run(QUICK, folder, ".")
    assert done.returncode == 0, done.stdout
    return folder


def test_the_quick_start_runs(started: Path) -> None:
    assert (started / "clone" / START / "office.eab").exists()


@pytest.mark.parametrize(
    "page", [p for p in pages() if p != QUICK and here(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_page_runs(started: Path, tmp_path: Path, page: Path) -> None:
    clone = make_clone(tmp_path)
    left_out = shutil.ignore_patterns("state", "*.sock", "device.toml", *NOT_THERE.get(page, ()))
    shutil.copytree(started / "clone" / START, clone / START, ignore=left_out)
    if page == CONVERT:
        readers_own(clone / START)
    done = run(page, tmp_path, START)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_does_not_run_here_runs_where_its_title_says(page: Path) -> None:
    for block in blocks(page):
        where = f"{block.page}:{block.line}"
        if block.language not in ("sh", "python"):
            assert block.language in ("text", "toml", "json"), f"{where}: a language that nobody runs"
        elif block.title == CLONE:
            for command in block.commands:
                assert command in ELSEWHERE, f"{where}: {command}: not in ELSEWHERE"
        elif block.title == BOARD:
            for command in block.commands:
                assert command in ON_THE_BOARD, f"{where}: {command}: tests/arm64 does not run it"
        elif block.title:
            assert block.title in (PYMDP, TORCH), f"{where}: a title that stands for nothing"
            assert block.language == "python", where


@pytest.mark.parametrize(("command", "where"), ELSEWHERE.items())
def test_elsewhere_is_there(command: str, where: str) -> None:
    target = command.split()[1]
    makefile = (ROOT / "Makefile").read_text()
    assert f"\n{target}:" in makefile
    path, _, told = where.partition(": ")
    assert told in (ROOT / path).read_text()


def test_the_guest_is_given_what_the_page_says() -> None:
    """``install.commands`` sources the script that ``given`` makes of the page, in every boot."""
    titled = [block.text for block in blocks(INSTALL) if block.title == BOARD]
    assert titled
    assert given.install_commands() == "".join(titled)
    assert "install.commands" in board_checks.CHECKS
    assert "install.sh" in inspect.getsource(install.commands)


def test_pages_that_are_made_from_code_say_what_the_code_says() -> None:
    command = [sys.executable, ROOT / "tools" / "dev" / "docs" / "reference.py", "--check"]
    environment = {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_site_and_every_link_leads_somewhere() -> None:
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
