"""Model files in, each read into an AgentSource or a Network."""
