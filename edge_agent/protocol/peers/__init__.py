"""Peer protocol without a leader: roster, coalitions, shared evidence, lent populations."""
