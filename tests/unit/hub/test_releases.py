"""Releases on the hub's side: made, stored, chosen for a document, refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import ConfigError
from edge_agent.wire import documents, signatures
from edge_hub import releases, rotations, signed_json
from edge_hub.cli import main
from edge_hub.hub_folder import HubStore
from tests.support import fan

RELEASE, OTHER, DIRECTOR = (signatures.generate(n) for n in ("release", "other", "director"))


def made(number: int, bundle: str = "a" * 64, population: str = "p", **other: Any) -> signed_json.Signed:
    document = {"fleet": "f", "population": population, "bundle": bundle, "number": number, "issued": 1.0}
    return releases.make(document | other, [RELEASE])


def test_what_is_kept_comes_back_and_more_signatures_replace_it(tmp_path: Path) -> None:
    store, one, two = HubStore(tmp_path), made(1), made(2)
    releases.keep(store, "f", one)
    releases.keep(store, "f", two)
    again = one | {"signatures": [*one["signatures"], *made(1)["signatures"]]}
    releases.keep(store, "f", again)
    assert releases.load(HubStore(tmp_path), "f") == [two, again]
    assert releases.load(store, "g") == []


def test_of_each_population_the_newest_release_of_its_bundle_goes_along() -> None:
    a, b, c = "a" * 64, "b" * 64, "c" * 64
    old, new, wide = made(1, a), made(2, b), made(3, c, allows=[a])
    alone = made(4, a, devices=["e"])
    known = [old, new, wide, alone, made(9, a, "q")]
    assert releases.chosen(known, {"p": {"bundle": b}}, "d") == [new]
    assert releases.chosen(known, {"p": {"bundle": a}}, "d") == [wide]
    assert releases.chosen(known, {"p": {"bundle": a}}, "e") == [alone]
    assert releases.chosen(known, {"r": {"bundle": a}, "p": {"bundle": "d" * 64}}, "d") == []


def test_whose_releases_count() -> None:
    assert releases.trust_of("f", [], [], 1) is None
    told = releases.trust_of("f", [], [RELEASE.public.raw], 1)
    assert told is not None
    assert releases.check(told, made(1))["number"] == 1
    with pytest.raises(ConfigError, match="0 of the 1 signatures needed are by release keys"):
        releases.check(told, documents.signed({}, documents.RELEASE, [OTHER]))
    split = rotations.rotate("f", [], [OTHER], [DIRECTOR.public], 1, [RELEASE.public])
    rotated = releases.trust_of("f", [split], [OTHER.public.raw], 1)
    assert rotated is not None
    assert rotated.release_keys == (RELEASE.public.raw,)


def test_a_rotation_keeps_the_role_that_it_does_not_name() -> None:
    split = rotations.rotate("f", [], [OTHER], [DIRECTOR.public], 1, [RELEASE.public])
    director = rotations.rotate("f", [split], [RELEASE], [OTHER.public], 1)
    trust = rotations.trusted("f", [split, director])
    assert trust is not None
    assert (trust.keys, trust.release_keys) == ((OTHER.public.raw,), (RELEASE.public.raw,))
    with pytest.raises(ConfigError, match="are by release keys"):
        rotations.rotate("f", [split], [DIRECTOR], [OTHER.public], 1)
    with pytest.raises(ConfigError, match="one role for each"):
        rotations.rotate("f", [], [OTHER], [DIRECTOR.public], 1, [DIRECTOR.public])
    with pytest.raises(ConfigError, match="--release-threshold: found 2 of 1"):
        rotations.rotate("f", [], [OTHER], [DIRECTOR.public], 1, [RELEASE.public], 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a release: Expecting"),
        ("[]", "not {doc, signatures}"),
        ('{"doc": "{}", "signatures": [{"key": "zz", "signature": ""}]}', "not {doc, signatures}"),
        ('{"doc": "{}", "signatures": []}', "not a release: release: fleet is missing"),
        ('{"doc": "5", "signatures": []}', "not a release: expected an object"),
    ],
)
def test_a_file_that_is_no_release_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.release"
    path.write_text(text)
    with pytest.raises(ConfigError) as found:
        releases.read(path)
    assert str(found.value).startswith(f"{path}: ")
    assert reason in str(found.value)


def test_the_command_says_what_it_released_and_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    key, path = tmp_path / "key", tmp_path / "fan.eab"
    signatures.save(RELEASE, key)
    digest = fan.write(path, fan.model())
    words = ["sign", str(path), "--fleet", "f", "--population", "p", "--sign", str(key)]
    assert main([*words, "--device", "pi", "--days", "7", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["release"]
    assert (document["bundle"], document["devices"]) == (digest, ["pi"])
    assert document["expires"] - document["issued"] == pytest.approx(7 * 86_400)
    assert json.loads(releases.read(tmp_path / "fan.release")["doc"]) == document

    lines = []
    for wrong in (
        words[:-2],
        [*words[:3], "a/b", *words[4:]],
        [*words, "--days", "-1"],
        [*words, "--device", "a#"],
        ["sign", "--sign", str(key)],
        ["sign", str(tmp_path / "no.eab"), *words[2:]],
    ):
        assert main(wrong) == 2
        lines.append(capsys.readouterr().err)
    assert all(line.count("\n") == 1 and line.startswith("edge-hub: ") for line in lines)
    key.chmod(0o644)
    assert main(words) == 2
    assert "mode is 0644, expected 0600" in capsys.readouterr().err
