"""What the cluster is configured to be. Which of several values counts, Pacemaker's real scheduler is asked, too."""
from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from cjc_agent.operator import cib
from cjc_agent.operator.cib import Unusable, understood
from cjc_agent.settings import values
from cjc_agent.tools.command import EXITED, NOT_FOUND, TIMED_OUT, Result
from cjc_agent.tools.deadline import Deadline
from unit.helpers import Script

SITE = 'class="ocf" provider="cjc" type="jobcenter"'
NODES = '<node id="1" uname="node1"/><node id="2" uname="node2"/>'
FENCE = '<primitive id="fence" class="stonith" type="fence_ipmilan"/>'
VIP = """<primitive id="A-vip" class="ocf" provider="heartbeat" type="IPaddr2">
  <instance_attributes id="A-vip-a"><nvpair id="A-vip-ip" name="ip" value="10.0.2.50"/></instance_attributes></primitive>"""


def document(resources="", properties="", nodes=NODES, more="", status=""):
    """A CIB."""
    return """<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1"><configuration>
<crm_config><cluster_property_set id="cps">%s</cluster_property_set></crm_config><nodes>%s</nodes><resources>%s</resources>%s
</configuration><status>%s</status></cib>""" % (
        pairs("cps", properties), nodes, resources, more if "<constraints>" in more else "<constraints/>" + more, status)


def pairs(id, text):
    """nvpairs of `name=value` words."""
    return "".join('<nvpair id="%s-%s" name="%s" value="%s"/>' % (id, *word.partition("=")[::2][:1], *word.partition("=")[::2]) for word in text.split())


def attributes(id, text, kind="instance_attributes", more="", rule=""):
    """A set of attributes."""
    return '<%s id="%s" %s>%s%s</%s>' % (kind, id, more, rule, pairs(id, text), kind)


def site(name="A", inner="", kind=SITE):
    """A primitive of ours."""
    return '<primitive id="%s" %s>%s</primitive>' % (name, kind, inner)


def one(resources, **more):
    """The only resource of ours in a CIB."""
    found, = understood(document(resources, **more)).resources.values()
    return found


# -- parameters and timeouts -----------------------------------------------------------------------------------------------------------------

RULE = '<rule id="r-%s" score="1000"><date_expression id="d-%s" operation="gt" start="2001-01-01"/></rule>'
MANY = document(
    '<template id="T" class="ocf" provider="cjc" type="jobcenter">' + attributes("T1", "site=template vip=template user=template trace=template")
    + '<operations><op id="T-start" name="start" interval="0" timeout="11s"/><op id="T-stop" name="stop" interval="0" timeout="12s"/>'
    '<op id="T-m" name="monitor" interval="10s" timeout="13s"/></operations></template>'
    '<primitive id="P" template="T">' + attributes("P1", "site=own port=first device=first") + attributes("P2", "port=second directory=second device=second")
    + attributes("P3", "device=scored", more='score="5"') + '<instance_attributes id="P4" score="3"><nvpair id-ref="P2-directory" name="fstype"/>'
    '<nvpair id="P4-device" name="device" value="less"/><nvpair id-ref="P1-site"/></instance_attributes>'
    '<operations><op id="P-start" name="start" interval="0s"><meta_attributes id="Pm"><nvpair id="Pmt" name="timeout" value="77s"/></meta_attributes></op>'
    '<op id="P-m" name="monitor" interval="60s" timeout="3min"/></operations></primitive>'
    '<group id="G">' + attributes("G1", "vip=group cjcpw=group") + site("Q", '<instance_attributes id-ref="P1"/>' + attributes("Q1", "vip=own")) + "</group>",
    more="<op_defaults>%s%s</op_defaults>" % (
        attributes("o1", "timeout=44s", "meta_attributes", 'score="1"'), attributes("o2", "timeout=45s", "meta_attributes")),
    status='<node_state id="1" uname="node1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources/></lrm></node_state>')
EXPECTED = {
    "P": {"site": "own", "vip": "template", "user": "template", "trace": "template", "port": "second", "device": "scored", "directory": "second",
          "fstype": "second"},
    "Q": {"site": "own", "port": "first", "device": "first", "vip": "own", "cjcpw": "group"}}
TIMEOUTS = {"P": {"start": "77s", "stop": "12s", "monitor 60s": "3min"}, "Q": {"start": "44s", "stop": "44s"}}


def test_what_counts():
    found = understood(MANY).resources
    assert {name: resource.parameters for name, resource in found.items()} == EXPECTED
    assert {name: resource.timeouts for name, resource in found.items()} == TIMEOUTS
    assert (found["P"].parents, found["Q"].parents) == ((), ("G",))


@pytest.mark.skipif(not shutil.which("crm_simulate"), reason="needs crm_simulate (package pacemaker-cli-utils)")
def test_pacemaker_s_scheduler_says_the_same(tmp_path):
    """The parameters and timeouts with which it would call the agent."""
    properties = '<cluster_property_set id="cps">'
    (tmp_path / "cib.xml").write_text(MANY.replace(properties, properties + pairs("cps", "stonith-enabled=false")))
    subprocess.run(["crm_simulate", "--simulate", "--xml-file", "cib.xml", "--save-graph", "graph.xml"], cwd=tmp_path, check=True, capture_output=True)
    calls = {call.get("operation_key"): call.find("attributes").attrib for call in ElementTree.parse(tmp_path / "graph.xml").iter("rsc_op") if len(call)}
    assert {key for key in calls if not key.endswith("monitor_0")} == {"P_start_0", "P_monitor_60000", "Q_start_0"}
    for resource in "PQ":
        call = calls[resource + "_start_0"]
        assert {name: value for name, value in call.items() if not name.lower().startswith("crm_")} == EXPECTED[resource]
        assert float(call["CRM_meta_timeout"]) == 1000 * values.duration(TIMEOUTS[resource]["start"])
    assert calls["P_monitor_60000"]["CRM_meta_timeout"] == "180000"


def test_where_nothing_is_said_pacemaker_has_20_seconds():
    assert one(site()).timeouts == {"start": "20s", "stop": "20s"}


def test_what_holds_under_a_rule_only_is_left_out_and_named():
    found = one(site("A", attributes("sometimes", "user=night", rule=RULE % ("a", "a")) + attributes("always", "user=root environment=lrm://")))
    assert found.parameters == {"user": "root"} and found.left_out == ("sometimes", "environment")
    defaults = "<op_defaults>%s</op_defaults>" % attributes("o", "timeout=1s", "meta_attributes", rule=RULE % ("o", "o"))
    assert one(site(), more=defaults).timeouts["start"] == "20s"


@pytest.mark.parametrize("kind", ['class="ocf" provider="heartbeat" type="jobcenter"', 'class="ocf" provider="cjc" type="other"',
                                  'class="systemd" type="jobcenter"', 'template="missing"', ""])
def test_whose_a_resource_is(kind):
    assert understood(document(site("B", kind=kind))).resources == {}


@pytest.mark.parametrize(("resources", "parents", "clone"), [
    ("%s", (), ""), ('<group id="G">%s</group>', ("G",), ""), ('<clone id="C">%s</clone>', ("C",), "C"),
    ('<clone id="C"><group id="G">%s</group></clone>', ("G", "C"), "C"), ('<master id="C">%s</master>', ("C",), "C")])
def test_groups_and_clones(resources, parents, clone):
    found = one(resources % site())
    assert (found.parents, found.clone) == (parents, clone)


# -- the cluster -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resources", "properties", "fencing"), [
    (FENCE, "", True), ("", "", False), (FENCE, "stonith-enabled=TRUE", True), (FENCE, "stonith-enabled=false", False), (FENCE, "stonith-enabled=0", False),
    (FENCE.replace("/>", ">" + attributes("m", "target-role=Stopped", "meta_attributes") + "</primitive>"), "", False),
    ('<template id="F" class="stonith" type="fence_xvm"/><clone id="C"><primitive id="f" template="F"/></clone>', "", True),
    ("", "stonith-watchdog-timeout=10s", True), ("", "stonith-watchdog-timeout=0", False), ("", "stonith-watchdog-timeout=0s", False)])
def test_fencing(resources, properties, fencing):
    found = understood(document(resources, properties))
    assert (found.fencing, found.nodes) == (fencing, ["node1", "node2"])


STATE = '<node_state id="2" uname="node2"><transient_attributes id="2">%s</transient_attributes></node_state>'


@pytest.mark.parametrize(("more", "idle"), [
    ({}, {}), ({"properties": "maintenance-mode=yes"}, dict.fromkeys(["node1", "node2"], "maintenance-mode=yes")),
    ({"nodes": NODES.replace('2"/>', '2">%s</node>' % attributes("n", "standby=on"))}, {"node2": "standby=on"}),
    ({"nodes": NODES.replace('2"/>', '2">%s</node>' % attributes("n", "maintenance=true"))}, {"node2": "maintenance=true"}),
    ({"nodes": NODES.replace('2"/>', '2">%s</node>' % attributes("n", "standby=off"))}, {}),
    ({"status": STATE % attributes("s", "standby=true")}, {"node2": "standby=true"})])
def test_nodes_on_which_nothing_is_started(more, idle):
    assert understood(document(**more)).idle == idle


@pytest.mark.parametrize(("meta", "defaults", "held"), [
    ("", "", ""), ("target-role=Stopped", "", "target-role=Stopped"), ("target-role=Started", "", ""), ("is-managed=false", "", "is-managed=false"),
    ("maintenance=1", "", "maintenance=1"), ("", "is-managed=no", "is-managed=no"), ("is-managed=true", "is-managed=no", "")])
def test_a_resource_that_the_cluster_leaves_alone(meta, defaults, held):
    more, own = "<rsc_defaults>%s</rsc_defaults>" % attributes("d", defaults, "meta_attributes"), attributes("m", meta, "meta_attributes")
    for resources in (site("A", own), '<group id="G">%s</group>' % site("A", own), '<group id="G">%s%s</group>' % (own, site())):
        assert one(resources, more=more).held == held


def test_bans_that_a_command_has_left_behind():
    ban = '<rsc_location id="%s" rsc="%s" node="%s" score="%s"/>'
    more = "<constraints>%s</constraints>" % "".join(ban % row for row in [
        ("cli-ban-G-on-node2", "G", "node2", "-INFINITY"), ("cli-ban-B-on-node1", "B", "node1", "-INFINITY"), ("cli-prefer-A", "A", "node1", "INFINITY"),
        ("site-not-here", "A", "node1", "-INFINITY")])
    assert one('<group id="G">%s</group>' % site(), more=more).bans == {"cli-ban-G-on-node2": "node2"}


ORDER = '<constraints><rsc_order id="o" %s</constraints>'


@pytest.mark.parametrize(("resources", "constraints", "first"), [
    ('<group id="G">%(vip)s%(site)s</group>', "", True), ('<group id="G">%(site)s%(vip)s</group>', "", False), ('%(vip)s%(site)s', "", False),
    ("%(site)s", "", False), ('%(vip)s%(site)s', 'first="A-vip" then="A"/>', True), ('<group id="N">%(vip)s</group>%(site)s', 'first="N" then="A"/>', True),
    ('%(vip)s%(site)s', '><resource_set id="s"><resource_ref id="A-vip"/><resource_ref id="A"/></resource_set></rsc_order>', True),
    ('%(vip)s%(site)s', 'first="A-vip" then="B"/>', False), ('<group id="N">%(vip)s</group><group id="G">%(site)s</group>', "", False)])
def test_the_address_comes_first(resources, constraints, first):
    found = understood(document(resources % {"vip": VIP, "site": site()}, more=ORDER % constraints if constraints else ""))
    assert found.brings("10.0.2.50", found.resources["A"]) is first
    assert not found.brings("10.0.2.51", found.resources["A"])


@pytest.mark.parametrize("kinds, routed", [((), False), (("IPaddr2",), False), (("aws-vpc-move-ip",), True), (("awsvip", "IPaddr2"), False)])
def test_an_address_may_be_routed(kinds, routed):
    bringers = "".join(VIP.replace("IPaddr2", kind).replace('id="', 'id="%d' % number) for number, kind in enumerate(kinds))
    assert understood(document(bringers + site())).routes("10.0.2.50") is routed


# -- asking the cluster ----------------------------------------------------------------------------------------------------------------------


def answer(outcome, code, output=""):
    return Script(cibadmin=Result("cibadmin", outcome, code, output))


def test_the_cluster_is_asked():
    runner = answer(EXITED, 0, document(site()))
    assert list(cib.read(runner, Deadline(2)).resources) == ["A"]
    assert runner.asked == ["cibadmin --query"] and runner.time_left[0] <= 2


@pytest.mark.parametrize(("runner", "words"), [
    (answer(EXITED, 102, "Could not connect to the CIB: Transport endpoint is not connected\nInit failed\n"),
     "no Pacemaker cluster answers on this node: Could not connect to the CIB: Transport endpoint is not connected"),
    (answer(EXITED, NOT_FOUND, "cibadmin: not found"), "no Pacemaker is installed on this node (there is no cibadmin)"),
    (answer(TIMED_OUT, -1), "no Pacemaker cluster answers on this node: cibadmin did not end within 0.0 s"),
    (answer(EXITED, 1), "no Pacemaker cluster answers on this node: cibadmin exited 1"),
    (answer(EXITED, 0), "cibadmin printed no XML document"), (answer(EXITED, 0, "<cib><configuration>"), "cibadmin printed no XML document"),
    (answer(EXITED, 0, "<cib a='\x00'/>"), "cibadmin printed no XML document"), (answer(EXITED, 0, "<html/>"), "cibadmin printed no CIB, but <html>")])
def test_why_there_is_none(runner, words):
    with pytest.raises(Unusable) as caught:
        cib.read(runner, Deadline(1))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_large_one_is_read_whole(runner):
    """What a tool prints is otherwise kept to a few kilobytes."""
    said = runner.tool(["seq", "1", "20000"], Deadline(10), whole=True)
    assert said.output.split() == [str(number) for number in range(1, 20001)]


@pytest.mark.parametrize("text", [
    "<cib><configuration><resources><primitive/><primitive id='A' class='ocf' provider='cjc' type='jobcenter'><operations><op/></operations>"
    "<instance_attributes><nvpair/></instance_attributes></primitive></resources><nodes><node/></nodes></configuration></cib>",
    "<cib><configuration><resources><primitive id='A' class='ocf' provider='cjc' type='jobcenter'><instance_attributes id='x' id-ref='x' score='nan?'>"
    "<nvpair id-ref='x'/></instance_attributes><meta_attributes id-ref='nothing'/></primitive></resources></configuration></cib>"])
def test_one_that_no_schema_would_let_pass_makes_no_traceback(text):
    found = understood(text)
    assert list(found.resources) == ["A"] and not found.brings("10.0.2.50", found.resources["A"])


def test_entities_do_not_fill_the_memory():
    bomb = "<!DOCTYPE cib [<!ENTITY a '%s'>%s]><cib>&j;</cib>" % ("x" * 1000, "".join(
        "<!ENTITY %s '%s'>" % (name, ("&%s;" % before) * 10) for before, name in zip("abcdefghi", "bcdefghij")))
    with pytest.raises(Unusable):
        understood(bomb)
