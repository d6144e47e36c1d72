"""Replays the corpus: seeds, and every input that once broke a decoder."""

import importlib
import logging
from pathlib import Path

import pytest

from tests.fuzz import TARGETS, contract

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.filterwarnings("default")  # what libraries warn of is for their users to see, not a crash
@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    target = importlib.import_module(f"tests.fuzz.{name}")
    target.decode(target.seed())  # an input that is right is decoded
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) >= len(list(target.seeds()))
    for path in inputs:
        with contract.bounded():
            contract.holds(target.decode, path.read_bytes())


def test_the_contract_finds_foreign_errors_waste_and_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(data: bytes) -> None:
        data.decode("ascii")

    def wasteful(data: bytes) -> None:
        bytes(2 * contract.MEMORY_BYTES)

    with pytest.raises(UnicodeDecodeError):
        contract.holds(foreign, b"\xff")
    with pytest.raises(MemoryError), contract.bounded():
        contract.holds(wasteful, b"")
    monkeypatch.setattr(contract, "SECONDS", -1.0)
    with pytest.raises(contract.TooSlowError):
        contract.holds(len, b"")
