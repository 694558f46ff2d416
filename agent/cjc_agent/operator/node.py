"""This node, as the doctor looks at it: each fact is found out once, when the first rule asks for it."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Optional

from cjc_agent import actions
from cjc_agent.actions import Request, Stack
from cjc_agent.layers.ownership import Census
from cjc_agent.layers.state import State
from cjc_agent.operator import cib
from cjc_agent.operator.cib import Cib
from cjc_agent.settings import daemon_conf, values
from cjc_agent.settings.daemon_conf import COMMON, FILES, LOCAL, SITE, Effective, File
from cjc_agent.settings.parameters import DEFAULT_PORT
from cjc_agent.tools import blockdevice, look, mountinfo, packages
from cjc_agent.tools.blockdevice import Unresolved
from cjc_agent.tools.command import Result
from cjc_agent.tools.look import Seen

MAKER = "cjcmksite"
PATIENCE = 1.0  # seconds for one look; then it is "not checkable"


class Node:
    """One node and one site. `resource` is the name of its Pacemaker resource ("" for none), `peers` the hosts that must be reached from here,
    `cib` the cluster's configuration, as far as it has been read already, `caller_site` the NQS_SITE that the agent was called with."""

    def __init__(self, request: Request, resource: str = "", peers: Sequence[str] = (), cib: Optional[Cib] = None, caller_site: str = "") -> None:
        self.request, self.resource, self.peers, self._cib = request, resource, tuple(peers), cib
        self.caller_site = caller_site
        self.settings, self.deadline = request.settings, request.deadline
        self.name = os.uname().nodename
        self.origin = "resource " + resource if resource else request.source

    # -- looking, never longer than PATIENCE ---------------------------------------------------------------------------------------

    def tool(self, *words: str) -> Result:
        """Run a system tool."""
        return self.stack.runner.tool(list(words), self.deadline.part(PATIENCE))

    def call(self, name: str, function: Callable[[], str], seconds: float = PATIENCE) -> Result:
        """Run a function in a child that may be abandoned after `seconds`; its text, of a few kilobytes, is the result's output."""
        return self.stack.runner.call(name, function, self.deadline.part(seconds))

    def each(self, name: str, items: Iterable[int], function: Callable[[int], str]) -> dict[int, Optional[str]]:
        """Run a function for every item in a child; return item -> its text, one line of any length; None where it hangs, or there was no time."""
        listed = list(items)
        try:
            return self.stack.runner.each(name, listed, function, self.deadline)
        except TimeoutError:
            return dict.fromkeys(listed)

    def look(self, paths: Sequence[str], contents: bool = True) -> dict[str, Seen]:
        """Look at files."""
        return look.at(paths, self.stack.runner, self.deadline, contents)

    # -- the layers ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def stack(self) -> Stack:
        """The site's layers, with the record of its start, if there is one."""
        return Stack(self.request, self.settings, actions.recorded(self.request))

    @cached_property
    def mounts(self) -> list[mountinfo.Mount]:
        """All that is mounted here; nothing where that cannot be read."""
        try:
            return mountinfo.read()
        except OSError:
            return []

    @cached_property
    def disk(self) -> State:
        """The state of the disk layer."""
        return self.stack.disk.state()

    @cached_property
    def mount(self) -> Optional[mountinfo.Mount]:
        """The mount of the site DB, also one in a bad state (read-only ...); None where it is not here, as on a standby.

        Where the cluster mounts the disk, what lies on the root file system is not it; and where no `directory` is given, either, the site DB
        alone tells it from any other file system on the way.
        """
        if self.stack.disk.scope() is None:
            return None
        found = mountinfo.containing(self.mounts, self.settings.site_db)
        if found and not self.settings.device and (self.on_root(found) or (not self.settings.directory and self.folders[1].missing)):
            return None
        return found

    def on_root(self, mount: mountinfo.Mount) -> bool:
        """Whether a mount shows the root file system: itself, a bind mount or a subvolume of it."""
        root = mountinfo.containing(self.mounts, "/")
        return root is not None and mount.device == root.device

    @cached_property
    def folders(self) -> list[Seen]:
        """What is seen of the site DB's folder and of `nqs` in it; where the disk is not mounted, of what lies in its place."""
        site_db = self.settings.site_db
        return list(self.look([site_db, site_db + "/nqs"], contents=False).values())

    @cached_property
    def device(self) -> tuple[str, Optional[Unresolved]]:
        """The path of the block device that `device` names now, whatever a start has recorded; or why it names none. "" without one."""
        name = self.settings.device
        if not name or values.is_network(name):
            return "", None
        try:
            path = blockdevice.resolve(name, self.stack.runner, self.deadline.part(PATIENCE))
            blockdevice.number(path)
            return path, None
        except Unresolved as error:
            return "", error

    @cached_property
    def file_system(self) -> tuple[str, Optional[Unresolved]]:
        """The type of the file system on the block device, "" for none; or why it cannot be told."""
        try:
            return blockdevice.file_system(self.device[0], self.stack.runner, self.deadline.part(PATIENCE)) if self.device[0] else "", None
        except Unresolved as error:
            return "", error

    @cached_property
    def superblock(self) -> Result:
        """What dumpe2fs(8) says of the block device."""
        return self.tool("dumpe2fs", "-h", self.device[0])

    @cached_property
    def mmp(self) -> Optional[bool]:
        """Whether the disk has ext4's multiple mount protection (ext4(5)); None where it is no ext4, or that cannot be told."""
        words = self.superblock.output.partition("Filesystem features:")[2].split("\n")[0].split() if self.file_system[0] == "ext4" else []
        return "mmp" in words if words else None

    @cached_property
    def tags(self) -> list[str]:
        """The block device's TAG=value pairs, as in fstab."""
        output = self.tool("blkid", "-c", "/dev/null", "-o", "export", self.device[0]).output  # blkid(8): with a backslash before a space
        return [line.replace("\\ ", " ") for line in output.split("\n")]

    @cached_property
    def census(self) -> Census:
        """One look at the node's processes."""
        return self.stack.site.census()

    # -- the product ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def commands(self) -> dict[str, Optional[Seen]]:
        """cjcpw as it is set, and cjcmksite -> what is seen of the command that would be run; None where there is none."""
        wanted = {name: values.programs_of(name, self.settings.nqs_home) for name in (self.settings.cjcpw, MAKER)}
        seen = self.look([path for paths in wanted.values() for path in paths], contents=False)
        return {name: next((seen[path] for path in paths if not seen[path].missing), None) for name, paths in wanted.items()}

    @cached_property
    def package(self) -> Optional[tuple[str, str]]:
        """Name and version of the package that cjcpw on this node is from, ("", "") when that is not known; None where nobody answers."""
        command = self.commands[self.settings.cjcpw]
        try:
            return packages.owner(command.real, self.stack.runner, self.deadline.part(3 * PATIENCE)) if command else ("", "")  # three commands
        except TimeoutError:
            return None

    @cached_property
    def user(self) -> Result:
        """The uid, as text, of the user that cjcpw runs as; "" where there is no such user."""
        name = self.settings.user

        def look() -> str:
            import pwd
            try:
                return str(pwd.getpwnam(name).pw_uid)
            except KeyError:
                return ""
        return self.call("look up user %s" % name, look)

    # -- the cluster ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def cib(self) -> Optional[Cib]:
        """The configuration of the running Pacemaker cluster; None where none answers."""
        if self._cib is None:
            try:
                self._cib = cib.read(self.stack.runner, self.deadline.part(3 * PATIENCE))  # "no cluster" would make some rules cry wolf
            except cib.Unusable:
                return None
        return self._cib

    # -- daemon.conf ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """COMMON, LOCAL, SITE -> what was seen of the file; SITE only where the disk is mounted."""
        names = [which for which in FILES if which != SITE or self.mount]
        paths = [daemon_conf.path_of(which, self.settings) for which in names]
        found = self.look(paths)
        return {which: found[path] for which, path in zip(names, paths)}

    @cached_property
    def files(self) -> dict[str, File]:
        """Those of the three files that could be read."""
        return {which: File(seen.path, seen.data) for which, seen in self.seen.items() if seen.data is not None}

    def effective(self, site: str) -> dict[str, Effective]:
        """Key -> what counts for LOCAL or SITE. Without the disk, of the cluster site what the common file says."""
        return daemon_conf.effective(site, self.files)

    @cached_property
    def port(self) -> int:
        """The cluster site's port: as set; else as its files say, else the default."""
        return self.settings.port or daemon_conf.port_of(self.effective(SITE)["listen_port"]) or DEFAULT_PORT

    def local_mode(self) -> Effective:
        """What counts as local_daemon of this node."""
        return self.effective(LOCAL)["local_daemon"]


__all__ = ["COMMON", "LOCAL", "SITE", "Node"]
