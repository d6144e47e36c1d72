"""Keys and signatures on the command line: who signed what, and who may."""

import stat
from pathlib import Path
from typing import Any


def test_signed_bundle_verifies_against_the_key_that_signed(
    command: Any, source: Path, tmp_path: Path
) -> None:
    key, out = tmp_path / "ann", tmp_path / "light.eab"
    status, made, _ = command("keygen", key, "--name", "ann")
    assert status == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    command("convert", source, "-o", out, "--sign", key)
    status, result, _ = command("verify", out, "--key", made["public_key"])
    assert status == 0
    assert result["signature"] == {"signed": True, "by": "ann", "fingerprint": made["fingerprint"]}
    assert result["created"].startswith("20")


def test_another_key_or_none_is_refused(command: Any, source: Path, tmp_path: Path) -> None:
    for name in ("ann", "bob"):
        command("keygen", tmp_path / name)
    unsigned, signed = tmp_path / "unsigned.eab", tmp_path / "signed.eab"
    command("convert", source, "-o", unsigned)
    command("convert", source, "-o", signed, "--sign", tmp_path / "ann")
    for path, words in ((unsigned, "not signed"), (signed, "signed by")):
        status, _, error = command("verify", path, "--key", tmp_path / "bob.pub")
        assert status == 2
        assert words in error


def test_a_key_is_never_overwritten(command: Any, tmp_path: Path) -> None:
    command("keygen", tmp_path / "ann")
    old = (tmp_path / "ann").read_bytes()
    assert command("keygen", tmp_path / "ann")[0] == 2
    assert (tmp_path / "ann").read_bytes() == old


def test_a_key_that_others_can_read_does_not_sign(command: Any, source: Path, tmp_path: Path) -> None:
    command("keygen", tmp_path / "ann")
    (tmp_path / "ann").chmod(0o644)
    status, _, error = command("convert", source, "-o", tmp_path / "o.eab", "--sign", tmp_path / "ann")
    assert (status, "0644" in error) == (2, True)
