"""The disk layer: the file system that carries the site DB. Three kinds with one interface: block device (blockdisk.py), network, the
cluster's own.

What is mounted is read from mountinfo alone; nothing at or below the mount point is touched in our own process.
"""
from __future__ import annotations

import os

from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError, State
from cjc_agent.settings.parameters import Settings
from cjc_agent.tools import mountinfo
from cjc_agent.tools.command import Result, Runner
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import Log

NETWORK_TYPES = ("nfs", "nfs4")
MOUNT_HINT = "dmesg(1) may have more information after failed mount system call."  # mount(8) ends with it; what is wrong stands before it
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


class Disk:
    """What the three kinds share. `resolved` is what was found out about the device, for the record; monitor then needs no blkid."""

    exclusive = False  # mounted on one node at a time: left mounted while the site is stopped, it was not stopped cleanly

    def __init__(self, settings: Settings, runner: Runner, log: Log, deadline: Deadline, resolved: dict[str, str]) -> None:
        self._settings, self._runner, self._log, self._deadline = settings, runner, log, deadline
        self.resolved = resolved
        self.launched = False  # whether this action has called mount
        self.found = False  # whether this action's stop has found anything to unmount

    def state(self) -> State:
        """RUNNING: the right thing is mounted read-write where it should be; STOPPED: nothing of it is mounted; FAILED: anything else."""
        try:
            return self._judge(mountinfo.read())
        except OSError as error:
            return State(FAILED, "mounts cannot be read: %s" % error.strerror)

    def start(self, deadline: Deadline) -> None:
        """Bring the disk up. Raise LayerError."""
        state = self.state()
        if state.running:
            return
        if not state.stopped:
            raise LayerError(state.reason)
        self.resolved.clear()  # a device may have got another number since it was recorded
        self._mount(deadline)
        state = self.state()
        if not state.running:
            raise LayerError(state.reason or "mounted, but not there")
        self._log.debug("disk: mounted %s" % state.reason)

    def stop(self, deadline: Deadline) -> None:
        """Take the disk down, ending those who hold it. Raise LayerError, naming what is left."""
        raise NotImplementedError

    def _judge(self, mounts: list[mountinfo.Mount]) -> State:
        raise NotImplementedError

    def _mount(self, deadline: Deadline) -> None:
        raise NotImplementedError

    def _warn_of_hidden_files(self, deadline: Deadline) -> None:
        """Files in the mount point are often what somebody wrote while the disk was not there: whoever looks for them should know where they are."""
        directory = self._settings.directory
        result = self._runner.call("look into " + directory, lambda: ", ".join(sorted(os.listdir(directory))[:3]), deadline)
        if result.ok and result.output:
            self._log.warning("disk: the mount point %s is not empty: the mount hides what is in it (%s ...)" % (directory, result.output))

    def _read_only(self, mount: mountinfo.Mount) -> State:
        remedy = "remove ro from `options`" if "ro" in self._settings.options.split(",") else "look for I/O errors in the kernel's log"
        return State(FAILED, "%s is mounted read-only: %s" % (mount.words(), remedy))

    def _run_mount(self, source: str, deadline: Deadline) -> None:
        arguments = ["mount"]
        if self._settings.fstype:
            arguments += ["-t", self._settings.fstype]
        if self._settings.options:
            arguments += ["-o", self._settings.options]
        self._warn_of_hidden_files(deadline.part(2.0))
        self.launched = True
        result = self._runner.tool([*arguments, "--", source, self._settings.directory], deadline)
        if not result.ok:
            result.output = result.output.replace(MOUNT_HINT, "")
            remedy = "check the storage path" if result.exit_code is None else "check `device`, `options` and the kernel's log"
            raise LayerError(self._known_refusal(source, result, deadline) or "%s on %s: %s" % (source, self._settings.directory, result.words(remedy)))

    def _known_refusal(self, source: str, result: Result, deadline: Deadline) -> str:
        """Better words than mount's own for why it refused, "" for none."""
        return ""

    def scope(self) -> Optional[tuple[str, str]]:
        """Return the folder that is the site's and the "major:minor" of its file system; None while our mount is not there.

        Also for a mount in a bad state (read-only ...): who holds it matters all the same.
        """
        try:
            return self._scope(mountinfo.read())
        except OSError:
            return None

    def _scope(self, mounts: list[mountinfo.Mount]) -> Optional[tuple[str, str]]:
        raise NotImplementedError

    def before_stop(self, deadline: Deadline) -> None:
        """Do what lets the site's daemons end at all."""

    def left(self) -> str:
        """Words for what of ours is still mounted and must not be, "" for nothing."""
        return ""


class ClusterDisk(Disk):
    """`device` empty: the cluster mounts the disk. It is verified, never mounted, never unmounted."""

    def _judge(self, mounts: list[mountinfo.Mount]) -> State:
        settings = self._settings
        if not settings.site_db:
            return State(STOPPED, "site_db is not known")
        mount = self._mount_of_site_db(mounts)
        if mount is None:
            return State(STOPPED, "%s lies on no mounted file system of its own: mount the shared disk before this resource" % settings.site_db)
        if mount.read_only:
            return self._read_only(mount)
        return State(RUNNING, mount.words())

    def _mount_of_site_db(self, mounts: list[mountinfo.Mount]) -> Optional[mountinfo.Mount]:
        directory = self._settings.directory  # given though not needed: then it is this very mount point that counts
        mount = mountinfo.top_at(mounts, directory) if directory else mountinfo.containing(mounts, self._settings.site_db)
        return mount if mount is not None and mount.point != "/" else None

    def _scope(self, mounts: list[mountinfo.Mount]) -> Optional[tuple[str, str]]:
        mount = self._mount_of_site_db(mounts) if self._settings.site_db else None
        return (self._settings.site_db, mount.device) if mount else None

    def _mount(self, deadline: Deadline) -> None:
        raise LayerError(self.state().reason)

    def stop(self, deadline: Deadline) -> None:
        """Nothing: what the cluster mounted the cluster unmounts."""


class UnknownDisk(Disk):
    """`device` or `directory` cannot be understood and no record tells them: nothing is mounted or unmounted, and in doubt it is FAILED."""

    def _judge(self, mounts: list[mountinfo.Mount]) -> State:
        places = [mountinfo.top_at(mounts, self._settings.directory) if self._settings.directory else None,
                  mountinfo.containing(mounts, self._settings.site_db) if self._settings.site_db else None]
        for mount in places:
            if mount is not None and mount.point != "/":
                return State(FAILED, "%s is mounted, and whether it is this site's is not known: correct the parameters" % mount.words())
        return State(STOPPED, "nothing is mounted where the site DB would be")

    def _scope(self, mounts: list[mountinfo.Mount]) -> Optional[tuple[str, str]]:
        return None

    def _mount(self, deadline: Deadline) -> None:
        raise LayerError("`device` and `directory` are not known")

    def stop(self, deadline: Deadline) -> None:
        """See Disk.stop: nothing can be done but to say so."""
        if self.left():
            raise LayerError(self.left())

    def left(self) -> str:
        """See Disk.left."""
        state = self.state()
        return "" if state.stopped else state.reason


class MountedDisk(Disk):
    """What we mount and unmount ourselves."""

    def left(self) -> str:
        """See Disk.left. A stranger on our mount point is not ours."""
        try:
            mounts = self._to_unmount(mountinfo.read())
        except OSError as error:
            return "mounts cannot be read: %s" % error.strerror
        return "%s still mounted: unmount it" % _named(mounts) if mounts else ""

    def _scope(self, mounts: list[mountinfo.Mount]) -> Optional[tuple[str, str]]:
        top = mountinfo.top_at(mounts, self._settings.directory)
        return (top.point, top.device) if top is not None and self._is_ours(top) else None

    def stop(self, deadline: Deadline) -> None:
        """See Disk.stop: umount first, and look for holders only when it is busy."""
        told: dict[int, bool] = {}
        complaint = holding = ""
        patience = Deadline(min(5.0, deadline.left() * 0.3))  # for TERM; KILL follows
        for _ in deadline.polls(first=0.05, longest=0.5):
            complaint = self._unmount_all(deadline) or complaint
            table = mountinfo.read()
            mounts = self._to_unmount(table)
            if not mounts:
                return
            try:  # the holders of what is seen: below one that is hidden, the same names are somebody else's
                holding = self._end_holders([mount for mount in mounts if _is_seen(table, mount)], patience.expired(), told, deadline) or holding
            except TimeoutError as error:
                holding = holding or ", %s" % error.strerror
        left = self._to_unmount(mountinfo.read())
        if left:
            complaint = complaint or "no time left: look for who uses it (fuser -vm)"
            raise LayerError("%s still mounted%s%s" % (_named(left), holding, (" - " if holding else ": ") + complaint))

    def unmount(self, deadline: Deadline) -> None:
        """Unmount the disk without ending anybody who holds it. Raise LayerError."""
        complaint = ""
        for _ in deadline.polls(first=0.05, longest=0.5):
            complaint = self._unmount_all(deadline) or complaint
            left = self.left()
            if not left:
                return
        raise LayerError("%s - %s" % (left, complaint or "no time left"))

    def _unmount_all(self, deadline: Deadline) -> str:
        """Unmount one after the other as long as it works; return why it stopped working, or ""."""
        table = mountinfo.read()
        mounts = self._to_unmount(table)
        self.found = self.found or bool(mounts)
        while mounts and not deadline.expired():
            first = next((mount for mount in mounts if _is_seen(table, mount)), None)
            if first is None:  # umount(2) goes by the path, and would take what is seen there
                above = mountinfo.containing(table, mounts[0].point)
                return "it is hidden by %s: unmount that first" % (above.words() if above else "another mount")
            for mount in mounts:
                if self._is_ours(mount) and _is_seen(table, mount):
                    self._before_umount(mount.point, deadline)
                    break
            if not self._is_ours(first):
                self._log.warning("disk: unmounting %s, which lies on the site's disk" % first.words())
            result = self._runner.tool(self._umount_command(first.point), deadline.share(0.5))
            if not result.ok:
                return result.words()
            self._log.debug("disk: unmounted %s" % first.words())
            table = mountinfo.read()
            mounts = self._to_unmount(table)
        return ""

    def _to_unmount(self, mounts: list[mountinfo.Mount]) -> list[mountinfo.Mount]:
        """Return what must be unmounted, the topmost first: our mount, our file system elsewhere, and what is mounted on either."""
        return mountinfo.to_unmount(mounts, [mount for mount in mounts if self._is_ours(mount)])

    def _is_ours(self, mount: mountinfo.Mount) -> bool:
        raise NotImplementedError

    def _before_umount(self, directory: str, deadline: Deadline) -> None:
        pass

    def _umount_command(self, point: str) -> list[str]:
        return ["umount", "-c", "--", point]  # -c: the path is mountinfo's own; looking at it again could hang

    def _end_holders(self, mounts: list[mountinfo.Mount], hard: bool, told: dict[int, bool], deadline: Deadline) -> str:
        """Send TERM (KILL when `hard`) to all who keep `mounts` busy; return words that name them, or what
        else holds them. `told` keeps the log short.

        Raise TimeoutError when there was no time to look for them.
        """
        import signal

        from cjc_agent.tools import holders, processes
        if not mounts:
            return ""
        table = processes.table()
        found: dict[int, str] = {}
        for mount in mounts:
            found.update(holders.find(mount.point, mount.device, table, self._runner, deadline))
        named = []
        for pid, how in found.items():
            process = table[pid]
            named.append("%s (%s)" % (processes.describe([process]), how))
            if told.get(pid) != hard:
                self._log.warning("disk: %s holds %s by its %s: sending %s" % (
                    processes.describe([process]), mounts[-1].point, how, "KILL" if hard else "TERM"))
                told[pid] = hard
                processes.send(process, signal.SIGKILL if hard else signal.SIGTERM)
        if named:
            return ", held by %s: end them, or restart this node" % ", ".join(named[:5])
        words = [words for mount in mounts for words in holders.by_kernel(mount.point)]
        return ", held by no process: %s" % ("; ".join(words) or "look for NFS exports and containers")


class NetworkDisk(MountedDisk):
    """NFS, EFS: may be mounted on several nodes, so that a mount left behind is no sign of a running site."""

    def _judge(self, mounts: list[mountinfo.Mount]) -> State:
        top = mountinfo.top_at(mounts, self._settings.directory)
        if top is None:
            return State(STOPPED, "%s is not mounted" % self._settings.device)
        if not self._is_ours(top):
            return State(FAILED, "%s should carry %s, but %s is mounted there: unmount it" % (
                self._settings.directory, self._settings.device, top.words()))
        if top.read_only:
            return State(FAILED, "%s is mounted read-only: check the export and its options" % top.words())
        return State(RUNNING, top.words())

    def _is_ours(self, mount: mountinfo.Mount) -> bool:
        if mount.point != self._settings.directory or (mount.fstype not in NETWORK_TYPES and mount.fstype != self._settings.fstype):
            return False
        recorded = self.resolved.get("source", "") if self.resolved.get("device") == self._settings.device else ""
        # EFS with TLS shows 127.0.0.1:/ as its source: only our own start knows that it is the right one
        return mount.source.rstrip("/") == self._settings.device.rstrip("/") or (bool(recorded) and mount.source == recorded)

    def _mount(self, deadline: Deadline) -> None:
        self._run_mount(self._settings.device, deadline)
        top = mountinfo.top_at(mountinfo.read(), self._settings.directory)
        if top is not None:
            self.resolved.update(device=self._settings.device, source=top.source)

    def _umount_command(self, point: str) -> list[str]:
        # umount(8) -f gives up on a server that does not answer; never -l, which only hides the mount
        return ["umount", "-f", "-c", "--", point]


def _is_seen(table: list[mountinfo.Mount], mount: mountinfo.Mount) -> bool:
    """Whether a mount is what its mount point leads to, not hidden by another one."""
    seen = mountinfo.top_at(table, mount.point)
    return seen is not None and seen.id == mount.id


def _named(mounts: list[mountinfo.Mount]) -> str:
    """Given mounts, name the first few of them, with their verb."""
    words = ", ".join(mount.words() for mount in mounts[:3])
    return "%s %s" % (words, "is" if len(mounts) == 1 else "are")
