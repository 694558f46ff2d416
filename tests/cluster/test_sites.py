"""Two sites on two nodes, each with a disk and a home of its own: mutual standby. What happens to one is no business of the other."""
from __future__ import annotations

from cluster import night_jobs
from cluster.cluster import SITE_A, SITE_B
from cluster.drill import Drill, daemons
from cluster.untouched import Untouched

CLUSTER = {"files": ["one-site.crm", "two-sites.crm"], "sites": (SITE_A, SITE_B)}
HOMES = ((SITE_A, "node1"), (SITE_B, "node2"))


def at_home(drill: Drill) -> None:
    """Have each site where it belongs."""
    for site, home in HOMES:
        drill.bring(home, site)


def test_each_site_starts_at_home_and_gets_its_own_jobs(drill: Drill) -> None:
    for order in ("stop", "start"):
        for site, _ in HOMES:
            drill.cluster.crm("resource", order, site.name)
        drill.cluster.idle()
    for site, home in HOMES:
        drill.wait_serving(home, site)
    said = len(night_jobs.words(drill.witness))
    before = {site.name: drill.client.acknowledged(site.name) for site, _ in HOMES}
    drill.cluster.wait(lambda: all(len(drill.client.acknowledged(name) - keys) >= 4 for name, keys in before.items()), "both take jobs")
    drill.settle()
    words = night_jobs.words(drill.witness)[said:]
    listings = {site.name: {row["client_key"] for row in drill.client.ask(site.name)} for site, _ in HOMES}
    assert not listings[SITE_A.name] & listings[SITE_B.name], "a job of one at the other"
    for site, home in HOMES:
        jobs = drill.client.acknowledged(site.name)
        assert jobs <= listings[site.name]
        assert {word.node for word in words if word.key in jobs} == {home}


def test_the_survivor_runs_both_and_the_node_that_comes_back_gets_its_site_by_hand(drill: Drill) -> None:
    at_home(drill)
    with Untouched(drill, SITE_A):
        drill.power_cut("node2")
        drill.wait_serving("node1", SITE_B)
        drill.rejoined()
        assert drill.where(SITE_B) == "node1", "no failback in the middle of the night batch"
        assert drill.move("node2", SITE_B).after == "node2"


def test_both_sites_run_on_one_node_and_one_of_them_is_stopped(drill: Drill) -> None:
    at_home(drill)
    node = drill.cluster.node("node1")
    drill.move(node.name, SITE_B)
    with Untouched(drill, SITE_A):
        drill.cluster.crm("resource", "stop", SITE_B.name)
        drill.cluster.wait(lambda: not drill.where(SITE_B), "%s is stopped" % SITE_B.name)
        drill.cluster.idle()
        assert not any(daemons(node, SITE_B).values())
        assert node.mounted() == [SITE_A.disk]
        drill.cluster.crm("resource", "start", SITE_B.name)
        drill.wait_serving("node2", SITE_B)  # a stopped site has nothing to interrupt: it starts at home
        drill.cluster.idle()
