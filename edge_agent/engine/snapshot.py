"""A population's state as bytes: a line of JSON that says what follows, then codes, actions, free energies.

The agents' order is theirs, not the tiles': a snapshot does not depend on how a population lies in memory.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError

START, STILL = 255, 254  # action codes: the prior is D; the beliefs are the prior
_MAGIC = "edge-agent population 1"


class Snapshot(NamedTuple):
    """``belief`` uint8 (N, bytes of beliefs and window), ``action`` uint8 (N, F), ``free_energy`` float32
    (N,).
    """

    seed: int
    tick: int
    contradictions: int
    belief: NDArray[np.uint8]
    action: NDArray[np.uint8]
    free_energy: NDArray[np.float32]


def pack(
    digest: str,
    seed: int,
    tick: int,
    contradictions: int,
    belief: NDArray[np.uint8],
    action: NDArray[np.uint8],
    free_energy: NDArray[np.float32],
) -> bytes:
    """Return the bytes of a state."""
    body = belief.tobytes() + action.tobytes() + free_energy.astype("<f4").tobytes()
    head = {
        "magic": _MAGIC,
        "model": digest,
        "size": len(belief),
        "seed": seed,
        "tick": tick,
        "contradictions": contradictions,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(head).encode("ascii") + b"\n" + body


def unpack(data: bytes, digest: str, size: int, seed: int, model: StoredModel) -> Snapshot:
    """Return the state in ``data``, which has to be one of this model, size and seed.

    Raises
    ------
    ConfigError
    """
    states, factors = model.state_rows, len(model.B)
    line, _, body = data.partition(b"\n")
    try:
        head = json.loads(line)
        found = (head["magic"], head["model"], head["size"])
        numbers = int(head["seed"]), int(head["tick"]), int(head["contradictions"])
        intact = head["sha256"] == hashlib.sha256(body).hexdigest()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError("checkpoint: not a population's checkpoint") from error
    if found != (_MAGIC, digest, size):
        raise ConfigError(
            f"checkpoint: of {found[2]} agents of model {found[1]}, expected {size} of {digest}"
        )
    if any(not 0 <= number < 2**63 for number in numbers[1:]):
        raise ConfigError("checkpoint: tick or contradictions out of range")
    if not intact or len(body) != size * (states + factors + 4):
        raise ConfigError("checkpoint: damaged")
    split = size * states
    belief = np.frombuffer(body, np.uint8, split).reshape(size, states)
    action = np.frombuffer(body, np.uint8, size * factors, split).reshape(size, factors)
    free_energy = np.frombuffer(body, "<f4", size, split + size * factors)
    if numbers[0] != seed:
        raise ConfigError(f"checkpoint: seed {numbers[0]}, expected {seed}")
    starts, codes = np.cumsum((0, *model.code_rows[:-1])), sum(model.code_rows)
    for held in (belief[:, :codes], belief[:, codes : 2 * codes])[: 2 if model.slots else 1]:
        if (np.maximum.reduceat(held, starts, axis=1) == 0).any():
            raise ConfigError("checkpoint: a belief in no state at all")
    if ((action >= np.array(model.num_controls)) & (action < STILL)).any():
        raise ConfigError("checkpoint: an action that the model does not have")
    return Snapshot(*numbers, belief, action, free_energy.astype(np.float32))
