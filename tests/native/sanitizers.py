"""The kernel is clean under AddressSanitizer and UndefinedBehaviorSanitizer; `make asan` runs this."""

import subprocess

import pytest

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
