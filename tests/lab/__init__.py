"""The lab: a throwaway node on this machine, real in all that matters to the agent."""
