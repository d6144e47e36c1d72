"""A bundle loads as written, or not at all."""

import zipfile
from pathlib import Path

import pytest

from edge_agent.errors import BundleError
from edge_agent.wire import bundle, signatures

FIELDS = {
    "name": "office",
    "version": "1",
    "kind": "pomdp",
    "created": 0,
    "source_sha256": "",
    "io": {},
    "memory": {},
    "evaluation": {},
    "requires": {},
}
ENTRIES = {"b.npy": bytes(100), "a.npy": b"12345"}


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "office.eab"
    bundle.write(path, FIELDS, ENTRIES, signatures.generate("me"))
    return path


def test_entries_come_back_aligned_and_signed(signed: Path) -> None:
    loaded = bundle.read(signed)
    assert {name: bytes(data) for name, data in loaded.entries.items()} == ENTRIES
    assert loaded.signer is not None
    raw = signed.read_bytes()
    assert raw.index(b"12345") % 64 == 0


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1.eab", tmp_path / "2.eab"
    assert bundle.write(first, FIELDS, ENTRIES) == bundle.write(
        second, FIELDS, dict(reversed(ENTRIES.items()))
    )
    assert first.read_bytes() == second.read_bytes()


def test_no_flipped_byte_loads(signed: Path, tmp_path: Path) -> None:
    raw = signed.read_bytes()
    flipped = tmp_path / "flipped.eab"
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1 << (position % 8)
        flipped.write_bytes(changed)
        with pytest.raises(BundleError, match=r"flipped\.eab"):
            bundle.read(flipped)


@pytest.mark.parametrize("cut", [0, 1, 100, 500, -1])
def test_truncated_is_refused(signed: Path, cut: int) -> None:
    signed.write_bytes(signed.read_bytes()[:cut])
    with pytest.raises(BundleError):
        bundle.read(signed)


def archive(path: Path, entries: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in entries:
            made.writestr(name, data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_no_writer_of_ours_makes_are_refused(signed: Path) -> None:
    for entries, message in (
        (
            [(f"{n}.npy", b"") for n in range(bundle.MAX_ENTRIES + 1)],
            f"{bundle.MAX_ENTRIES + 1} entries, at most",
        ),
        ([("a.npy", b"1"), ("a.npy", b"2")], "a.npy stands in it twice"),
    ):
        archive(signed, entries)
        with pytest.raises(BundleError, match=message):
            bundle.read(signed)


def test_a_key_of_another_type_is_named(tmp_path: Path) -> None:
    bundle.write(tmp_path / "b.eab", FIELDS | {"io": []}, ENTRIES)
    with pytest.raises(BundleError, match=r"manifest.json: io is list, which is not its type"):
        bundle.read(tmp_path / "b.eab")


def test_appended_and_prepended_bytes_are_refused(signed: Path) -> None:
    raw = signed.read_bytes()
    for changed in (raw + b"\0", b"\0" + raw):
        signed.write_bytes(changed)
        with pytest.raises(BundleError):
            bundle.read(signed)


def test_failed_write_leaves_the_old_bundle(signed: Path) -> None:
    old = signed.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        bundle.write(signed, FIELDS | {"memory": {"x": float("nan")}}, ENTRIES)
    assert signed.read_bytes() == old
    assert [path.name for path in signed.parent.iterdir()] == ["office.eab"]
