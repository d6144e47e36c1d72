"""Reports of the device: status, telemetry, Home Assistant, the service manager."""
