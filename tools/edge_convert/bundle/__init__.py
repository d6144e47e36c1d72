"""From a source to a bundle that passed the gate."""
