"""Three devices around one hidden world, and what one agent that saw everything would believe.

Theory of operation. Each tick the world moves, each device sees it through a sensor of its own and shares
what that says; the oracle filters all of it in float64, uncoded and at once. `ThreeDevices.history` keeps the
oracle's beliefs by tick, to compare with what the devices believe about a tick once everything that will
arrive has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_agent.protocol.peers.bayes_fusion import BayesFusion, Filter
from edge_agent.protocol.peers.codes import divergence
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange, ExchangeSettings
from edge_agent.protocol.peers.peer import PeerSettings
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from tests.support.hidden_world import HiddenWorld
from tests.support.peer_fleet import PeerDevice, PeerFleet

NAMES = ("north", "south", "west")
CHANNEL = "room"
WINDOW = 32
_HOP = 1 - 0.7**0.5  # a message makes two hops, to the broker and from it: 30 % of them are lost


def hostile(seed: int) -> Adversary:
    """Return a network that loses 30 % of the messages, and delays, doubles and reorders them."""
    return Adversary(seed, lose=_HOP, double=0.2, delay=1.5, overtake=True)


class ThreeDevices:
    """See the module's head.

    Parameters
    ----------
    seed : int
        Of the world.
    adversary : Adversary
        On the way of every message.
    controls : int
        Above 1, the first device steers the factor.
    settings : ExchangeSettings, optional
        Of all three.
    model : callable (HiddenWorld) -> Filter, optional
        Makes the filter that a device fuses with; default the exact one.
    """

    def __init__(
        self,
        seed: int,
        adversary: Adversary,
        controls: int = 1,
        settings: ExchangeSettings | None = None,
        model: Callable[[HiddenWorld], Filter] | None = None,
    ) -> None:
        self.world = HiddenWorld(seed, controls=controls)
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock, adversary)
        self.fleet = PeerFleet(self.clock, self.broker)
        self.everything = self.world.D
        self.history: dict[int, NDArray[np.float64]] = {}
        self._settings = settings or ExchangeSettings()
        self.steered = controls > 1
        self._controls = controls
        self._model = model
        self._action = -1
        self._choices = np.random.default_rng(seed)
        for name in NAMES:
            self.boot(name)

    def crash(self, name: str) -> None:
        """Stop a device dead."""
        self.fleet.devices[name].frozen = True
        self.broker.cut(name)

    def wake(self, name: str) -> None:
        """Let a device that was stopped go on with what it knew."""
        self.fleet.devices[name].frozen = False

    def boot(self, name: str) -> None:
        """Start a device, which knows nothing."""
        device = PeerDevice(
            name, self.broker.client(name), self.clock, PeerSettings(), {}, sharing=self._settings
        )
        tick = device.sharing.tick_of(self.clock.time()) + 1
        controller = (NAMES[0], 0) if self.steered else None
        model = self.world.filter if self._model is None else self._model(self.world)
        fusion = BayesFusion(model, self.world.D, tick, WINDOW, controller)
        device.sharing.advance(self.clock.time())
        device.sharing.open(CHANNEL, fusion, NAMES)
        self.fleet.devices.pop(name, None)
        self.fleet.add(device)

    def tick(self, seeing: bool = True) -> int:
        """Let a second pass; return the fleet tick."""
        self.fleet.run(1.0, step=0.25)
        self.world.move(max(self._action, 0))
        belief = self.world.filter.predict(self.everything, self._action)
        action = int(self._choices.integers(self._controls)) if self.steered else -1
        now = 0
        for sensor, name in enumerate(NAMES):
            device = self.fleet.devices[name]
            if device.frozen:
                continue
            now = device.sharing.advance(self.clock.time())
            if seeing:
                likelihood = self.world.see(sensor)
                device.sharing.observe(CHANNEL, 0, likelihood, action if sensor == 0 else -1)
                belief = belief * likelihood
            device.perform(device.sharing.flush(self.clock.time()))
        self._action = action if seeing else -1
        self.everything = belief / belief.sum()
        self.history[now] = self.everything
        return now

    def sharing(self, name: str) -> EvidenceExchange:
        """Return a device's part in sharing."""
        return self.fleet.devices[name].sharing

    def error(self, name: str) -> float:
        """Return D(oracle || device) for the tick at the edge of the window, nats."""
        edge, belief = self.sharing(name).fusion(CHANNEL).base
        return divergence(self.history[edge], belief)

    def error_now(self, name: str) -> float:
        """Return D(oracle || device) for the present tick, nats."""
        return divergence(self.everything, self.sharing(name).fusion(CHANNEL).belief())


def worst_error(trio: ThreeDevices, steps: int = 200, crash: int = 90, back: int = 96) -> float:
    """Run a trio whose third device stops for a while; return the worst error of any device at any tick.
    The last ticks are quiet, until what was seen last is at the edge of the window; where nobody steers, and
    so no action can be missing, beliefs about the present are compared then too.
    """
    worst = 0.0
    for step in range(steps):
        if step == crash:
            trio.crash(NAMES[2])
        if step == back:
            trio.wake(NAMES[2])
        trio.tick()
        if step > WINDOW:
            worst = max(worst, *(trio.error(n) for n in NAMES if not trio.fleet.devices[n].frozen))
    for _ in range(WINDOW):
        trio.tick(seeing=False)
    worst = max(worst, *(trio.error(name) for name in NAMES))
    return worst if trio.steered else max(worst, *(trio.error_now(name) for name in NAMES))
