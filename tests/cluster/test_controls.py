"""Positive controls: what must never happen is made to happen on purpose, and is seen. Without them "0 double mounts" would mean nothing."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import night_jobs
from cluster.conftest import Keeper
from cluster.drill import Drill


@pytest.fixture
def watched(keeper: Keeper) -> Iterator[Drill]:
    """A running site, watched; what a test breaks is its own business."""
    with Drill(keeper.ready(), jobs_per_second=5) as drill:
        drill.wait_serving()
        yield drill


def test_a_double_mount_is_seen(watched: Drill) -> None:
    other = watched.cluster.others(watched.where())[0]
    other.sh("mount -o ro,noload /dev/sdb1 /mnt")
    watched.cluster.wait(lambda: watched.observer.counts()["double mount"], "the double mount is seen", 30)
    assert {violation.nodes for violation in watched.observer.violations} == {("node1", "node2")}
    other.sh("umount /mnt")
    watched.cluster.wait(lambda: watched.observer.violations[-1].until, "its end is seen", 30)
    assert watched.observer.counts() == {"double mount": 1, "double VIP": 0, "double site": 0}


def test_a_double_vip_is_seen(watched: Drill) -> None:
    other = watched.cluster.others(watched.where())[0]
    other.sh("ip address add %s/24 dev eth0" % watched.site.vip)
    watched.cluster.wait(lambda: watched.observer.counts()["double VIP"], "the double VIP is seen", 30)
    other.sh("ip address del %s/24 dev eth0" % watched.site.vip)


def test_a_power_cut_takes_back_what_was_not_synced(watched: Drill) -> None:
    node = watched.cluster.node(watched.where())
    node.sh("echo synced > /share/synced; sync; echo not > /share/not-synced")
    node.power_cut()
    after = watched.wait_serving(watched.cluster.others(node.name)[0].name)
    assert watched.cluster.node(after).sh("cat /share/synced /share/not-synced 2>/dev/null", check=False) == "synced\n"
    watched.rejoined()


def test_a_lost_job_is_seen(watched: Drill) -> None:
    site, client = watched.site.name, watched.client
    watched.cluster.wait(lambda: len(client.acknowledged(site)) > 5, "a few jobs are acknowledged", 30)
    key = sorted(client.acknowledged(site))[0]
    program = "import sqlite3; d = sqlite3.connect('%s/nqs/jobs.db', timeout=30); d.execute('PRAGMA foreign_keys=OFF'); " \
        "d.execute('DELETE FROM jobs WHERE client_key = ?', ('%s',)); d.commit()" % (watched.site.site_db, key)
    watched.cluster.node(watched.where()).run("python3", "-c", program)
    account = watched.settle()[site]
    assert account.lost == {key} and "1 lost" in account.words()


def test_a_job_that_runs_on_two_nodes_at_once_is_seen(watched: Drill) -> None:
    first, second = watched.cluster.nodes
    job = night_jobs.command("twins", 5)
    first.sh("setsid sh -c '%s' >/dev/null 2>&1 </dev/null &" % job.replace("'", "'\\''"))
    watched.cluster.wait(lambda: night_jobs.read(watched.witness).started["twins"], "the first one runs", 30)
    second.sh("sh -c '%s'" % job.replace("'", "'\\''"), check=False)
    assert [word.node for word in night_jobs.read(watched.witness).twice] == ["node2"]
    assert "twins" in watched.settle()[watched.site.name].twice


def test_a_site_on_two_nodes_is_seen(watched: Drill) -> None:
    other = watched.cluster.others(watched.where())[0]
    other.sh("mount /dev/sdb1 /share && ip address add %s/24 dev lo && NQS_SITE=%s /usr/lib/nqs/cjcpw start" % (watched.site.vip, watched.site.name))
    watched.cluster.wait(lambda: watched.observer.counts()["double site"], "the double site is seen", 30)
    other.power_cut()  # two writers: that file system is not to be used again
    watched.cluster.node(watched.where()).power_cut()
