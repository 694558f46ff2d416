"""Unit tests: one file per module of agent/cjc_agent, in the same folders."""
