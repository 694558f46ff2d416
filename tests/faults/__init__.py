"""The fault matrix: what breaks on a node, as data, and what the agent must answer then."""
