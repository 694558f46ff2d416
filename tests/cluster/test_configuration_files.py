"""docs/pacemaker: the real crmsh and the real pcs load the files into an empty CIB, without a cluster, and make the same of them."""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from cjc_agent.operator.cib import understood
from cluster.configuration import FOLDER, for_the_lab
from lab import ON_NODE
from lab.site import AGENT, prepare_node

pytestmark = pytest.mark.skipif(not ON_NODE, reason="needs the throwaway node: run `make test` as root on Debian")

TOOLS = {"crm": ["crm", "configure", "load", "update"], "pcs": ["sh"]}
CONFIGURATIONS = {"one-site": "", "two-sites": "one-site", "two-sites-one-disk": ""}  # name -> what it is loaded on top of
ONLINE = '<node_state id="%d" uname="node%d" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="%d"><lrm_resources/></lrm></node_state>'


# -- tools --------------------------------------------------------------------------------------------------------------------------

def run(*command: str, cib: pathlib.Path | None = None) -> str:
    """Run a tool, on a CIB in a file; it must say 0. Return what it said."""
    environment = dict(os.environ, CIB_file=str(cib)) if cib else None
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "%s said %d:\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def empty_cib(path: pathlib.Path) -> pathlib.Path:
    """Make the CIB of a cluster that was just set up: node1 and node2 are online, nothing is configured."""
    root = ElementTree.fromstring(run("cibadmin", "--empty"))
    root.set("have-quorum", "1")
    for number in (1, 2):
        ElementTree.SubElement(root.find("configuration/nodes"), "node", id=str(number), uname="node%d" % number)  # type: ignore[arg-type]
        root.find("status").append(ElementTree.fromstring(ONLINE % (number, number, number)))  # type: ignore[union-attr]
    path.write_text(ElementTree.tostring(root, encoding="unicode"))
    return path


def load(tool: str, configuration: str, cib: pathlib.Path, quick: bool = False) -> pathlib.Path:
    """Load a file into a CIB with a tool, as a user does. Return the path of the CIB."""
    file = cib.with_name("%s.%s" % (configuration, tool))
    file.write_text(for_the_lab((FOLDER / file.name).read_text(), quick))
    said = run(*TOOLS[tool], str(file), cib=cib)
    assert not re.search("error|deprecat", said, re.IGNORECASE), said
    assert tool == "pcs" or not said
    return cib


@pytest.fixture(scope="session")
def cibs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], pathlib.Path]:
    """(tool, configuration) -> CIB, on a node where the agent and the lab's fence agent are installed."""
    prepare_node()
    shutil.copy(pathlib.Path(__file__).with_name("fence_lab"), "/usr/sbin/fence_lab")
    os.chmod("/usr/sbin/fence_lab", 0o755)
    os.makedirs("/var/log/crmsh", exist_ok=True)  # crm crashes without it
    made: dict[tuple[str, str], pathlib.Path] = {}
    for tool in TOOLS:
        for name, base in CONFIGURATIONS.items():
            cib = tmp_path_factory.mktemp(tool) / "cib.xml"
            made[tool, name] = load(tool, name, copied(made[tool, base], cib) if base else empty_cib(cib))
    return made


def copied(cib: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """Copy a CIB; return the path of the copy."""
    return pathlib.Path(shutil.copy(cib, to))


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    """Each of the two tools."""
    return str(request.param)


# -- the same from both -------------------------------------------------------------------------------------------------------------

NAMED = ("node", "primitive", "group")  # the other elements' ids are made up by the tools
DEFAULTS = {"rsc_order": {"first-action": "start", "then-action": "start"}, "op": {"interval": "0"}}


def essence(element: ElementTree.Element) -> list[str]:
    """Given a part of a CIB, return it as lines without what differs between tools and means nothing: ids that they make up, defaults
    written out, how zero is spelled, the order of everything but a group's members."""
    attributes = dict(DEFAULTS.get(element.tag, {}), **element.attrib)
    if element.tag not in NAMED:
        attributes.pop("id", None)
    if attributes.get("interval") == "0s":
        attributes["interval"] = "0"
    children = [essence(child) for child in element]
    own = " ".join([element.tag, *("%s=%s" % pair for pair in sorted(attributes.items()))])
    return [own, *("  " + line for child in (children if element.tag == "group" else sorted(children)) for line in child)]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_both_tools_make_the_same_of_it(cibs: dict[tuple[str, str], pathlib.Path], configuration: str) -> None:
    crm, pcs = (essence(configured(cibs[tool, configuration])) for tool in ("crm", "pcs"))
    assert crm == pcs


def configured(cib: pathlib.Path) -> ElementTree.Element:
    """The configuration part of a CIB."""
    found = ElementTree.parse(cib).find("configuration")
    assert found is not None
    return found


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_crm_verify_has_nothing_to_say(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str) -> None:
    assert run("crm_verify", "-x", str(cibs[tool, configuration]), "-VV") == ""


def test_crmsh_takes_a_changed_file_again(cibs: dict[tuple[str, str], pathlib.Path], tmp_path: pathlib.Path) -> None:
    cib = load("crm", "one-site", empty_cib(tmp_path / "cib.xml"))
    file = tmp_path / "one-site.crm"
    file.write_text(file.read_text().replace("migration-threshold=3", "migration-threshold=5"))
    assert run(*TOOLS["crm"], str(file), cib=cib) == ""
    before, after = essence(configured(cibs["crm", "one-site"])), essence(configured(cib))
    assert after == [line.replace("name=migration-threshold value=3", "name=migration-threshold value=5") for line in before] != before


@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_with_a_mistake_changes_nothing(cibs: dict[tuple[str, str], pathlib.Path], tool: str, tmp_path: pathlib.Path) -> None:
    cib = copied(cibs[tool, "one-site"], tmp_path)
    file = tmp_path / "two-sites"
    file.write_text((FOLDER / ("two-sites." + tool)).read_text().replace("site_db=", "sitedb="))
    before = cib.read_text()
    done = subprocess.run([*TOOLS[tool], str(file)], env=dict(os.environ, CIB_file=str(cib)), capture_output=True, text=True)
    assert done.returncode != 0
    assert "site_db" in done.stdout + done.stderr
    assert cib.read_text() == before


# -- what was meant -----------------------------------------------------------------------------------------------------------------

def values(element: ElementTree.Element, path: str) -> dict[str, str]:
    """Name -> value of the nvpairs of a set."""
    return {pair.get("name", ""): pair.get("value", "") for pair in element.findall(path + "/nvpair")}


def operations(cib: pathlib.Path, resource: str) -> set[tuple[str, str, str, str]]:
    """(name, interval, timeout, level) of a resource's operations."""
    return {(op.get("name", ""), op.get("interval", "").rstrip("s"), op.get("timeout", "").rstrip("s"),
             values(op, "instance_attributes").get("OCF_CHECK_LEVEL", "0"))
            for op in configured(cib).findall(".//primitive[@id='%s']/operations/op" % resource)}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_cluster_around_the_sites(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str) -> None:
    root = configured(cibs[tool, configuration])
    assert values(root, "crm_config/cluster_property_set") == {"stonith-enabled": "true", "no-quorum-policy": "stop"}
    assert values(root, "rsc_defaults/meta_attributes") == {"resource-stickiness": "1000", "migration-threshold": "3", "failure-timeout": "900s"}
    for node, more in (("node1", {}), ("node2", {"pcmk_delay_base": "2s"})):
        assert values(root, ".//primitive[@id='fence-%s']/instance_attributes" % node) == dict({"plug": node, "pcmk_host_list": node}, **more)
        ban = root.find(".//rsc_location[@rsc='fence-%s']" % node)
        assert ban is not None
        assert (ban.get("node"), ban.get("score")) == (node, "-INFINITY")


def test_operations_are_those_that_the_agent_recommends(cibs: dict[tuple[str, str], pathlib.Path], tool: str) -> None:
    actions = ElementTree.fromstring(run(AGENT, "meta-data")).findall("actions/action")
    recommended = {(action.get("name"), action.get("interval", "0").rstrip("s"), action.get("timeout", "").rstrip("s"), action.get("depth", "0"))
                   for action in actions if action.get("name") in ("start", "stop", "monitor", "reload-agent")}
    assert len(recommended) == 6
    for configuration, site in (("one-site", "jobsiteA-site"), ("two-sites", "jobsiteB-site"), ("two-sites-one-disk", "jobsiteB-site")):
        assert operations(cibs[tool, configuration], site) == recommended


@pytest.mark.parametrize(("configuration", "site", "expected"), [
    ("one-site", "jobsiteA", "10.0.2.50 site_db=/share/job_site device=/dev/sdb1 directory=/share fstype=ext4"),
    ("two-sites", "jobsiteB", "10.0.2.51 site_db=/share2/job_site device=/dev/sdc1 directory=/share2 fstype=ext4"),
    ("two-sites-one-disk", "jobsiteA", "10.0.2.50 site_db=/share/siteA"),
    ("two-sites-one-disk", "jobsiteB", "10.0.2.51 site_db=/share/siteB")])
def test_the_sites(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str, site: str, expected: str) -> None:
    root, (vip, *parameters) = configured(cibs[tool, configuration]), expected.split()
    assert [member.get("id") for member in root.findall(".//group[@id='%s']/primitive" % site)] == [site + "-vip", site + "-site"]
    assert values(root, ".//primitive[@id='%s-vip']/instance_attributes" % site) == {"ip": vip, "cidr_netmask": "24"}
    assert values(root, ".//primitive[@id='%s-site']/instance_attributes" % site) == dict(
        [parameter.split("=") for parameter in parameters], site=site, vip=vip)  # type: ignore[misc]


@pytest.mark.parametrize(("configuration", "sites"), [("one-site", ["jobsiteA"]), ("two-sites", ["jobsiteA", "jobsiteB"]),
                                                      ("two-sites-one-disk", ["jobsiteA", "jobsiteB"])])
def test_the_doctor_reads_it(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str, sites: list[str]) -> None:
    """What each tool has written, as the real cibadmin prints it."""
    found = understood(run("cibadmin", "--query", cib=cibs[tool, configuration]))
    assert (found.nodes, found.fencing, found.idle) == (["node1", "node2"], True, {})
    assert sorted(found.resources) == [site + "-site" for site in sites]
    for site in sites:
        resource = found.resources[site + "-site"]
        assert resource.parameters == values(configured(cibs[tool, configuration]), ".//primitive[@id='%s-site']/instance_attributes" % site)
        assert (resource.timeouts["start"], resource.timeouts["stop"], resource.timeouts["monitor 300s"]) == ("180s", "180s", "60s")
        assert (resource.parents, resource.clone, resource.held, resource.bans, resource.left_out) == ((site,), "", "", {}, ())
        assert found.brings(resource.parameters["vip"], resource)


# -- what Pacemaker would do --------------------------------------------------------------------------------------------------------

def simulate(cib: pathlib.Path, *events: str) -> list[str]:
    """Let Pacemaker's scheduler act on a CIB in a file, after events (crm_simulate's options). Return the actions: "site-vip start" ..."""
    said = run("crm_simulate", "--simulate", "--xml-file", str(cib), "--save-output", str(cib), *events)
    return re.findall(r"Resource action: (\S+ +(?:start|stop|monitor=\d+|monitor)) on", re.sub(" +", " ", said))


def where(cib: pathlib.Path) -> dict[str, str]:
    """Resource -> the node where it runs, of a CIB in a file; fence devices left out."""
    root = ElementTree.fromstring(run("crm_mon", "--one-shot", "--inactive", "--output-as", "xml", cib=cib))
    return {resource.get("id", ""): node.get("name", "") for resource in root.findall("resources//resource")
            for node in resource.findall("node") if not resource.get("resource_agent", "").startswith("stonith:")}


@pytest.fixture
def running(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str, tmp_path: pathlib.Path) -> pathlib.Path:
    """The CIB of a cluster that was started with a configuration."""
    cib = copied(cibs[tool, configuration], tmp_path)
    simulate(cib)
    return cib


def on(node: str, *resources: str) -> dict[str, str]:
    """All these resources run on one node; a site's name stands for its address and itself."""
    return {member: node for name in resources for member in ([name + "-vip", name + "-site"] if name.startswith("jobsite") else [name])}


@pytest.mark.parametrize("configuration", ["one-site"])
def test_one_site_follows_the_node_that_lives(running: pathlib.Path) -> None:
    assert where(running) == on("node1", "jobsiteA")
    simulate(running, "--node-fail", "node1")
    assert where(running) == on("node2", "jobsiteA")
    simulate(running, "--node-up", "node1")
    assert where(running) == on("node2", "jobsiteA")
    simulate(running, "--node-fail", "node2")
    assert where(running) == on("node1", "jobsiteA")


@pytest.mark.parametrize("configuration", ["two-sites"])
@pytest.mark.parametrize(("dies", "lives"), [("node1", "node2"), ("node2", "node1")])
def test_two_sites_stand_by_for_each_other(running: pathlib.Path, dies: str, lives: str) -> None:
    assert where(running) == dict(on("node1", "jobsiteA"), **on("node2", "jobsiteB"))
    simulate(running, "--node-fail", dies)
    assert where(running) == on(lives, "jobsiteA", "jobsiteB")
    simulate(running, "--node-up", dies)
    assert where(running) == on(lives, "jobsiteA", "jobsiteB")  # no site goes home by itself


@pytest.mark.parametrize(("tool", "configuration"), [("crm", "two-sites")])  # `pcs resource move` needs a live cluster
def test_an_operator_sends_a_site_home(running: pathlib.Path) -> None:
    simulate(running, "--node-fail", "node1")
    simulate(running, "--node-up", "node1")
    for command in ("move jobsiteA node1", "clear jobsiteA"):
        run("crm", "resource", *command.split(), cib=running)
        simulate(running)
        assert where(running) == dict(on("node1", "jobsiteA"), **on("node2", "jobsiteB"))
    simulate(running, "--node-fail", "node1")
    simulate(running, "--node-up", "node1")
    assert where(running) == on("node2", "jobsiteA", "jobsiteB")  # the command is no longer in force


@pytest.mark.parametrize("configuration", ["two-sites-one-disk"])
def test_two_sites_on_one_disk_start_after_it_and_move_with_it(cibs: dict[tuple[str, str], pathlib.Path], tool: str, configuration: str,
                                                               tmp_path: pathlib.Path) -> None:
    cib = copied(cibs[tool, configuration], tmp_path)
    starts = [action for action in simulate(cib) if action.endswith("start") and not action.startswith("fence")]
    assert starts[0] == "jobs-disk start"
    assert len(starts) == 5
    for node in ("node1", "node2"):
        assert where(cib) == on(node, "jobs-disk", "jobsiteA", "jobsiteB")
        simulate(cib, "--node-fail", node)


@pytest.mark.parametrize("configuration", ["two-sites-one-disk"])
def test_the_disk_is_restarted_below_stopped_sites(running: pathlib.Path) -> None:
    actions = [action for action in simulate(running, "--op-inject", "jobs-disk_monitor_20000@node1=1") if "monitor" not in action]
    sites = ["jobsiteA-vip", "jobsiteA-site", "jobsiteB-vip", "jobsiteB-site"]
    assert sorted(actions[:4]) == sorted(name + " stop" for name in sites)
    assert actions[4:6] == ["jobs-disk stop", "jobs-disk start"]
    assert sorted(actions[6:]) == sorted(name + " start" for name in sites)


@pytest.mark.parametrize("configuration", ["two-sites-one-disk"])
@pytest.mark.parametrize(("stopped", "other"), [("jobsiteA", "jobsiteB"), ("jobsiteB", "jobsiteA")])
def test_a_site_on_the_same_disk_stops_alone(running: pathlib.Path, tool: str, stopped: str, other: str) -> None:
    run(*(["crm", "resource", "stop", stopped] if tool == "crm" else ["pcs", "-f", str(running), "resource", "disable", stopped]), cib=running)
    assert simulate(running) == [stopped + "-site stop", stopped + "-vip stop"]
    assert where(running) == on("node1", "jobs-disk", other)


@pytest.mark.parametrize("configuration", ["two-sites-one-disk"])
def test_a_site_that_fails_for_the_third_time_takes_the_disk_along(running: pathlib.Path) -> None:
    for node in ("node1", "node1", "node2"):
        simulate(running, "--op-inject", "jobsiteA-site_monitor_10000@node1=1")
        assert where(running) == on(node, "jobs-disk", "jobsiteA", "jobsiteB")


# -- the lab's version --------------------------------------------------------------------------------------------------------------

def test_for_the_lab_can_be_quick(cibs: dict[tuple[str, str], pathlib.Path], tmp_path: pathlib.Path) -> None:
    cib = load("crm", "one-site", empty_cib(tmp_path / "cib.xml"), quick=True)
    monitors = {operation[1:] for operation in operations(cib, "jobsiteA-site") if operation[0] == "monitor"}
    assert monitors == {("2", "30", "0"), ("7", "30", "10"), ("11", "60", "20")}
    assert {operation[1] for operation in operations(cib, "jobsiteA-vip") | operations(cib, "fence-node1")} == {"0", "10", "60"}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_for_the_lab_does_the_same_to_the_files_of_both_tools(name: str) -> None:
    replaced = r"(?:interval|plug|pcmk_host_list|pcmk_delay_base)=\S+"
    crm, pcs = (re.findall(replaced, for_the_lab((FOLDER / ("%s.%s" % (name, tool))).read_text(), quick=True)) for tool in TOOLS)
    assert crm == pcs
    assert "interval=2s" in crm
    assert ("pcmk_delay_base=2s" in crm) == (not CONFIGURATIONS[name])  # those on top of another have no fence devices


@pytest.mark.parametrize("text", ["stonith create fence-node1 fence_xvm pcmk_host_list=node1", "fence_ipmilan pcmk_host_list=node1",
                                  "fence_ipmilan ip=1 username=a password=b lanplus=1 pcmk_host_list=node1 pcmk_delay_base=3s"])
def test_for_the_lab_says_when_there_is_nothing_to_replace(text: str) -> None:
    with pytest.raises(ValueError, match="nothing matches"):
        for_the_lab(text)


def test_for_the_lab_says_when_no_monitor_is_found() -> None:
    with pytest.raises(ValueError, match="nothing matches"):
        for_the_lab("op monitor interval=10s timeout=30s", quick=True)
