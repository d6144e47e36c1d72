"""Until when a certificate is valid: what openssl says is what we read."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.adapters.certificates import valid_until
from edge_agent.errors import ConfigError


@pytest.mark.parametrize("days", [1, 400, 20_000])  # after 2049 the date takes another form
@pytest.mark.parametrize("key", ["rsa:2048", "ec"])
def test_the_end_is_what_openssl_says(days: int, key: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    made = ["-newkey", key, *(["-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else [])]
    options = ["-nodes", "-subj", "/CN=pi/O=räume", "-utf8", "-days", str(days)]
    subprocess.run(
        ["openssl", "req", "-x509", *made, *options, "-keyout", tmp_path / "k", "-out", path],
        check=True,
        capture_output=True,
    )
    said = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", path], check=True, capture_output=True, text=True
    ).stdout.strip()
    expected = datetime.strptime(said.removeprefix("notAfter="), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert valid_until(path) == expected


def test_what_is_no_certificate_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    for text in ("", "x", "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no certificate in PEM form"):
            valid_until(path)
    with pytest.raises(ConfigError, match="No such file"):
        valid_until(tmp_path / "none")
