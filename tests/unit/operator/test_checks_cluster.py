"""Timeouts against what actions needed, and what the cluster is told to do: where there is nothing to say, and how it is said."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from cjc_agent.operator.checks import cluster
from cjc_agent.operator.cib import Cib, Resource
from cjc_agent.operator.rule import ENGLISH, JAPANESE, Finding
from cjc_agent.tools import history
from unit.helpers import settings


@pytest.fixture
def node(state_folder):
    """A node on which a start needed `start` seconds and a stop `stop` seconds (None: none is known)."""
    def _node(start=None, stop=None, cib=None, resource="", name="node1", **given):
        for action, seconds in (("start", start), ("stop", stop)):
            if seconds is not None:
                assert history.add(str(state_folder), "jobsiteA", history.Entry(action, 1e9, seconds, history.GOOD, "", [])) == ""
        return SimpleNamespace(request=SimpleNamespace(folder=str(state_folder)), settings=settings(**given), cib=cib, resource=resource, name=name,
                               origin="/etc/cjc-agent/a.conf", mmp=None)
    return _node


def resource(name="A-site", timeouts=None, **more):
    return Resource(name, {"site": "jobsiteA"}, timeouts or {"start": "180s", "stop": "180s"}, **more)


def cib(*resources, nodes=("node1", "node2"), fencing=True, **more):
    return Cib({one.name: one for one in resources}, list(nodes), fencing, **more)


def found(check, node):
    """(rule, place) of findings, and the rules that could not be checked."""
    every = list(check(node))
    assert all(one.words(language) for one in every for language in (ENGLISH, JAPANESE))
    return ([(one.rule.id, one.place) for one in every if isinstance(one, Finding)],
            [rule.id for one in every if not isinstance(one, Finding) for rule in one.rules])


# -- timeouts --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "timeout", "short"), [
    (170, "180s", False), (175.5, "180s", True), (180, "180s", True), (0.4, "1s", False), (0.6, "1s", True), (100, "2min", False), (100, "90000ms", True),
    (100, "whatever", False)])
def test_what_counts_is_what_the_agent_may_use_of_the_timeout(node, seconds, timeout, short):
    made = cib(resource(timeouts={"start": timeout, "stop": "180s"}))
    assert found(cluster.timeouts, node(seconds, 1, made)) == ([("CJC601", "resource A-site")] if short else [], [])


def test_without_a_cluster_the_configuration_file_s_count(node):
    assert found(cluster.timeouts, node(50, 50, stop_timeout="45s")) == ([("CJC601", "/etc/cjc-agent/a.conf")], [])
    one, = cluster.timeouts(node(50, 50, stop_timeout="45s"))
    assert one.words(ENGLISH)[0] == "stop needed 50.0 s here last time, but its timeout is 45s, which leaves 42.8 s for it"


def test_what_no_start_is_known_of_cannot_be_checked(node):
    assert found(cluster.timeouts, node()) == ([], ["CJC601", "CJC601"])
    assert found(cluster.timeouts, node(200)) == ([("CJC601", "/etc/cjc-agent/a.conf")], ["CJC601"])


@pytest.mark.parametrize(("name", "resources", "which"), [
    ("B", [resource("A"), resource("B")], "B"), ("", [resource("A")], "A"), ("", [Resource("C", {"site": "other"})], None), ("", [], None)])
def test_whose_timeouts_count(node, name, resources, which):
    assert getattr(cluster.resource_of(node(cib=cib(*resources), resource=name)), "name", None) == which


# -- the cluster -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "expected"), [
    (cib(resource()), []), (cib(resource(), fencing=False), ["CJC602"]), (cib(resource(), nodes=["node1"], fencing=False), []),
    (cib(resource(clone="C")), ["CJC603"]), (cib(resource(bans={"cli-ban-A": "node1"})), ["CJC604"]), (cib(resource(bans={"cli-ban-A": "node2"})), []),
    (cib(resource(), idle={"node1": "standby=on"}), ["CJC605"]), (cib(resource(), idle={"node2": "standby=on"}), []),
    (cib(resource(held="is-managed=false")), ["CJC605"]), (cib(resource(left_out=("night",))), ["CJC607"]),
    (cib(Resource("other", {"site": "other"}, clone="C"), fencing=False), [])])
def test_the_cluster(node, made, expected):
    findings, unchecked = found(cluster.cluster, node(cib=made))
    assert ([rule for rule, _ in findings], unchecked) == (expected, [])


@pytest.mark.parametrize(("here", "named"), [("node1", "node1.example.com"), ("node1.example.com", "node1"), ("node1", "node1")])
def test_the_cluster_may_name_a_node_with_or_without_its_domain(node, here, named):
    made = cib(resource(), nodes=[named, "node2"], idle={named: "standby=on"})
    assert found(cluster.cluster, node(cib=made, name=here))[0] == [("CJC605", "")]


def test_a_vip_that_the_cluster_does_not_bring(node):
    assert found(cluster.cluster, node(cib=cib(resource()), vip="10.0.2.50"))[0] == [("CJC606", "resource A-site")]


def test_where_ext4_has_neither_the_disk_s_rule_says_it(node):
    made = node(cib=cib(resource(), fencing=False))
    made.mmp = False
    assert found(cluster.cluster, made) == ([], [])


def test_no_cluster_is_no_problem(node):
    assert found(cluster.cluster, node()) == ([], ["CJC602", "CJC603", "CJC604", "CJC605", "CJC606"])
