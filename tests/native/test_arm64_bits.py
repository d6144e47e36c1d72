"""Emulated Cortex-A53, A72 and A76 give the same bits as this machine."""

import shutil
import subprocess

import pytest

from tests.native.dump import build, dump, expected
from tests.native.models import models, observations

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")

pytestmark = pytest.mark.skipif(
    not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"{COMPILER} or {EMULATOR} is missing"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("aarch64"), COMPILER, ["baseline"], "-static")


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", list(models()))
def test_same_bits(program, tmp_path, name: str, cpu: str) -> None:
    model = models()[name]
    for agents, threads in ((1, 1), (70, 2)):
        table = observations(model, agents, ticks=3)
        dump(tmp_path / "dump", model, table)
        arguments = (tmp_path / "dump", "baseline", str(threads), tmp_path / "out")
        subprocess.run([EMULATOR, "-cpu", cpu, program, *arguments], check=True)
        assert (tmp_path / "out").read_bytes() == expected(model, table)
