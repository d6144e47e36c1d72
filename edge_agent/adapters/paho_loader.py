"""paho-mqtt, loaded without OpenSSL and urllib until a connection needs them.

paho refers to exceptions of ``ssl`` whenever a socket would block, with or without TLS, so it needs that
module. Until TLS is used, two exceptions that are never raised stand in for them. ``ssl`` needs 2 MB, and
``urllib.request``, which paho uses for proxies if PySocks is installed, 1 MB.
"""

from __future__ import annotations

from edge_agent.adapters.lazy_imports import on_demand


class _NeverError(Exception):
    """Stands for the exceptions of TLS where there is no TLS."""


with (
    on_demand("ssl", SSLWantReadError=_NeverError, SSLWantWriteError=_NeverError),
    on_demand("urllib.request"),
):
    from paho.mqtt.client import Client as Client
    from paho.mqtt.client import ConnectFlags as ConnectFlags
    from paho.mqtt.client import DisconnectFlags as DisconnectFlags
    from paho.mqtt.client import MQTTMessage as MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion as CallbackAPIVersion
    from paho.mqtt.enums import MQTTErrorCode as MQTTErrorCode
    from paho.mqtt.enums import MQTTProtocolVersion as MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes as PacketTypes
    from paho.mqtt.properties import Properties as Properties
    from paho.mqtt.reasoncodes import ReasonCode as ReasonCode
    from paho.mqtt.subscribeoptions import SubscribeOptions as SubscribeOptions
