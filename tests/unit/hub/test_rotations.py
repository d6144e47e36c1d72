from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.wire import signatures
from edge_agent.wire.documents import Trust
from edge_hub import rotations
from edge_hub.hub_folder import HubStore

A, B, C, D = (signatures.generate(n) for n in "abcd")


def test_a_device_that_slept_through_some_follows_them_from_what_was_kept(tmp_path: Path) -> None:
    store = HubStore(tmp_path)
    first = rotations.rotate("f", [], [A], [B.public, C.public], 2)
    second = rotations.rotate("f", [first], [B, C], [D.public], 1)
    rotations.save(store, "f", [first, second])
    kept = rotations.load(HubStore(tmp_path), "f")
    for version, keys in ((0, (A,)), (1, (B, C))):
        trust = Trust("f", tuple(k.public.raw for k in keys), len(keys), version)
        after = trust.rotated({"doc": b"{}", "signatures": [], "rotations": kept})
        assert (after.keys, after.threshold, after.version) == ((D.public.raw,), 1, 2)
    assert rotations.load(store, "other") == []


@pytest.mark.parametrize(
    ("signers", "new", "threshold", "message"),
    [
        ([B], [D], 1, "1 of the 2 signatures needed"),
        ([A], [D], 1, "0 of the 2 signatures needed"),
        ([B, C], [D], 2, "--threshold: found 2 of 1 keys"),
        ([B, C], [D, D], 2, "--threshold: found 2 of 1 keys"),
        ([B, C], [D], 0, "--threshold"),
    ],
)
def test_what_devices_would_refuse_is_not_made(signers, new, threshold, message) -> None:
    first = rotations.rotate("f", [], [A], [B.public, C.public], 2)
    with pytest.raises(ConfigError, match=message):
        rotations.rotate("f", [first], signers, [k.public for k in new], threshold)


def test_keys_that_were_replaced_sign_nothing(tmp_path: Path) -> None:
    paths = []
    for number, secret in enumerate((A, B)):
        paths.append(tmp_path / str(number))
        signatures.save(secret, paths[-1])
    known = [rotations.rotate("f", [], [A], [B.public], 1)]
    assert rotations.signers(paths[1:], "f", known) == [B]
    with pytest.raises(ConfigError, match="found 0 of the keys of rotation 1"):
        rotations.signers(paths[:1], "f", known)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    HubStore(tmp_path).save_keys("f", '[{"doc": 5}]')
    with pytest.raises(ConfigError, match=r"keys/f.json"):
        rotations.load(HubStore(tmp_path), "f")
