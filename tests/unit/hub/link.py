"""A broker without pending messages, a signed bundle, and the documents that a hub has published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_agent.wire import bodies, bundle, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics
from edge_hub.connection import Incoming

NOW = 1.7e9
HUB, STRANGER = signatures.generate("hub"), signatures.generate("stranger")
TOPICS = DeviceTopics("f", "pi")


class Link:
    """What a `Connection` is to the hub, after the retained messages."""

    settled = True
    connects = 1

    def __init__(self, *waiting: Incoming) -> None:
        self.waiting = list(waiting)
        self.published: dict[str, bytes] = {}
        self.posted: list[tuple[str, bytes]] = []

    def messages(self, _seconds: float) -> list[Incoming]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def begin_publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.published[topic] = payload

    def finish_publish(self) -> None:
        pass

    def post(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.posted.append((topic, payload))

    def unsent(self, topic: str) -> int:
        return 0

    def document(self, key: SecretKey = HUB, topics: DeviceTopics = TOPICS) -> dict[str, Any]:
        body = messages.decode(self.published[topics.desired]).body
        return Trust("f", (key.public.raw,)).opened(body, documents.DESIRED, bodies.DESIRED)


def retained(keys: list[SecretKey], **changes: Any) -> bytes:
    document = {"fleet": "f", "device": "pi", "version": 7, "issued": NOW, "expires": NOW + 9, **changes}
    return messages.encode(Message(documents.signed(document, documents.DESIRED, keys)))


def write_bundle(path: Path, content: bytes = b"1") -> str:
    manifest = {"name": "b", "version": "1", "kind": "pomdp", "created": 0, "source_sha256": ""}
    manifest |= {key: {} for key in ("io", "memory", "evaluation", "requires")}
    bundle.write(path, manifest, {"A.npy": content}, HUB)
    return bundle.read(path).digest
