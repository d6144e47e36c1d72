"""Checks and reads the ``broker`` section of the configuration and the files that it names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError
from edge_agent.wire.broker_login import password
from edge_agent.wire.signatures import check_private

if TYPE_CHECKING:
    from edge_agent.adapters.mqtt import MqttSettings
    from edge_agent.config.records import BrokerConfig, Config

FILES = ("password_file", "key_file", "ca_file", "cert_file")


def mqtt_settings(broker: BrokerConfig, client_id: str, config: Path | None = None) -> MqttSettings:
    """Return the adapter's settings.

    Raises
    ------
    ConfigError
        A file is missing, can't be read, or is too open; the key that names it is said.
    """
    from edge_agent.adapters.mqtt import MqttSettings
    from edge_agent.runtime.assembly import INBOX_BYTES

    where = "" if config is None else f"{config}: "
    paths: dict[str, Path | None] = {}
    for key in FILES:
        text = getattr(broker, key)
        paths[key] = Path(text) if text else None
        if not text:
            continue
        try:
            Path(text).open("rb").close()
            if key == "key_file":
                check_private(Path(text))
        except OSError as error:
            raise ConfigError(f"{where}broker.{key}: {text}: {error.strerror}") from error
        except ConfigError as error:
            raise ConfigError(f"{where}broker.{key}: {error}") from error
    return MqttSettings(
        host=broker.host,
        client_id=client_id,
        port=broker.port,
        username=broker.username or None,
        password=password(paths["password_file"], f"{where}broker.password_file")
        if paths["password_file"]
        else None,
        tls=broker.tls,
        ca=paths["ca_file"],
        certificate=paths["cert_file"],
        key=paths["key_file"],
        keepalive=broker.keepalive_s,
        inbox_bytes=INBOX_BYTES,
    )


def check_broker(config: Config, path: Path) -> None:
    """Read everything that a connection takes, without connecting.

    Raises
    ------
    ConfigError
        A file is missing, too open, or not what its key says.
    """
    if config.broker is None:
        return
    from edge_agent.adapters.mqtt import PahoClient

    PahoClient(mqtt_settings(config.broker, client_id(config), path), lambda: None)


def client_id(config: Config) -> str:
    """Return who the device is at the broker."""
    return f"{config.device.fleet}-{config.device.name}"


def expired(broker: BrokerConfig) -> str:
    """Return a line about the device's own certificate if its time is over, else ""."""
    from edge_agent.adapters.certificates import valid_until

    if not broker.cert_file:
        return ""
    until = valid_until(Path(broker.cert_file))
    if until > datetime.now(UTC):
        return ""
    return f"broker.cert_file: {broker.cert_file}: expired on {until:%Y-%m-%d %H:%M} UTC; renew it"
