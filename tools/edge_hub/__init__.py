"""The hub: fleet view, rollouts, commands. Imports only edge_agent.wire."""
