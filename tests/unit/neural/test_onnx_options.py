"""Sessions of ONNX Runtime add products of int8 without overflow on every processor."""

from pathlib import Path

import pytest

from edge_agent.neural.onnx import cpuinfo, session_options

NAME = "session.x64quantprecision"


def test_weights_are_taken_as_uint8_where_sums_of_int8_would_overflow() -> None:
    options = session_options(1, "processor : 0\nflags : fpu avx2\n")
    assert options.get_session_config_entry(NAME) == "1"


def test_a_processor_that_the_system_hides_gets_exact_sums(tmp_path: Path) -> None:
    options = session_options(1, cpuinfo(tmp_path / "hidden"))
    assert options.get_session_config_entry(NAME) == "1"


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni"])
def test_weights_stay_int8_where_the_processor_adds_in_32_bits(flag: str) -> None:
    options = session_options(1, f"processor : 0\nflags : fpu avx2 {flag}\n")
    with pytest.raises(RuntimeError, match=NAME):
        options.get_session_config_entry(NAME)
