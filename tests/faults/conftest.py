"""The fault matrix is played on a throwaway node: the agent is installed, disks and addresses are real, JobCenter is the simulator."""
from __future__ import annotations

import pytest

from lab import ON_NODE
from lab import site as lab_site


@pytest.fixture(scope="session", autouse=True)
def node() -> None:
    """The node with agent and simulator installed."""
    if ON_NODE:
        lab_site.prepare_node()
