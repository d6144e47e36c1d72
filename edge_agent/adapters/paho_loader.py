"""paho-mqtt, loaded without OpenSSL and urllib until a connection needs them.

paho names ``ssl``'s exceptions on every connection that would block, with TLS or without, so it can't go
without that module: until TLS is asked for, the two are exceptions that nobody raises. ``ssl`` is 2 MB here,
and ``urllib.request``, which paho asks for a proxy's address if PySocks is installed, 1 MB.
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
