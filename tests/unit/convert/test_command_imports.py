"""``edge-convert`` starts fast: a command loads no library that only another one needs."""

import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, sys
from edge_convert.cli import main
with contextlib.suppress(SystemExit):
    main([sys.argv[1], "--help"])
print(*{"ai_edge_quantizer", "matplotlib"} & sys.modules.keys())
"""


@pytest.mark.parametrize("command", ["fit", "inspect", "keygen", "verify"])
def test_a_command_loads_no_library_of_the_others(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, command], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done[0].startswith("usage: ")
    assert done[-1] == ""
