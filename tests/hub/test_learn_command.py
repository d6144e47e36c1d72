"""``edge-hub learn``: what devices sent becomes a file, with a report; or one line, and no file."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.wire import bundle, learned, messages, npz
from edge_agent.wire.increments import Increments
from edge_agent.wire.messages import Message
from edge_hub.cli import main
from edge_hub.database import bundles, contributions
from edge_hub.database.engine import Database
from edge_hub.ingest import decode
from tests.hub.test_learned import EPOCH, NOW, register
from tests.unit.hub.test_learning import MODEL, TENSORS, drawn

LEARNS = {
    "A": [{"rows": 3, "width": 4}],
    "B": [{"rows": 8, "width": 4}],
    "D": [True],
}


class Fleet:
    """A model's file, the bundle that was made of it, and devices that run that."""

    def __init__(self, folder: Path, database: Database, data: str) -> None:
        self.database = database
        self.source, self.bundle, self.output = (folder / f for f in ("office.npz", "office.eab", "new.npz"))
        self.source.write_bytes(npz.write({key: np.asarray(value) for key, value in MODEL.items()}))
        manifest = {
            "name": "office",
            "version": "1",
            "kind": "pomdp",
            "created": 0,
            "source_sha256": hashlib.sha256(self.source.read_bytes()).hexdigest(),
        }
        manifest |= {key: {} for key in ("io", "memory", "evaluation", "requires")}
        prior = folder / "pD_0.npy"
        np.save(prior, np.ones(4, np.float32))
        entries = {
            "model.json": json.dumps({"learning": LEARNS}).encode(),
            "pD_0.npy": prior.read_bytes(),
        }
        self.digest = bundle.write(self.bundle, manifest, entries)
        self._command = ["learn", "--data", data, "--fleet", "lab", "--population", "rooms"]

    def upload(self) -> None:
        found = bundle.read(self.bundle)
        row = {"digest": found.digest, "name": "office", "version": "1", "kind": "pomdp", "size": 1}
        row |= {"signer": "", "uploaded": NOW, "uploaded_by": "", "manifest": dict(found.manifest)}
        with self.database.write() as connection:
            bundles.add(connection, row, self.bundle.read_bytes())

    def contribute(self, *devices: str) -> None:
        register(self.database, *devices, bundle=self.digest)
        for number, device in enumerate(devices):
            (body,) = learned.to_bodies(drawn(number), "rooms", self.digest, EPOCH)
            payload = messages.encode(Message(body, seq=1, t=NOW))
            outcome = contributions.store(self.database, decode.learned("lab", device, payload, NOW))
            assert outcome.state == contributions.STORED, outcome.reason

    def learn(self, *options: str, source: Path | None = None) -> int:
        return main(
            [*self._command, "--source", str(source or self.source), "-o", str(self.output), *options]
        )


@pytest.fixture
def fleet(tmp_path: Path, database: Database, data: str) -> Fleet:
    return Fleet(tmp_path, database, data)


def test_the_file_that_the_bundle_was_made_of_gains_what_was_counted(fleet: Fleet, capsys) -> None:
    fleet.upload()
    fleet.contribute("a", "b", "c")
    readings = fleet.output.with_name("held.npz")
    np.savez(readings, trace_obs=np.zeros((9, 1), int), trace_executed=np.zeros((9, 1), int))
    assert fleet.learn("--no-robust", "--json", "--held-out", str(readings)) == 0
    report = json.loads(capsys.readouterr().out)
    every = [drawn(n) for n in range(3)]
    assert report["bundle"] == fleet.digest
    assert [(d["device"], d["counts"]) for d in report["devices"]] == [
        (name, one.mass) for name, one in zip("abc", every, strict=True)
    ]
    assert report["counts"] == sum(one.mass for one in every)
    assert report["held_out"]["readings"] == 9
    assert report["held_out"]["after"] != report["held_out"]["before"]
    after = npz.read(fleet.output, ModelError)
    together = Increments(every[0].model, TENSORS, 60, sum(one.units for one in every))
    assert after["pA_0"] == pytest.approx(MODEL["pA_0"] + together.counts("A_0"))


def test_the_report_for_people_names_devices_tensors_and_the_next_command(fleet: Fleet, capsys) -> None:
    fleet.upload()
    fleet.contribute("a", "b", "c")
    assert fleet.learn() == 0
    said = capsys.readouterr().out
    for word in ("3 devices", "A_0", "B_0", "D_0", f"edge-convert convert {fleet.output}"):
        assert word in said


def test_a_bundle_that_the_hub_does_not_have_is_named_by_its_file(fleet: Fleet, capsys) -> None:
    fleet.contribute("a", "b", "c")
    assert fleet.learn() == 2
    assert (
        f"no bundle that the hub has was made of it, expected --bundle FILE, one of {fleet.digest[:12]}"
        in (capsys.readouterr().err)
    )
    assert fleet.learn("--bundle", str(fleet.bundle)) == 0


@pytest.mark.parametrize(
    ("devices", "options", "line"),
    [
        ("", (), "has sent nothing that it learned"),
        ("ab", (), "learn: 2 devices contributed, expected 3 at least (--min-devices)"),
        ("abc", ("--min-devices", "4"), "3 devices contributed, expected 4"),
        ("abc", ("--min-devices", "2"), "--min-devices: found 2, expected 3 or more"),
        ("abc", ("--held-out", "/nowhere.npz"), "/nowhere.npz: No such file"),
    ],
)
def test_what_is_refused_is_one_line_and_no_file(
    fleet: Fleet, capsys, devices: str, options: tuple[str, ...], line: str
) -> None:
    fleet.upload()
    fleet.contribute(*devices)
    assert fleet.learn(*options) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert not fleet.output.exists()


def test_another_file_than_the_bundle_was_made_of_is_refused(fleet: Fleet, capsys) -> None:
    fleet.contribute("a", "b", "c")
    other = fleet.source.with_name("other.npz")
    other.write_bytes(npz.write({key: np.asarray(value) for key, value in MODEL.items() if key != "lr_pB"}))
    assert fleet.learn("--bundle", str(fleet.bundle), source=other) == 2
    assert "other.npz: " in capsys.readouterr().err
    assert not fleet.output.exists()


def test_two_devices_are_enough_for_a_plain_sum_that_is_asked_for(fleet: Fleet) -> None:
    fleet.upload()
    fleet.contribute("a", "b")
    assert fleet.learn("--no-robust", "--min-devices", "2") == 0
