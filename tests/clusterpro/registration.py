"""What the administrator does to bring a site under the SIMULATOR: the site's conf file, `cjc-agent render clusterpro`, its commands, the push."""
from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from cluster.nodes import SiteOnCluster
from clusterpro.simulator import Simulator

FOLDER = "/root/clusterpro"  # on the first node: where clp.conf and the scripts are put together
CONF = "/etc/cjc-agent/%s.conf"
TOOLS = CLPCFSET, CLPCFADM = ("clpcfset", "clpcfadm.py")


def resource_of(site: SiteOnCluster) -> str:
    """The name of its exec resource."""
    return "exec-" + site.name


def monitor_of(site: SiteOnCluster) -> str:
    """The name of its monitor, as `render` chooses it."""
    return "genw-" + resource_of(site)


def settings(site: SiteOnCluster, device: bool = False) -> dict[str, str]:
    """The conf file's lines. `device`: we mount; otherwise the cluster's disk resource does."""
    lines = {"site": site.name, "site_db": site.site_db, "directory": site.directory, "vip": site.vip}
    return dict(lines, device="/dev/" + site.disk, fstype="ext4") if device else lines


def write_conf(simulator: Simulator, site: SiteOnCluster, lines: Mapping[str, str]) -> None:
    """The site's conf file, on all nodes."""
    for node in simulator.nodes:
        path = node.path(CONF % site.name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join("%s = %s\n" % pair for pair in lines.items()))


def cluster_commands(sites: Sequence[SiteOnCluster], disk: bool = True) -> list[str]:
    """A cluster of two servers, and for each site a group with its address and, with `disk`, its disk."""
    lines = ["create lab UTF-8", "add srv node1 0", "add srv node2 1"]
    for site in sites:
        lines += ["add grp failover %s" % site.name, "add rsc %s fip fip-%s" % (site.name, site.name),
                  "add rscparam fip fip-%s parameters/ip %s" % (site.name, site.vip)]
        lines += ["add rsc %s disk disk-%s" % (site.name, site.name)] if disk else []
    return ["clpcfset " + line for line in lines]


def render(simulator: Simulator, site: SiteOnCluster, folder: str = FOLDER) -> dict[str, list[str]]:
    """`cjc-agent render clusterpro` on the first node; return the commands that it prints, by tool."""
    printed = simulator.nodes[0].run("cjc-agent", "render", "clusterpro", "--conf", CONF % site.name, "--group", site.name,
                                     "--resource", resource_of(site), "--output", folder).stdout
    return {tool: [line for line in printed.splitlines() if line.startswith(tool + " ")] for tool in TOOLS}


def in_the_lab(site: SiteOnCluster, **values: object) -> list[str]:
    """Further commands: monitors look every second here, and what the scripts print is kept. `values`: a__b=1 is monparam a/b."""
    wanted = {"polling/interval": 1, **{name.replace("__", "/"): value for name, value in values.items()}}
    kept = ["clpcfset add rscparam exec %s parameters/userlog /opt/nec/clusterpro/log/exec.log" % resource_of(site),
            "clpcfset add monparam genw %s parameters/userlog /opt/nec/clusterpro/log/genw.log" % monitor_of(site)]
    return kept + ["clpcfset add monparam genw %s %s %s" % (monitor_of(site), path, value) for path, value in wanted.items()]


def execute(simulator: Simulator, commands: Sequence[str], folder: str = FOLDER) -> None:
    """Run commands on the first node, in that folder; the first one that fails ends it (CommandFailed)."""
    script = "set -e\nmkdir -p %s\ncd %s\n%s\n" % (folder, folder, "\n".join(commands))
    simulator.nodes[0].run("/bin/sh", "-c", script)


def push(simulator: Simulator, folder: str = FOLDER) -> None:
    """Distribute what is in the folder. Raise CommandFailed."""
    simulator.nodes[0].run("clpcfctrl", "--push", "-x", folder)


def register(simulator: Simulator, site: SiteOnCluster, lines: Mapping[str, str], tool: str = CLPCFSET, **values: object) -> list[str]:
    """From nothing to a registered site; return the commands of `render` that were executed. Groups must not be up.

    First there is a cluster with the site's group, which has its address and its disk; then all is as `render` says.
    """
    write_conf(simulator, site, lines)
    execute(simulator, ["rm -rf " + FOLDER, "mkdir " + FOLDER], "/root")
    execute(simulator, cluster_commands([site], disk="device" not in lines))
    push(simulator)
    execute(simulator, ["rm -rf " + FOLDER], "/root")
    commands = render(simulator, site)[tool]
    simulator.nodes[0].run("clpcfctrl", "--pull", "-x", FOLDER)
    execute(simulator, [*commands, *in_the_lab(site, **values)])
    push(simulator)
    return commands


# -- without the agent: for tests of the SIMULATOR itself ---------------------------------------------------------------------------------

def stand_in_commands(site: SiteOnCluster, timeouts: int = 30) -> list[str]:
    """Commands like those of `render`, all timeouts the same number of seconds."""
    resource = "clpcfset add rscparam exec %s " % resource_of(site)
    monitor = "clpcfset add monparam genw %s " % monitor_of(site)
    exec_values = {"parameters/act/path": "start.sh", "parameters/deact/path": "stop.sh", "parameters/act/sync": 1, "parameters/deact/sync": 1,
                   "parameters/timeout/start": timeouts, "parameters/timeout/stop": timeouts, "act/timeout": 180 + timeouts, "deact/timeout": 180 + timeouts,
                   "act/retry": 0, "act/fo": 1, "deact/retry": 0, "deact/action": 5}
    genw_values = {"parameters/path": "genw.sh", "parameters/sync": 1, "parameters/normalval": 0, "polling/interval": 1, "polling/timeout": timeouts,
                   "polling/reconfirmation": 1, "polling/timing": 1, "target": resource_of(site), "relation/type": "rsc", "relation/name": resource_of(site),
                   "emergency/threshold/restart": 1, "emergency/threshold/fo": 1, "emergency/action": 1}
    return ["clpcfset add rsc %s exec %s" % (site.name, resource_of(site)), *("%s%s %s" % (resource, *pair) for pair in exec_values.items()),
            "clpcfset add mon genw " + monitor_of(site), *("%s%s %s" % (monitor, *pair) for pair in genw_values.items())]


def register_stand_in(simulator: Simulator, site: SiteOnCluster, scripts: Mapping[str, str], more: Sequence[str] = (), timeouts: int = 30) -> None:
    """Register a group whose start.sh, stop.sh and genw.sh are these shell lines. What was put together once is kept on the node."""
    made = "%s-%d" % (FOLDER, timeouts)
    if not simulator.nodes[0].path(made).exists():
        execute(simulator, [*_writes(site, scripts, made), *cluster_commands([site]), *stand_in_commands(site, timeouts), *in_the_lab(site)], made)
    execute(simulator, ["rm -rf %s" % FOLDER, "cp -a %s %s" % (made, FOLDER)], "/root")
    execute(simulator, more)
    push(simulator)


def _writes(site: SiteOnCluster, scripts: Mapping[str, str], target: str) -> list[str]:
    writes = []
    for name, text in scripts.items():
        below = "monitor.s/" + monitor_of(site) if name == "genw.sh" else "%s/%s" % (site.name, resource_of(site))
        folder = "%s/scripts/%s" % (target, below)
        path = "%s/%s" % (folder, name)
        writes += ["mkdir -p " + folder, "printf '%%s\\n' '#!/bin/sh' %s > %s" % (shlex.quote(text), path), "chmod 755 " + path]
    return writes
