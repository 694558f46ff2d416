"""The disk layer's block device: which one it is, in whose use it is, and a stop that is done only when nobody uses it any more."""
from __future__ import annotations

from cjc_agent.layers.disk import MountedDisk
from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError, State
from cjc_agent.tools import blockdevice, mountinfo
from cjc_agent.tools.command import UNSTARTED, Result
from cjc_agent.tools.deadline import Deadline

WORK_ON_DEVICE = ("mount", "umount", "fsck", "blkid", "exclusive open")  # what is stuck in one of these waits for storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


class BlockDisk(MountedDisk):
    """A block device, mounted on one node at a time."""

    exclusive = True

    _unresolved: Optional[blockdevice.Unresolved] = None  # remembered: asking again could cost the same time again

    def _device(self, deadline: Deadline) -> tuple[str, str]:
        """Return (path, "major:minor") of the device, from the record if it is there. Raise blockdevice.Unresolved."""
        if self._is_recorded() and not self._renumbered():
            return self.resolved["path"], self.resolved["number"]
        if self._unresolved:
            raise self._unresolved
        try:
            path = blockdevice.resolve(self._settings.device, self._runner, deadline)
            self.resolved.update(path=path, number=blockdevice.number(path), device=self._settings.device)
        except blockdevice.Unresolved as error:
            self._unresolved = error
            raise
        return path, self.resolved["number"]

    def _is_recorded(self) -> bool:
        """Whether the record tells what this device is; one that tells of another path than the one that is given does not."""
        device = self._settings.device
        return self.resolved.get("device") == device and {"path", "number"} <= self.resolved.keys() and (
            self.resolved["path"] == device or not device.startswith("/dev/"))

    def _renumbered(self) -> bool:
        """Whether another device has taken the recorded one's path since. While there is a mount of the recorded one, that one counts."""
        try:
            if blockdevice.number(self.resolved["path"]) == self.resolved["number"]:
                return False
        except blockdevice.Unresolved:
            return False  # it has gone: it keeps its number, for the mount it may have left
        return not any(self._same(mount, self.resolved["number"]) for mount in mountinfo.read())

    def _judge(self, mounts: list[mountinfo.Mount]) -> State:
        top = mountinfo.top_at(mounts, self._settings.directory)
        try:
            path, number = self._device(self._deadline.part(10.0))
        except blockdevice.Unresolved as error:
            if top is not None:
                return State(FAILED, "%s is mounted, but which device it should be is not known: %s" % (top.words(), error))
            return State(STOPPED if error.absent or self._are_unmounted(error.candidates, mounts) else FAILED, str(error))
        if top is not None:
            if not self._same(top, number):
                return State(FAILED, "%s should carry %s, but %s is mounted there: unmount it" % (self._settings.directory, path, top.words()))
            if top.read_only:
                return self._read_only(top)
            if top.device != number:
                self.resolved["anonymous"] = top.device
            return State(RUNNING, top.words())
        for mount in mounts:
            if self._same(mount, number) and mount.point == self._settings.directory:
                above = mountinfo.containing(mounts, mount.point)
                return State(FAILED, "%s is hidden by %s: unmount that" % (mount.words(), above.words() if above else "another mount"))
            if self._same(mount, number):
                return State(FAILED, "%s should be on %s, but is mounted on %s: unmount it there" % (path, self._settings.directory, mount.point))
        return State(STOPPED, "%s is not mounted" % path)

    def _are_unmounted(self, paths: tuple[str, ...], mounts: list[mountinfo.Mount]) -> bool:
        """Whether there are candidates for our device, and none of them is mounted."""
        try:
            numbers = [blockdevice.number(path) for path in paths]
        except blockdevice.Unresolved:
            return False
        return bool(numbers) and not any(self._same(mount, number) for mount in mounts for number in numbers)

    def _same(self, mount: mountinfo.Mount, number: str) -> bool:
        if mount.device == number:
            return True
        # btrfs shows an anonymous number, and then the source tells; but any user may mount a FUSE file system with any text as its source
        if mount.device.startswith("0:") and mount.source.startswith("/dev/") and not mount.fstype.startswith("fuse"):
            try:
                return blockdevice.number(mount.source) == number
            except blockdevice.Unresolved:  # its device has gone, and its mount lives on
                return number == self.resolved.get("number") and mount.device == self.resolved.get("anonymous")
        return False

    def _mount(self, deadline: Deadline) -> None:
        self._unresolved = None
        try:
            self._mount_checked(deadline)
        except blockdevice.Unresolved as error:
            raise LayerError(str(error)) from error

    def _mount_checked(self, deadline: Deadline) -> None:
        path, number = self._device(deadline)
        result = self._wait_unused(path, number, deadline.share(0.5))
        if not result.ok:
            raise LayerError("%s cannot be opened: %s" % (path, result.words("check the storage path")))
        if self._settings.run_fsck != "no":
            fstype = self._settings.fstype or blockdevice.file_system(path, self._runner, deadline)
            if not fstype:
                raise LayerError("no file system is recognised on %s: check `device`, and the kernel's log for read errors" % path)
            complaint = blockdevice.check_file_system(path, fstype, self._settings.run_fsck, self._runner, deadline)
            if complaint:
                self._compare_type(path, deadline)
                raise LayerError(complaint)
        try:
            self._run_mount(path, deadline)
        except LayerError:
            self._compare_type(path, deadline)
            raise

    def _known_refusal(self, source: str, result: Result, deadline: Deadline) -> str:
        return blockdevice.mmp_complaint(source, result, self._runner, deadline)

    def _compare_type(self, path: str, deadline: Deadline) -> None:
        """After a failure: raise LayerError when the disk holds something else than `fstype` says. It is no work for fsck then."""
        try:
            given, found = self._settings.fstype, "" if deadline.expired() else blockdevice.file_system(path, self._runner, deadline)
        except blockdevice.Unresolved:
            return  # the complaint that there is tells more
        if found and blockdevice.is_other_type(found, given):
            raise LayerError("%s holds %s, `fstype` says %s: correct `fstype` or `device`" % (path, found, given))

    def _wait_unused(self, path: str, number: str, deadline: Deadline) -> Result:
        """Wait until nobody uses the device; return how opening it ended. Raise LayerError, with the users as far as they can be seen."""
        result = blockdevice.wait_unused(path, self._runner, deadline)
        if result.ok:
            return result
        if result.outcome == UNSTARTED:
            raise LayerError("whether %s is in use on this node could not be seen: %s" % (path, result.words()))
        users = self._users(number)  # they may live on without the device's node
        if users or blockdevice.is_in_use(result):
            stuck = ["%s (pid %d)" % (name, pid) for name, pid in self._runner.abandoned().items() if name.startswith(WORK_ON_DEVICE)]
            if stuck and not users:
                raise LayerError("%s does not answer, %s cannot be ended: check the storage path" % (path, ", ".join(stuck)))
            remedy = "end them" if users else "end its user, or if frozen: mount, fsfreeze -u, umount"
            raise LayerError("%s is in use on this node, outside our mount table%s: %s - %s" % (
                path, users, remedy, result.words()))
        return result

    def _wait_all_unused(self, paths: tuple[str, ...], deadline: Deadline) -> None:
        for path in paths:
            try:
                self._wait_unused(path, blockdevice.number(path), deadline.share(0.4))
            except blockdevice.Unresolved as error:
                raise LayerError(str(error)) from error

    def _users(self, number: str) -> str:
        """Words for whoever has the device mounted where we do not see it."""
        from cjc_agent.tools import holders, processes
        table = processes.table()
        shown = {number, self.resolved.get("anonymous", number)}
        found = sorted({pid for device in shown for pid in holders.in_other_namespaces(device, table)})
        words = ["by " + processes.describe(table[pid] for pid in found)] if found else []
        words += holders.by_kernel(self._settings.directory)  # an overlay has mounts of its own of its layers
        return " (%s)" % "; ".join(words) if words else ""

    def stop(self, deadline: Deadline) -> None:
        """See Disk.stop; afterwards an exclusive open must work, for another mount namespace or a frozen superblock keeps the device in use."""
        try:
            path, number = self._device(deadline.share(0.3))
        except blockdevice.Unresolved as error:
            mounts = mountinfo.read()
            top = mountinfo.top_at(mounts, self._settings.directory)
            if error.absent and (top is None or self._is_alive(top)):
                return  # our device has gone, and nothing that could be left of it is mounted
            if top is None and self._are_unmounted(error.candidates, mounts):
                self._wait_all_unused(error.candidates, deadline)
                return  # whichever is ours, it is not in use
            if top is None or not error.absent:
                raise LayerError(str(error)) from error
            self._log.warning("disk: %s: unmounting what it left on %s" % (error, self._settings.directory))
            self.resolved.update(path=top.source, number=top.device, device=self._settings.device)
            path, number = top.source, top.device
        super().stop(deadline)
        path = blockdevice.path_of(number, path)
        if path:
            self._wait_unused(path, number, deadline.share(0.9))  # who looks at the site's processes after us needs time, too

    def _is_alive(self, mount: mountinfo.Mount) -> bool:
        """Whether a mount's device is still there under its name: then it is another one than ours, which is not."""
        try:
            return not mount.source.startswith("/dev/") or self._same(mount, blockdevice.number(mount.source))
        except blockdevice.Unresolved:
            return False

    def _is_ours(self, mount: mountinfo.Mount) -> bool:
        return "number" in self.resolved and self._same(mount, self.resolved["number"])

    def _before_umount(self, directory: str, deadline: Deadline) -> None:
        blockdevice.thaw(directory, self._runner, deadline.part(2.0))  # umount of a frozen file system leaves it active

    def _scope(self, mounts: list[mountinfo.Mount]) -> Optional[tuple[str, str]]:
        try:
            self._device(self._deadline.part(10.0))
        except blockdevice.Unresolved:
            return None
        return super()._scope(mounts)

    def before_stop(self, deadline: Deadline) -> None:
        """See Disk.before_stop: whoever waits for a frozen file system cannot end."""
        if self.scope():
            blockdevice.thaw(self._settings.directory, self._runner, deadline.part(2.0))
