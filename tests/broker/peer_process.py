"""One device of a real fleet in a separate process: prints what it computes and confirms."""

from __future__ import annotations

import json
import random
import sys
import threading

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.peers.peer import PeerSettings
from tests.support import peer_worlds
from tests.support.peer_fleet import PeerDevice


def main(port: int, number: int, devices: int) -> None:
    one = peer_worlds.candidate(random.Random(number), number)
    rng = random.Random(77)
    objectives = [peer_worlds.objective(rng, n) for n in range(devices // 3)]
    about = {"capabilities": one.capabilities, "position": one.position, "capacity": one.capacity}
    wake = threading.Event()
    client = PahoClient(MqttSettings("127.0.0.1", one.name, port), wake.set)
    clock = SystemClock()
    device = PeerDevice(one.name, client, clock, PeerSettings(heartbeat=2.0, pause=0.1), about, objectives)
    device.start()
    said = None
    while True:
        wake.clear()
        device.run_once()
        peer = device.peer
        confirmed = [] if peer.confirmed is None else [name for _, name in peer.confirmed.members]
        mine = [] if peer.coalition is None else [name for _, name in peer.coalition.members]
        state = {
            "plan": peer.formation.plan.hex(),
            "coalitions": len(peer.formation.coalitions),
            "here": len(peer.members),
            "mine": mine,
            "agreed": confirmed == mine,
        }
        if state != said:
            print(json.dumps(state), flush=True)
            said = state
        deadlines = [d for d in (device.session.deadline, peer.deadline) if d is not None]
        wake.wait(max(0.0, min([*deadlines, clock.monotonic() + 1.0]) - clock.monotonic()))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
