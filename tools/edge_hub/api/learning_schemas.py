"""What the routes of learning take and give. Times are Unix seconds, divergences nats."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from edge_hub.api.schemas import Digest

Count = Annotated[int, Meta(ge=0, le=2**62)]
TensorName = Annotated[str, Meta(pattern=r"^[ABD]_[0-9]{1,3}$")]


class LearnedPopulation(Struct):
    """A population that sent what it learned under a bundle; ``complete``: epochs of which all is here.

    ``name``, ``version`` and ``source_sha256`` are empty if the bundle was not uploaded.
    """

    fleet: str
    population: str
    bundle: str
    name: str
    version: str
    source_sha256: str
    devices: int
    epochs: int
    complete: int
    updates: int
    received: float


class LearnedDevice(Struct):
    """What a device contributed."""

    device: str
    epochs: int
    complete: int
    updates: int
    first: float
    last: float


class LearnedTensor(Struct, forbid_unknown_fields=True):
    """How far the columns of a tensor moved in a round: KL(after | before)."""

    name: TensorName
    counts: Annotated[float, Meta(ge=0)]
    kl_mean: float
    kl_most: float


class HeldOut(Struct, forbid_unknown_fields=True):
    """Log-likelihood of held-out readings, nats per reading, before a round and after it."""

    readings: Count
    before: float
    after: float


class NewRoundReport(Struct, forbid_unknown_fields=True):
    """What came of a round: how many devices were added and lines left out, and the file that was written."""

    sum: Annotated[str, Meta(pattern=r"^(robust|plain)$")]
    devices: Count
    refused: Count
    counts: Annotated[float, Meta(ge=0)]
    tensors: Annotated[list[LearnedTensor], Meta(max_length=256)]
    source_sha256: Digest
    output_sha256: Digest
    held_out: HeldOut | None = None


class RoundReport(NewRoundReport, kw_only=True):
    """A round as it was reported, its number in the audit, and who reported it."""

    number: int
    t: float
    who: str


class LearnedDetail(Struct):
    """Contributions under a bundle, by device, and rounds."""

    fleet: str
    population: str
    bundle: str
    devices: list[LearnedDevice]
    rounds: list[RoundReport]


class SentContribution(Struct):
    """What a device counted in an epoch: which messages (``up/learned``, base64) are here of ``pieces``."""

    device: str
    epoch: int
    received: float
    pieces: int
    messages: list[str]
