"""Real brokers as processes on loopback, each with its own data, started again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from tests.daemon_process import until

HERE = Path(__file__).parent
AEDES = HERE.parents[1] / "build/aedes"


class Server:
    """A process that listens for MQTT on ``port``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return what starts it."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return what is added to its environment."""
        return {}

    def start(self) -> None:
        """Start it and return when it listens."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=os.environ | self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._listens, f"{type(self).__name__} listens", 120.0)

    def kill(self) -> None:
        """Kill it, and what it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Rabbitmq(Server):
    """RabbitMQ with its MQTT plug-in, and a port mapper of Erlang of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._distribution = free_port()
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:{self.port}\n"
            "mqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n"
        )
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        self._mapper_port = free_port()
        self._mapper = subprocess.Popen(["epmd", "-port", str(self._mapper_port)])

    def close(self) -> None:
        super().close()
        self._mapper.kill()
        self._mapper.wait()

    def command(self) -> Sequence[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
        }


class Nats(Server):
    """NATS with JetStream, which its MQTT needs."""

    def command(self) -> Sequence[str]:
        path = self.folder / "nats.conf"
        path.write_text(
            f'server_name: test\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{self.folder}/store" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )
        return ["nats-server", "-c", str(path)]


class Aedes(Server):
    """aedes, which keeps everything in memory."""

    SCRIPT = """
        const { Aedes } = require("aedes");
        const { createServer } = require("aedes-server-factory");
        const port = Number(process.argv[1]);
        Aedes.createBroker().then((broker) => createServer(broker).listen(port, "127.0.0.1"));
    """

    def command(self) -> Sequence[str]:
        return ["node", "-e", self.SCRIPT, str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"NODE_PATH": str(AEDES / "node_modules")}


class Amqtt(Server):
    """amqtt, which speaks MQTT 3.1.1 alone and does not answer a CONNECT of version 5."""

    SCRIPT = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    listener = {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    await Broker({"listeners": {"default": listener}, "plugins": plugins}).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.SCRIPT, str(self.port)]


class Mosquitto5:
    """Mosquitto, which speaks both versions: 5 is taken."""

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder)
        self.port = self._broker.port

    def start(self) -> None:
        self._broker.start()

    def kill(self) -> None:
        self._broker.stop()  # in good order: what it keeps is saved

    def close(self) -> None:
        self._broker.stop()


class Mosquitto311(Mosquitto5):
    """Mosquitto behind a door that hangs up on a CONNECT of version 5."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._behind, self.port = self.port, free_port()
        self._door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._door.accept()
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        first = near.recv(65536)
        level = first[first.find(b"MQTT") + 4 :][:1]
        if level != b"\x04":
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._behind))
        except OSError:
            near.close()
            return
        far.sendall(first)
        other = threading.Thread(target=_copy, args=(far, near), daemon=True)
        other.start()
        _copy(near, far)
        other.join()
        near.close()
        far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
