"""The kernels are clean under AddressSanitizer and UndefinedBehaviorSanitizer; `make asan` runs this."""

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import edge_agent
from edge_agent.engine import _counts, _kernel, isa
from tests.native.dump import ROOT, WIDE, build, build_extension, dump, expected
from tests.native.models import models, observations

SANITIZERS = (
    "-g",
    "-O1",
    "-fPIC",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
ISAS = [i.name for i in isa.available()]
BUILT = list(WIDE) if platform.machine() == "x86_64" else ["baseline"]
"""What isa.c refers to; this processor runs `ISAS` of them."""

pytestmark = pytest.mark.timeout(1800)  # compiling with sanitizers takes a while


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def program(folder):
    return build(folder, "cc", BUILT, *SANITIZERS)


@pytest.fixture(scope="module")
def extension(folder):
    return build_extension(folder, "cc", BUILT, *SANITIZERS)


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


def sanitized() -> dict[str, str]:
    """Return an environment in which an interpreter can load an extension built with sanitizers."""
    runtimes = [
        subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # leaks: the interpreter's own at exit; malloc: so that what is past a Python object is seen
    options = {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc", "PYTHONPATH": str(ROOT)}
    return os.environ | options | {"LD_PRELOAD": " ".join(runtimes)}


@pytest.mark.parametrize("isa_name", ISAS)
def test_the_extension_is_clean(extension, monkeypatch, isa_name: str) -> None:
    monkeypatch.setenv(isa.VARIABLE, isa_name)
    script = [sys.executable, "-m", "tests.native.exercise"]
    command = [*script, extension]
    run = subprocess.run(command, env=sanitized(), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    plain = subprocess.run([*script, _kernel.__file__], capture_output=True, text=True, check=True)
    assert run.stdout == plain.stdout


def test_a_step_of_networks_is_clean(tmp_path) -> None:
    library = tmp_path / "_feed.abi3.so"
    include = sysconfig.get_paths()["include"]
    source = Path(edge_agent.__file__).parent / "neural" / "kernel" / "module.c"
    limited = ["-DPy_LIMITED_API=0x030B0000", f"-I{include}"]
    subprocess.run(["cc", "-shared", *SANITIZERS, *limited, source, "-o", library], check=True)
    command = [sys.executable, "-m", "tests.native.feed", library]
    run = subprocess.run(command, env=sanitized(), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("flags", [(), ("-U__SSE2__",)])  # the second: as other processors have it
def test_counting_is_clean(tmp_path, flags: tuple[str, ...]) -> None:
    library = tmp_path / "_counts.abi3.so"
    include = sysconfig.get_paths()["include"]
    kernel = Path(edge_agent.__file__).parent / "engine" / "kernel"
    limited = ["-DPy_LIMITED_API=0x030B0000", f"-I{include}", "-ffp-contract=off"]
    sources = [kernel / "counts_module.c", kernel / "counts.c"]
    subprocess.run(["cc", "-shared", *SANITIZERS, *flags, *limited, *sources, "-o", library], check=True)
    script = [sys.executable, "-m", "tests.native.counts"]
    run = subprocess.run([*script, library], env=sanitized(), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    plain = subprocess.run([*script, _counts.__file__], capture_output=True, text=True, check=True)
    assert run.stdout == plain.stdout
