"""What is wrong with the standby is known in daylight: the doctor there and `compare` name it, and so, by the same rule, does the start that fails."""
from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from cluster import network
from cluster.drill import Drill
from cluster.installed import LICENCE, WITHOUT_CJC, install
from cluster.node import Node
from lab.healthy import COMMON, LOCAL, VERSION


@pytest.fixture
def pair(drill: Drill, tmp_path: pathlib.Path) -> tuple[Node, Node]:
    """(node1, node2), both as they should be: the site runs on node1, `version` and `port` are set."""
    drill.bring("node1")
    here, there = drill.cluster.node("node1"), drill.cluster.node("node2")
    for node in (here, there):
        install(node, tmp_path, VERSION)
        node.path(str(LOCAL)).write_text("local_daemon=SITE\nipaddress=%s\n" % network.address(node.number))
    # the port is then the node's own matter; JobCenter reads it at its next start
    here.sh("sed -i /listen_port/d %s/nqs/daemon.conf" % drill.site.site_db)
    for name, value in (("version", VERSION), ("port", str(drill.site.port)), ("min_free_mib", "1")):
        here.run("crm_resource", "--resource", resource(drill), "--set-parameter", name, "--parameter-value", value)
    drill.cluster.idle()
    return here, there


def resource(drill: Drill) -> str:
    """The agent's resource."""
    return drill.site.name + "-site"


def doctor(drill: Drill, node: Node) -> tuple[dict[str, Any], str]:
    """What the doctor says on a node; and what it saves, carried to the first node as the operator would."""
    done = node.run("cjc-agent", "doctor", "--resource", resource(drill), "--json", "--save", "/root/facts.json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["clean"] else 1), done
    path = "/root/%s.json" % node.name
    drill.cluster.node("node1").path(path).write_bytes(node.path("/root/facts.json").read_bytes())
    return found, path


@contextlib.contextmanager
def text(node: Node, path: str, content: str) -> Iterator[None]:
    """A file of the node says something else."""
    before = node.path(path).read_bytes()
    node.path(path).write_text(content)
    try:
        yield
    finally:
        node.path(path).write_bytes(before)


@contextlib.contextmanager
def older(node: Node, folder: pathlib.Path) -> Iterator[None]:
    """The node has an older JobCenter."""
    install(node, folder, "15.2-1")
    try:
        yield
    finally:
        install(node, folder, VERSION)


SPOILED: dict[str, tuple[str, Callable[[Node, pathlib.Path], contextlib.AbstractContextManager[None]]]] = {
    "licence": ("CJC204", lambda node, folder: text(node, LICENCE, WITHOUT_CJC)),
    "version": ("CJC210", older),
    "listen_port": ("CJC115", lambda node, folder: text(node, str(COMMON), "local_daemon=SITE\nlisten_port=20817\n")),
}


def test_what_is_spoiled_on_the_standby_is_named_before_the_failover(drill: Drill, pair: tuple[Node, Node], tmp_path: pathlib.Path) -> None:
    here, there = pair
    healthy, path_there = doctor(drill, there)
    active, path_here = doctor(drill, here)
    assert healthy["findings"] == active["findings"] == [], "both nodes are healthy"
    assert here.run("cjc-agent", "compare", path_here, path_there, check=False).returncode == 0
    for rule, spoil in SPOILED.values():
        with spoil(there, tmp_path):
            found, path = doctor(drill, there)
            assert [finding["rule"] for finding in found["findings"]] == [rule]
            compared = here.run("cjc-agent", "compare", path_here, path, check=False)
            assert compared.returncode == 1 and rule in compared.stdout and "node2" in compared.stdout
            the_start_there_fails_by(rule, drill, here)
    assert drill.move("node2").after == "node2", "mended, it goes there"


def the_start_there_fails_by(rule: str, drill: Drill, here: Node) -> None:
    """Move the site to node2, where its start fails with a reason that names the rule; it comes back, and all of it is forgotten."""
    group = ("crm_resource", "--resource", drill.site.name)
    here.run(*group, "--move", "--node", "node2")
    drill.cluster.wait(lambda: rule in here.run("crm_mon", "-1rf", check=False).stdout, "the start on node2 fails by %s" % rule)
    drill.wait_serving("node1")
    failed = [line for line in here.run("crm_mon", "-1rf").stdout.split("\n") if rule in line]
    assert failed and "%s start on node2" % resource(drill) in failed[0], failed
    drill.cluster.idle()
    here.run(*group, "--clear")
    here.run("crm_resource", "--cleanup")
    drill.cluster.idle()
