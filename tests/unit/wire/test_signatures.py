"""Keys: only the owner signs, and only the owner reads."""

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.wire import signatures


def test_saved_keys_load_and_fit(tmp_path: Path) -> None:
    secret = signatures.generate("hub")
    public_path = signatures.save(secret, tmp_path / "hub.key")
    assert (tmp_path / "hub.key").stat().st_mode & 0o777 == 0o600
    signature = signatures.load_secret(tmp_path / "hub.key").sign(b"text")
    public = signatures.load_public(public_path)
    assert public.verifies(b"text", signature)
    assert not public.verifies(b"texT", signature)
    assert not public.verifies(b"text", signature[:-1])


def test_loose_permissions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    signatures.save(signatures.generate("hub"), path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0640, expected 0600"):
        signatures.load_secret(path)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    signatures.save(signatures.generate("hub"), path)
    with pytest.raises(ConfigError, match="never overwritten"):
        signatures.save(signatures.generate("hub"), path)


def test_the_secret_is_not_in_its_repr() -> None:
    secret = signatures.generate("hub")
    assert secret.raw.hex() not in repr(secret)
    assert str(secret.raw) not in repr(secret)


@pytest.mark.parametrize("text", ["", "edge-agent-public-key AAAA x", "edge-agent-public-key ??? x", "x y z"])
def test_malformed_key_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k.pub"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"k\.pub"):
        signatures.load_public(path)


@pytest.mark.parametrize(
    ("mode", "inside", "private"),
    [(0o440, True, True), (0o440, False, False), (0o444, True, False), (0o460, True, False)],
)
def test_what_systemd_passes_may_be_readable_by_its_access_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, inside: bool, private: bool
) -> None:
    path = tmp_path / "edge-agent.service" / "secret_broker"
    path.parent.mkdir()
    path.write_text("swordfish")
    path.chmod(mode)
    if inside:
        monkeypatch.setattr(signatures, "CREDENTIALS", tmp_path)
    if private:
        signatures.check_private(path)
    else:
        with pytest.raises(ConfigError, match="expected 0600 for a secret"):
            signatures.check_private(path)
