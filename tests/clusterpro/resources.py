"""Disk, fip and exec of the SIMULATOR on a node, and how it runs a script: a clean environment, its own session, a timeout that kills."""
from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Optional, Protocol

from cluster.node import CommandFailed, Node
from clusterpro.clpconf import DEFAULT_TIMEOUT, Thing
from clusterpro.product import HOME, SCRIPTS

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
LINK, PREFIX = "eth0", 24
UMOUNT_SECONDS = 3.0
# Tell everybody on the network at once where an address is now: an ARP request of it for itself (RFC 5227, announcement)
ANNOUNCE = """import socket, sys
link, address = sys.argv[1], socket.inet_aton(sys.argv[2])
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((link, 0))
mac = sender.getsockname()[4]
for operation in (b"\\0\\1", b"\\0\\2"):
    sender.send(b"\\xff" * 6 + mac + b"\\x08\\x06\\0\\1\\x08\\0\\6\\4" + operation + mac + address + b"\\xff" * 6 + address)
"""


@dataclass(frozen=True)
class Run:
    """One run of a script: `code` is None when it was `killed` by the timeout or ended with its node. `began`: monotonic seconds."""

    script: str
    node: str
    environment: dict[str, str]
    began: float
    seconds: float
    code: Optional[int]
    killed: bool

    @property
    def name(self) -> str:
        """start.sh, stop.sh, genw.sh."""
        return self.script.rsplit("/", 1)[-1]

    def words(self) -> str:
        """In one line."""
        event, factor = self.environment.get("CLP_EVENT", ""), self.environment.get("CLP_FACTOR", "")
        why = " (%s)" % " ".join(filter(None, (event, factor))) if event else ""
        end = "killed: timeout" if self.killed else "ended by a signal, or with its node" if self.code is None else "exit %d" % self.code
        return "%s%s: %s after %.1f s" % (self.name, why, end, self.seconds)


def run_script(node: Node, script: str, environment: dict[str, str], seconds: float, log: str = "", wait: bool = True) -> Run:
    """Run a script on a node, with this environment and nothing else; it is killed, with all of its process group, after `seconds`.

    What it prints goes to the file `log` of the node, or nowhere; never to a pipe of ours, which its daemons could keep open.
    """
    began = time.monotonic()
    variables = ["%s=%s" % pair for pair in {"PATH": PATH, **environment}.items()]
    try:
        command = ["nsenter", "--target", str(node.init_pid), "--all", "/usr/bin/env", "-i", *variables, script]
        with open(node.path(log) if log else os.devnull, "ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    except OSError:  # the node has just lost its power
        return Run(script, node.name, environment, began, time.monotonic() - began, None, False)
    if not wait:
        threading.Thread(target=process.wait, daemon=True).start()
        return Run(script, node.name, environment, began, 0.0, 0, False)
    killed = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        killed = True
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code = None if killed or process.returncode < 0 else process.returncode
    return Run(script, node.name, environment, began, time.monotonic() - began, code, killed)


@dataclass(frozen=True)
class Occasion:
    """Why a group comes up or goes down, as its scripts are told."""

    event: str  # START, FAILOVER
    factor: str = ""  # GROUPSTOP, GROUPMOVE, GROUPFAILOVER, RESOURCERESTART
    server: str = "HOME"  # or OTHER
    previous: str = ""  # the server where it was


class Resource(Protocol):
    """What a group is made of. Both verbs return "" or what went wrong; both may be called for what is so already."""

    name: str

    def activate(self, node: Node, occasion: Occasion) -> str:
        """Bring it up on a node."""

    def deactivate(self, node: Node, occasion: Occasion) -> str:
        """Take it down."""


class Disk:
    """A disk resource: the file system of a shared disk, mounted on a node."""

    def __init__(self, name: str, disk: str, directory: str) -> None:
        self.name, self._device, self._directory = name, "/dev/" + disk, directory

    def activate(self, node: Node, occasion: Occasion) -> str:
        """Mount it."""
        return _complaint(node, "mount", "-t", "ext4", self._device, self._directory)

    def deactivate(self, node: Node, occasion: Occasion) -> str:
        """Unmount it; a few seconds are given to whoever is just leaving."""
        end = time.monotonic() + UMOUNT_SECONDS
        while True:
            said = _complaint(node, "/bin/sh", "-c", "! grep '^%s %s ' /proc/mounts || umount %s" % (self._device, self._directory, self._directory))
            if not said or time.monotonic() > end:
                return said
            time.sleep(0.1)


class FloatingAddress:
    """A fip resource: an address on the node's link."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self._address = name, address

    def activate(self, node: Node, occasion: Occasion) -> str:
        """Add it, and tell the network."""
        said = _complaint(node, "ip", "address", "add", "%s/%d" % (self._address, PREFIX), "dev", LINK)
        return said or _complaint(node, "python3", "-I", "-S", "-c", ANNOUNCE, LINK, self._address)

    def deactivate(self, node: Node, occasion: Occasion) -> str:
        """Take it away."""
        known, address = "ip -oneline address show dev %s" % LINK, "%s/%d" % (self._address, PREFIX)
        return _complaint(node, "/bin/sh", "-c", "! %s | grep -F ' %s ' || ip address delete %s dev %s" % (known, address, address, LINK))


class Exec:
    """An exec resource: start.sh and stop.sh. `note` is told of each run."""

    def __init__(self, name: str, thing: Thing, note) -> None:  # type: ignore[no-untyped-def]
        self.name, self._thing, self._note = name, thing, note

    def activate(self, node: Node, occasion: Occasion) -> str:
        """start.sh, act/retry times more when it does not exit with 0."""
        return self._run(node, occasion, "act", "start")

    def deactivate(self, node: Node, occasion: Occasion) -> str:
        """stop.sh, deact/retry times more when it does not exit with 0."""
        return self._run(node, occasion, "deact", "stop")

    def _run(self, node: Node, occasion: Occasion, verb: str, timeout: str) -> str:
        values = self._thing
        folder = "%s/%s/%s" % (SCRIPTS, values.group, self.name)
        environment = {"CLP_EVENT": occasion.event, "CLP_FACTOR": occasion.factor, "CLP_DISK": "SUCCESS", "CLP_SERVER": occasion.server,
                       "CLP_SERVER_PREV": occasion.previous, "CLP_GROUPNAME": values.group, "CLP_RESOURCENAME": self.name, "CLP_SCRIPT_PATH": folder,
                       "CLP_PATH": HOME}
        seconds = values.number("parameters/timeout/" + timeout, DEFAULT_TIMEOUT)
        life = node.init_pid
        for _ in range(1 + values.number(verb + "/retry", 0)):
            run = run_script(node, "%s/%s" % (folder, values.values["parameters/%s/path" % verb]), environment, seconds,
                             values.values.get("parameters/userlog", ""), values.values["parameters/%s/sync" % verb] == "1")
            self._note(run)
            if run.code == 0:
                return ""
            if node.init_pid != life:
                break
        return run.words()


def _complaint(node: Node, *command: str) -> str:
    """Run a command on a node; return "" or what it says is wrong."""
    try:
        node.run(*command, timeout=30)
    except (CommandFailed, RuntimeError, subprocess.SubprocessError) as error:
        return " ".join(str(error).split())
    return ""
