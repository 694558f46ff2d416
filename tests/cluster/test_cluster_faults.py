"""The quick rows of the cluster's fault matrix (tests/faults/cluster.py), and a site that somebody made a clone of."""
from __future__ import annotations

import time

import pytest

from cluster import fencing
from cluster.conftest import Keeper
from cluster.drill import Drill
from faults.cluster import FAULTS, Fault, moments, play_on

QUICK = [(fault, moment) for fault in FAULTS if fault.quick for moment in moments(fault)]


def test_a_cloned_site_runs_nowhere_and_says_why(drill: Drill) -> None:
    """The operator takes the running site out of its group, and clones it. (A clone of the group fails already at its address.)"""
    where, since = drill.where(), time.monotonic()
    other = drill.cluster.others(where)[0]
    drill.cluster.crm("configure", "modgroup", "jobsiteA", "remove", "jobsiteA-site")
    drill.cluster.crm("configure", "clone", "everywhere", "jobsiteA-site")
    drill.wait_event("site gone", since, where)
    drill.cluster.idle()
    assert fencing.failed_action(other, "jobsiteA-site_start_0") == \
        "clone: site jobsiteA runs on one node at a time: remove the clone (pcs resource unclone, crm configure delete)"
    assert not [name for name, state in drill.observer.state().items() if state.disks or state.sites]
    assert fencing.started(drill, other, since) == []
    drill.cluster.crm("configure", "delete", "everywhere")
    drill.cluster.load(fencing.ONE_SITE)
    drill.cluster.crm("resource", "cleanup", "jobsiteA")
    drill.wait_serving()
    assert not drill.cluster.power.fenced_since(since)


@pytest.mark.parametrize(("fault", "moment"), QUICK, ids=["%s / %s" % (fault.title, moment) for fault, moment in QUICK])
def test_fault(keeper: Keeper, fault: Fault, moment: str) -> None:
    seen = play_on(keeper.ready(), fault, moment)
    assert not seen.wrong, "%d after %.1f s: %s" % (seen.code, seen.seconds, seen.reason)


def test_every_row_has_its_own_name() -> None:
    assert len({fault.title for fault in FAULTS}) == len(FAULTS)
