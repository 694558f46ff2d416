"""A node with which the doctor is content, and what rows of breakages do to it."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

from lab import unit
from lab.changed import away, text_of
from lab.nameserver import NameServer
from lab.site import LINK, NQS_HOME, NQS_SPOOL, PROJECT, Answer, Site, answer_of

COMMAND = "/usr/sbin/cjc-agent"
COMMON = pathlib.Path(NQS_HOME, "rc/daemon.conf")
LOCAL = pathlib.Path(NQS_SPOOL, "daemon.conf")
CIBADMIN = pathlib.Path("/usr/sbin/cibadmin")
PACKAGE, VERSION = "jobcenter-simulator", "16.1-1"
COMMANDS = ("cjcpw", "cjcmksite")
HOSTS, RESOLVER, SWITCH = pathlib.Path("/etc/hosts"), pathlib.Path("/etc/resolv.conf"), pathlib.Path("/etc/nsswitch.conf")
PROMOTE = pathlib.Path("/proc/sys/net/ipv4/conf/all/promote_secondaries")
NODE = os.uname().nodename


class Broken(NamedTuple):
    """One row: `name`; `rule` that must be found, alone; `place` where (a part of it; None: not looked at); `breaks`, given the healthy node a
    context manager that breaks it and mends it again; `standby`: the site runs elsewhere; `options` of the doctor's besides."""

    name: str
    rule: str
    breaks: Callable[[Healthy], contextlib.AbstractContextManager[object]]
    place: Callable[[Healthy], str] | str | None = None
    standby: bool = False
    options: tuple[str, ...] = ()


class Healthy:
    """The node: a site of the simulator with its files, package, unit and names as they should be. It runs here, unless `standby` was called."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.undo = contextlib.ExitStack()
        install_package(folder, VERSION)
        self.undo.enter_context(text_of(unit.UNIT, unit.TEXT))
        systemctl("enable")
        self.undo.callback(systemctl, "disable")
        PROMOTE.write_text("1")  # as systemd has it (sysctl.d/50-default.conf): with the VIP the other addresses of its network would go
        self.site = Site(folder)
        self.conf = folder / "site.conf"
        self.caller: list[str] = []  # a command that runs the agent: `env NAME=value` ...
        self.base = self.site.vip.rpartition(".")[0] + ".254"  # an address of this node's own in the VIP's network; no VIP ends so
        subprocess.run(["ip", "addr", "add", self.base + "/24", "dev", LINK], check=True)
        self.undo.enter_context(text_of(LOCAL, "# local site only\nlocal_daemon=SITE\nipaddress=%s\n" % self.base))
        self.vip_name = self.site.name + "-vip"
        self.names = self.name_service()
        self.configure()
        self.runs = False
        self.active()

    def name_service(self) -> NameServer:
        """Hosts file and name server that know the node and the VIP alike; nothing is asked of anybody else."""
        hosts = {NODE: self.base, self.vip_name: self.site.vip}
        server = NameServer()
        self.undo.callback(server.close)
        for name, address in hosts.items():
            server.enter(name, address)
        if RESOLVER.is_symlink():  # to what a daemon of the machine's writes
            RESOLVER.unlink()
        for path, text in (
                (HOSTS, "127.0.0.1 localhost\n" + "".join("%s %s\n" % (address, name) for name, address in hosts.items())),
                (RESOLVER, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), (SWITCH, "passwd: files\ngroup: files\nhosts: files dns\n")):
            self.undo.enter_context(text_of(path, text))
        return server

    def configure(self, **changes: str) -> None:
        """Write the configuration file: the site's parameters, replaced by `changes`."""
        self.conf.write_text(self.site.configuration(**{"version": VERSION, "min_free_mib": "1", **changes}))

    @property
    def site_conf(self) -> pathlib.Path:
        """The site's own daemon.conf."""
        return self.site.site_db / "nqs/daemon.conf"

    # -- where the site is ---------------------------------------------------------------------------------------------------------

    def active(self) -> None:
        """Have the site run here."""
        if not self.runs:
            if not self.vip_is_here():
                self.site.address("add")
            self.call("start", check=True)
            self.runs = True

    def standby(self) -> None:
        """Have it elsewhere: neither disk nor address nor daemons are here."""
        if self.runs:
            self.call("stop", check=True)
            self.site.address("del")
            self.runs = False

    def vip_is_here(self) -> bool:
        """Whether the address is on this node."""
        return self.site.vip + "/" in subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout

    # -- the agent -----------------------------------------------------------------------------------------------------------------

    def call(self, verb: str, *words: str, check: bool = False, **environment: str) -> Answer:
        """Call `cjc-agent VERB --conf` of this site."""
        values = {"PATH": os.environ["PATH"], "HA_RSCTMP": str(self.site.state), **environment}
        answer = answer_of([*self.caller, COMMAND, verb, "--conf", str(self.conf), *words], values)
        assert not check or answer.code == 0, answer
        return answer

    def doctor(self, *words: str, **environment: str) -> dict[str, Any]:
        """What the doctor finds, as JSON. Its exit code must fit."""
        answer = self.call("doctor", "--json", *words, **environment)
        assert answer.out and not answer.said, answer
        found: dict[str, Any] = json.loads(answer.out)
        assert answer.code == (0 if found["clean"] else 1), answer
        return found

    def close(self) -> None:
        """End all of it."""
        self.undo.close()
        self.site.close()
        subprocess.run(["ip", "addr", "del", self.base + "/24", "dev", LINK], check=False, stderr=subprocess.DEVNULL)


def systemctl(*words: str) -> None:
    """The real systemctl on the unit's files; there is no systemd."""
    subprocess.run(["systemctl", *words, unit.UNIT.name], check=True, stderr=subprocess.DEVNULL)


def build_package(folder: pathlib.Path, version: str) -> pathlib.Path:
    """Make a Debian package of the simulator's commands, as they are installed: then the package manager knows their version."""
    tree = folder / "package"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: tests <tests@localhost>\n"
                                         "Description: SIMULATOR of JobCenter\n" % (PACKAGE, version))
    home = tree / NQS_HOME.lstrip("/")
    home.mkdir(parents=True)
    for name in COMMANDS:
        shutil.copy2(PROJECT / "tests/simulator" / name, home / name)
    subprocess.run(["dpkg-deb", "-Znone", "--build", "--root-owner-group", str(tree), str(folder / "package.deb")], check=True, stdout=subprocess.DEVNULL)
    return folder / "package.deb"


def install_package(folder: pathlib.Path, version: str) -> None:
    """Install that package on this node."""
    subprocess.run(["dpkg", "--force-unsafe-io", "--force-downgrade", "-i", str(build_package(folder, version))], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


# -- what breakages are made of -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def configured(healthy: Healthy, **changes: str) -> Iterator[None]:
    """The configuration file says something else."""
    healthy.configure(**changes)
    try:
        yield
    finally:
        healthy.configure()


@contextlib.contextmanager
def cluster(configuration: str) -> Iterator[None]:
    """A Pacemaker cluster with this configuration (a CIB, as XML) answers on this node: the real cibadmin(8), which is told to read it from a file."""
    file = pathlib.Path("/run/cib.xml")
    file.write_text(configuration)
    with away(CIBADMIN):
        CIBADMIN.write_text('#!/bin/sh\nCIB_file=%s exec %s.aside "$@"\n' % (file, CIBADMIN))
        CIBADMIN.chmod(0o755)
        yield
    file.unlink()


def line_of(path: pathlib.Path, text: str) -> str:
    """file:line of the last line that begins with a text, as the doctor names places."""
    lines = path.read_text(errors="replace").split("\n")
    return "%s:%d" % (path, max(number for number, line in enumerate(lines, 1) if line.startswith(text)))
