"""Error texts for lost connections to the broker, with what to check."""

from __future__ import annotations

from edge_agent.adapters.paho_loader import ReasonCode

_CREDENTIALS = (0x86, 0x87)
"""Bad user name or password, not authorized (MQTT 5.0 section 3.2.2.2); paho maps 3.1.1's codes to them."""
_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA")


def refusal_text(code: ReasonCode) -> str:
    """Return why the broker refused the login, from its CONNACK."""
    hint = " (look at broker.username and broker.password_file)" if code.value in _CREDENTIALS else ""
    return f"login refused: {code}{hint}"


def trouble_text(error: BaseException | None) -> str:
    """Return what went wrong below MQTT: name, network, TLS.

    The attributes are those of ``ssl``'s exceptions; the module is not loaded without TLS.
    """
    verify = getattr(error, "verify_message", "")
    if verify:
        return f"the broker's certificate is refused: {verify} (look at broker.ca_file and the clock)"
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        alert = reason.partition("ALERT_")[2]
        if any(word in alert for word in _CERTIFICATE_ALERTS):
            words = alert.lower().replace("_", " ")
            return f"the broker refused this device's certificate: {words} (look at broker.cert_file)"
        return f"TLS: {reason.lower().replace('_', ' ')}"
    strerror = getattr(error, "strerror", None)
    return str(strerror or error)
