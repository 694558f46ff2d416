"""The lab: a throwaway node on this machine, real in all that matters to the agent."""
import os

ON_NODE = os.environ.get("CJC_LAB") == "1"  # set by tests/run on the node
