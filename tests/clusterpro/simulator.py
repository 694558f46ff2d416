"""The SIMULATOR of CLUSTERPRO on the lab's nodes: distributes the configuration, runs groups and monitors by it, sees servers go down."""
from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Sequence
from typing import Callable, Optional

from cluster import nodes as lab
from cluster.node import Node
from cluster.nodes import Nodes, SiteOnCluster
from clusterpro import clpconf, product
from clusterpro.clpconf import Configuration, Refused, Thing
from clusterpro.group import FAILED, NOTHING, ONLINE, PANIC, REBOOT, SHUT_DOWN, STOP_GROUP, STOPPED, Group
from clusterpro.monitor import Monitor
from clusterpro.resources import Disk, Exec, FloatingAddress, Resource, Run
from lab.site import missing

PACKAGES = {"ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nsenter": "util-linux", "mount": "mount", "make": "make"}
DARK_SECONDS = 0.5  # how long a rebooted node stays off
LOOK_EVERY = 0.05  # seconds, for servers that have gone down
# The defaults of these are not known: they have to be set
NEEDED = {"exec": ("parameters/act/sync", "parameters/deact/sync", "act/retry", "act/fo", "deact/retry", "deact/action"),
          "genw": ("parameters/sync", "parameters/normalval", "polling/interval", "polling/timeout", "polling/reconfirmation", "polling/timing",
                   "emergency/threshold/restart", "emergency/threshold/fo", "emergency/action")}
PLAYED = {"act/action": (NOTHING, STOP_GROUP, SHUT_DOWN, REBOOT, PANIC), "deact/action": (NOTHING, SHUT_DOWN, REBOOT, PANIC),
          "emergency/action": (NOTHING, STOP_GROUP, SHUT_DOWN, REBOOT, PANIC), "parameters/sync": ("1",)}


def missing_programs() -> list[str]:
    """What the SIMULATOR's nodes need and this machine does not have: "ip (package iproute2)" ..."""
    return missing(PACKAGES)


class Simulator(Nodes):
    """Two nodes under the SIMULATOR. Nothing runs before a configuration is pushed from a node (registration.py) and groups are started.

    `tell` is called, from any thread, with a node's name ("" for the whole) and what the SIMULATOR does. The disk resource of a group is
    the disk of the site that has the group's name. A server that has lost its power is noticed as soon as it is seen to be off: how long the
    product takes for that is not played, and neither is what it does when servers only cannot hear each other.
    """

    def __init__(self, sites: Sequence[SiteOnCluster] = (lab.SITE_A,), tell: Optional[Callable[[str, str], None]] = None) -> None:
        self.groups: dict[str, Group] = {}
        self.monitors: dict[str, Monitor] = {}
        self.runs: list[Run] = []  # of scripts, in the order in which they ended
        self.told: list[tuple[float, str, str]] = []  # (monotonic seconds, node, words)
        self.closed = False
        self._tell = tell
        self._configuration: Optional[Configuration] = None
        self._error: Optional[BaseException] = None
        super().__init__(2, sites)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(lab.ROOM / "power/clusterpro"))
        self._server.listen(4)
        for work in (self._serve, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def install(self, root: pathlib.Path, names: Sequence[str]) -> None:
        """The fakes, and nothing of Pacemaker."""
        super().install(root, names)
        product.install(root)

    def down(self) -> None:
        """End the SIMULATOR, then the nodes."""
        self.closed = True
        self._end_monitors()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # else who waits in accept() waits on, and may get what takes the descriptor's number next
        self._server.close()
        super().down()

    # -- verbs of people ----------------------------------------------------------------------------------------------------------

    def start_group(self, name: str, node: str = "") -> bool:
        """Start a group (on a node); return whether it is online then, wherever."""
        return self.groups[name].start(self.node(node) if node else None)

    def stop_group(self, name: str) -> bool:
        """Stop a group; return whether it is stopped."""
        return self.groups[name].stop()

    def move_group(self, name: str, node: str) -> bool:
        """Move a group; return whether it is online there."""
        return self.groups[name].move(self.node(node))

    def suspend_monitor(self, name: str) -> None:
        """Have a monitor look no more."""
        self.monitors[name].suspended = True
        self.say("", "monitor %s is suspended" % name)

    def resume_monitor(self, name: str) -> None:
        """Have it look again."""
        self.monitors[name].suspended = False
        self.say("", "monitor %s is resumed" % name)

    def status(self) -> dict[str, tuple[str, str]]:
        """Group -> (state, the node where it is, or was last)."""
        return {name: (group.state, group.node.name if group.node else "") for name, group in self.groups.items()}

    def scripts_run(self, name: str = "", since: float = 0.0, node: str = "") -> list[Run]:
        """The runs of a script (start.sh ...) that began since then."""
        return [run for run in list(self.runs) if run.name == (name or run.name) and run.began >= since and run.node == (node or run.node)]

    # -- what a drill asks of a cluster -------------------------------------------------------------------------------------------

    def start(self, site: SiteOnCluster) -> None:
        """Start its group."""
        self.start_group(site.name)

    def stop(self, sites: Sequence[SiteOnCluster]) -> None:
        """Stop their groups."""
        for site in sites:
            self.stop_group(site.name)

    def move(self, site: SiteOnCluster, node: str) -> None:
        """Move its group."""
        self.move_group(site.name, node)

    def clean_up(self) -> None:
        """Forget what monitors have counted, and what has failed."""
        self.idle()
        for monitor in self.monitors.values():
            monitor.reset()
        for group in self.groups.values():
            group.forget_failure()

    def rejoin(self) -> None:
        """Somebody switches on whatever is off; wait until all nodes have booted and nothing is left to do."""
        for node in self.nodes:
            node.power_on()
        super().rejoin()

    def idle(self, seconds: float = 60.0) -> None:
        """Wait until nothing is being done to any group. Raise what went wrong in the background."""
        self.wait(lambda: all(group.is_settled() for group in self.groups.values()), "nothing is done to any group", seconds, every=0.02)
        self._raise_errors()

    def words(self) -> str:
        """What the SIMULATOR did last, and the nodes."""
        lines = ["%.2f %s %s" % row for row in self.told[-40:]]
        return "\n".join(["SIMULATOR: %s" % self.status(), *lines, super().words()])

    def tells(self) -> str:
        """The scripts' own words besides."""
        return super().tells() + "; tail -n 30 %s/*" % product.LOG

    def _raise_errors(self) -> None:
        for error in [self._error, *(monitor.error for monitor in self.monitors.values())]:
            if error is not None:
                raise RuntimeError("the SIMULATOR broke down") from error

    # -- what groups ask of it ----------------------------------------------------------------------------------------------------

    def by_priority(self) -> list[Node]:
        """The servers, the one where groups are at home first."""
        priorities = self._configuration.servers if self._configuration else {}
        return sorted(self.nodes, key=lambda node: priorities.get(node.name, node.number))

    def switch_on(self, node: Node) -> None:
        """A moment later, as a reboot does."""
        def later() -> None:
            time.sleep(DARK_SECONDS)
            if not self.closed:
                node.power_on()
        threading.Thread(target=later, daemon=True).start()

    def say(self, node: str, words: str) -> None:
        """One line of the log."""
        self.told.append((time.monotonic(), node, words))
        if self._tell and not self.closed:
            self._tell(node, words)

    def _note(self, run: Run) -> None:
        self.runs.append(run)
        if run.name != "genw.sh":
            self.say(run.node, run.words())

    # -- in the background --------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """A server that has gone down, and was seen to be off, loses its groups to the other one."""
        try:
            while not self.closed:
                for group in list(self.groups.values()):
                    if not group.is_settled():
                        group.server_down()
                time.sleep(LOOK_EVERY)
        except BaseException as error:  # kept for the main thread
            self._error = error

    def _serve(self) -> None:
        """clpcfctrl asks: push or pull."""
        while True:
            try:
                connection = self._server.accept()[0]
            except OSError:
                return  # closed
            with connection:
                try:
                    with connection.makefile("rb") as reader:
                        request = reader.read()
                    connection.sendall(b"OK\n" + self._answer(*request.split(b"\n", 1)))
                except (Refused, RuntimeError, subprocess.SubprocessError, OSError, tarfile.TarError, ValueError, TypeError) as error:
                    connection.sendall(b"ERROR %s" % str(error).replace("\n", " ").encode())

    def _answer(self, verb: bytes, content: bytes) -> bytes:
        if any(node.init_pid is None for node in self.nodes):
            raise Refused("not all servers are on")
        if verb == b"pull":
            return self._packed()
        if verb != b"push":
            raise Refused("unknown request")
        active = [group.name for group in self.groups.values() if group.state not in (STOPPED, FAILED)]
        if active:
            raise Refused("stop these groups first: %s" % " ".join(active))
        for node in self.nodes:
            self._unpack(node, content)
        self._play(clpconf.Configuration.read(self.nodes[0].path(product.CONFIGURATION).read_text(encoding="utf-8")))
        return b""

    def _unpack(self, node: Node, content: bytes) -> None:
        shutil.rmtree(node.path(product.SCRIPTS))
        node.path(product.SCRIPTS).mkdir()
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive.getmembers():
                target = node.path(product.CONFIGURATION if member.name == clpconf.FILE else "%s/%s" % (product.HOME, member.name))
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is None or ".." in member.name.split("/"):
                    raise Refused("not a file: %s" % member.name)
                target.write_bytes(source.read())
                target.chmod(member.mode)

    def _packed(self) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            node = self.nodes[0]
            archive.add(node.path(product.CONFIGURATION), clpconf.FILE)
            archive.add(node.path(product.SCRIPTS), "scripts")
        return packed.getvalue()

    # -- the configuration --------------------------------------------------------------------------------------------------------

    def _play(self, configuration: Configuration) -> None:
        """Run by this configuration from now on. Raise Refused for what cannot be played."""
        configuration.check()
        if set(configuration.servers) != {node.name for node in self.nodes}:
            raise Refused("the servers are %s, not %s" % (" ".join(node.name for node in self.nodes), " ".join(configuration.servers)))
        for name, thing in {**configuration.resources, **configuration.monitors}.items():
            self._playable(name, thing)
        self._end_monitors()
        self._configuration = configuration
        self.groups = {name: self._group(name, configuration) for name in configuration.groups}
        self.monitors = {name: self._monitor(name, thing, configuration) for name, thing in configuration.monitors.items()}
        for monitor in self.monitors.values():
            monitor.start()
        self.say("", "configuration pushed: group %s" % ", ".join("%s (%s)" % (
            name, " ".join(_in_order(name, configuration))) for name in configuration.groups))

    def _playable(self, name: str, thing: Thing) -> None:
        unset = [path for path in NEEDED.get(thing.type, ()) if path not in thing.values]
        if unset:
            raise Refused("%s: set %s: the default is not known" % (name, " ".join(unset)))
        for path, values in PLAYED.items():
            if thing.values.get(path, values[0]) not in values:
                raise Refused("%s: the SIMULATOR does not play %s %s" % (name, path, thing.values[path]))
        if thing.values.get("relation/type") == "cls":
            raise Refused("%s: the SIMULATOR does not play relation/type cls" % name)

    def _group(self, name: str, configuration: Configuration) -> Group:
        resources = [self._resource(one, configuration.resources[one]) for one in _in_order(name, configuration)]
        execs = [thing for thing in configuration.resources.values() if thing.group == name and thing.type == "exec"]
        if len(execs) > 1:
            raise Refused("group %s: the SIMULATOR plays groups with one exec" % name)
        values = execs[0].values if execs else {"act/fo": "0", "deact/action": REBOOT}
        return Group(name, self, resources, int(values["act/fo"]), values.get("act/action", NOTHING), values["deact/action"])

    def _resource(self, name: str, thing: Thing) -> Resource:
        if thing.type == "exec":
            return Exec(name, thing, self._note)
        if thing.type == "fip":
            return FloatingAddress(name, thing.values["parameters/ip"])
        for site in self.sites:
            if site.name == thing.group:
                return Disk(name, site.disk, site.directory)
        raise Refused("disk %s: no site has the name of its group" % name)

    def _monitor(self, name: str, thing: Thing, configuration: Configuration) -> Monitor:
        relation = thing.values["relation/name"]
        group = self.groups[relation if thing.values["relation/type"] == "grp" else configuration.resources[relation].group]
        target = configuration.resources.get(thing.values.get("target", ""))
        return Monitor(name, thing, self.nodes, self.groups[target.group] if target else None, group, self._note, self.say)

    def _end_monitors(self) -> None:
        for monitor in self.monitors.values():
            monitor.end()


def _in_order(group: str, configuration: Configuration) -> list[str]:
    """The resources of a group as they come up: disk, fip, exec."""
    names = [name for name, thing in configuration.resources.items() if thing.group == group]
    return sorted(names, key=lambda name: clpconf.RESOURCES.index(configuration.resources[name].type))


__all__ = ["FAILED", "ONLINE", "STOPPED", "Simulator", "missing_programs"]
