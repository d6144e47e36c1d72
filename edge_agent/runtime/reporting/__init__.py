"""What the device tells: status, telemetry, Home Assistant, the service manager."""
