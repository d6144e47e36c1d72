"""The kernels are clean under AddressSanitizer and UndefinedBehaviorSanitizer; `make asan` runs this."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import edge_agent
from edge_agent.engine import isa
from tests.native.dump import build, dump, expected
from tests.native.models import models, observations

SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
ISAS = [i.name for i in isa.available()]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"), "cc", ISAS, *SANITIZERS)


@pytest.mark.parametrize("name", list(models()))
@pytest.mark.parametrize("isa_name", ISAS)
def test_clean(program, tmp_path, name: str, isa_name: str) -> None:
    model = models()[name]
    for agents, threads in ((1, 1), (3, 1), (17, 1), (130, 2)):
        table = observations(model, agents)
        dump(tmp_path / "dump", model, table)
        command = [program, tmp_path / "dump", isa_name, str(threads), tmp_path / "out"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
        assert (tmp_path / "out").read_bytes() == expected(model, table)


def test_a_step_of_networks_is_clean(tmp_path) -> None:
    library = tmp_path / "_feed.abi3.so"
    include = sysconfig.get_paths()["include"]
    source = Path(edge_agent.__file__).parent / "neural" / "kernel" / "module.c"
    limited = ["-DPy_LIMITED_API=0x030B0000", f"-I{include}"]
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", *SANITIZERS, *limited, source, "-o", library], check=True
    )
    runtimes = [
        subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan.so", "libubsan.so")
    ]
    run = subprocess.run(
        [sys.executable, "-m", "tests.native.feed", library],
        env=os.environ | {"LD_PRELOAD": " ".join(map(str.strip, runtimes)), "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
