"""What the service does in the background: commands, rollouts, retention."""
