"""Agent tests run on a throwaway node: the agent is installed, mounts and addresses are real, JobCenter is the simulator."""
from __future__ import annotations

import pathlib

import pytest

from lab import ON_NODE
from lab import site as lab_site


@pytest.fixture(scope="session", autouse=True)
def node() -> None:
    """The node with agent and simulator installed."""
    if ON_NODE:
        lab_site.prepare_node()


@pytest.fixture
def site(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    """A site of its own on an ext4 disk, not running, not mounted, its VIP on this node."""
    made = lab_site.Site(tmp_path)
    yield made
    made.close()
