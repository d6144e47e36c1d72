"""TLS is on when it is asked for, and a key that others can read is refused."""

import socket
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.adapters.mqtt import MqttSettings, PahoClient, send_at_once
from edge_agent.commands.run import mqtt_settings
from edge_agent.errors import ConfigError
from edge_agent.runtime.config import BrokerConfig


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


@pytest.mark.parametrize("key", ["key_file", "password_file"])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, key: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o644)
    broker = BrokerConfig(tls=True, cert_file=str(tmp_path / "cert"), **{key: str(secret)})
    with pytest.raises(ConfigError, match="0644, expected 0600"):
        PahoClient(mqtt_settings(broker, "device"), lambda: None)
