"""TLS is on when it is asked for, and a key that others can read is refused."""

import socket
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.adapters.mqtt import MqttSettings, PahoClient, send_at_once
from edge_agent.commands.broker_settings import mqtt_settings
from edge_agent.config.records import BrokerConfig
from edge_agent.errors import ConfigError


def test_tls_without_a_file_believes_the_system() -> None:
    settings = mqtt_settings(BrokerConfig(tls=True), "device")
    client = PahoClient(settings, lambda: None)
    assert settings.tls
    assert client.encrypted
    assert not PahoClient(MqttSettings("localhost", "device"), lambda: None).encrypted


def test_small_messages_do_not_wait_for_acknowledgements() -> None:
    with socket.socket() as connection:
        send_at_once(Client(CallbackAPIVersion.VERSION2), None, connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_files_that_are_missing_or_empty_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    none = str(tmp_path / "none")
    for changes, message in (
        ({"password_file": str(empty)}, "empty: empty, expected the password in its first line"),
        ({"password_file": none}, "broker.password_file: .*none: No such file"),
        ({"ca_file": str(empty)}, "empty: not a CA certificate"),
        ({"ca_file": none}, "broker.ca_file: .*none: No such file"),
        ({"cert_file": none, "key_file": str(empty)}, "broker.cert_file: .*none: No such file"),
        ({"cert_file": str(empty), "key_file": none}, "broker.key_file: .*none: No such file"),
        ({"cert_file": str(empty), "key_file": str(empty)}, "empty: no usable certificate and key"),
    ):
        with pytest.raises(ConfigError, match=message):
            PahoClient(mqtt_settings(BrokerConfig(tls=True, **changes), "device"), lambda: None)


@pytest.mark.parametrize("key", ["key_file", "password_file"])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, key: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o644)
    (tmp_path / "cert").touch()
    broker = BrokerConfig(tls=True, cert_file=str(tmp_path / "cert"), **{key: str(secret)})
    with pytest.raises(ConfigError, match="0644, expected 0600"):
        PahoClient(mqtt_settings(broker, "device"), lambda: None)
