"""docs/configuration.md, played from top to bottom as an operator would, on two nodes on which there is no site yet. The Japanese page has the same blocks."""
from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cluster import configuration
from cluster.cluster import Cluster, SiteOnCluster
from cluster.drill import Drill
from cluster.installed import LICENCE, WITH_CJC, WITHOUT_CJC, install
from cluster.node import Node
from lab import unit
from lab.healthy import VERSION
from lab.site import PROJECT

PAGE, JAPANESE = PROJECT / "docs/configuration.md", PROJECT / "docs/configuration.ja.md"
CONF = "/etc/cjc-agent/jobsiteA.conf"
WHERE = {"# on node1": ("node1",), "# on node2": ("node2",), "# on both nodes": ("node1", "node2")}


class Line(NamedTuple):
    """What the operator types, and what the page says of it behind a `#`: `finds CJC204`, `clean`, or nothing: then it must work."""

    command: str
    promise: str


def blocks(page: pathlib.Path) -> list[tuple[str, list[Line]]]:
    """The blocks of a page that begin with where they are typed: (first line, commands). A here-document is one command."""
    found = []
    for text in re.findall(r"^```\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        first, _, rest = text.partition("\n")
        if first in WHERE:
            found.append((first, [line_of(command) for command in re.findall(r"[^\n]*<<'END'\n.*?\nEND\n|[^\n]+\n", rest, re.DOTALL)]))
    return found


def line_of(text: str) -> Line:
    """Command and promise."""
    command, _, promise = text.rstrip("\n").partition(" # ") if "<<" not in text else (text, "", "")
    return Line(command.strip(), promise.strip())


class BareCluster(Cluster):
    """A cluster on whose nodes JobCenter is installed, and nothing else was done."""

    def _make_site(self, site: SiteOnCluster) -> None:
        """The page does."""


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Iterator[Cluster]:
    """Two nodes as after step 1 of the installation: package and unit are there, the licence is not, and each has an address for the local site."""
    made = BareCluster(2)
    try:
        made.up()
        for node, address in zip(made.nodes, ("10.0.0.10", "10.0.0.11")):
            install(node, tmp_path, VERSION)
            node.run("systemctl", "enable", unit.UNIT.name)
            node.path(str(unit.SYSTEMCTL)).write_text(unit.FAKE)
            node.sh("chmod 755 %s; ip address add %s/24 dev eth0" % (unit.SYSTEMCTL, address))
            node.path(LICENCE).write_text(WITHOUT_CJC)
            node.path("/root/one-site.crm").write_text(configuration.file_for_the_lab("one-site.crm", quick=True))
        yield made
    finally:
        made.down()


def type_in(node: Node, line: Line) -> None:
    """Type a line on a node, and see that what the page promises of it is true."""
    if line.promise == "JobCenter's own":  # jclicreg: the licence is registered
        node.path(LICENCE).write_text(WITH_CJC)
        return
    done = node.run("/bin/sh", "-c", line.command, check=False, timeout=60)
    said = "%s on %s (%d): %s%s" % (line.command, node.name, done.returncode, done.stdout, done.stderr)
    print("%s# %s\n%s%s" % (node.name, line.command, done.stdout, done.stderr))
    rules = re.findall(r"CJC\d{3}", line.promise)
    assert done.returncode == (1 if rules else 0), said
    if line.command.startswith("cjc-agent doctor"):
        assert sorted(re.findall(r"^  (?:ERROR|WARNING) (CJC\d{3})", done.stdout, re.MULTILINE)) == rules, said
    if CONF in line.command and "<<" in line.command:  # the lab's disk is small
        node.sh("echo min_free_mib = 1 >> " + CONF)
    if line.command.startswith("crm_resource --resource"):
        node.sh("crm_resource --resource jobsiteA-site --set-parameter min_free_mib --parameter-value 1")
    if line.command.startswith("cjc-agent init") and node.name == "node2":  # JobCenter's own: the SIMULATOR wants to be told of the site
        node.sh("/usr/lib/nqs/cjcmksite -r -d /share/job_site -n jobsiteA")


def carry(cluster: Cluster, line: Line) -> None:
    """The operator carries node2's file to node1."""
    if "compare" in line.command:
        cluster.node("node1").path("/root/node2.json").write_bytes(cluster.node("node2").path("/root/node2.json").read_bytes())


def play(cluster: Cluster) -> Iterator[str]:
    """Type all of it; yield each command once it has been done."""
    for where, lines in blocks(PAGE):
        for name in WHERE[where]:
            for line in lines:
                carry(cluster, line)
                type_in(cluster.node(name), line)
                yield line.command


def test_the_page_is_true(cluster: Cluster) -> None:
    steps, typed = play(cluster), 1
    while not next(steps).startswith("crm configure load"):
        typed += 1
    with Drill(cluster, jobs_per_second=4) as drill:  # from now on there is a site: it is asked, used and watched
        drill.wait_serving("node1")
        for command in steps:
            typed += 1
            cluster.idle()
            if command.startswith("crm resource move"):
                drill.wait_serving("node2")
        assert drill.where() == "node2" and typed >= 25
        accounts = drill.settle()
    assert not drill.observer.violations
    for account in accounts.values():
        assert account.done and not account.lost and not account.twice and not account.waiting, account.words()
    for node in cluster.nodes:
        assert node.path(str(unit.CALLS)).read_text() == "restart jobcentersv\n"


def test_both_languages_have_the_same_blocks() -> None:
    def commands(page: pathlib.Path) -> list[tuple[str, list[str]]]:
        return [(where, [line.command for line in lines]) for where, lines in blocks(page)]
    assert commands(PAGE) == commands(JAPANESE) and len(commands(PAGE)) >= 8
