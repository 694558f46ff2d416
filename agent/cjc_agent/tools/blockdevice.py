"""Block devices: which one is meant, is anybody using it, is its file system sound."""
from __future__ import annotations

import errno
import os
import stat

from cjc_agent.tools.command import NOT_FOUND, TIMED_OUT, Result, Runner
from cjc_agent.tools.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FITHAW = 0xC0045878  # ioctl, linux/fs.h
MMP_CLEAN, MMP_FSCK = "0xff4d4d50", "0xe24d4d50"  # mmp_sequence, linux/fs/ext4/ext4.h: nobody has it mounted; fsck is at work, or was killed
NO_SUCH_NODE = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Unresolved(Exception):
    """No single block device answers to the name; the text says why and what to do.

    `absent`: there is none at all; `candidates`: the paths of those that answer, where they are too many.
    """

    def __init__(self, text: str, absent: bool, candidates: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.absent, self.candidates = absent, tuple(candidates)


class SeveralKinds(Unresolved):
    """A device carries signatures of several kinds."""


def resolve(name: str, runner: Runner, deadline: Deadline) -> str:
    """Given /dev/..., LABEL=... and the like, return the device's path. Raise Unresolved."""
    if name.startswith("/dev/"):
        return name
    # -c /dev/null: a cache would name devices that have gone
    result = runner.tool(["blkid", "-c", "/dev/null", "-o", "device", "-t", name], deadline)
    found = [line for line in result.output.split("\n") if line.startswith("/dev/")]
    if len(found) > 1:
        raise Unresolved("%s is answered by %s: change one of them" % (name, " and ".join(found)), False, found)
    if found and result.ok:
        return found[0]
    if result.exit_code == 2:  # blkid(8): not found
        raise Unresolved("no device answers to %s on this node: check the storage path" % name, absent=True)
    raise Unresolved("%s cannot be resolved: %s" % (name, result.words("check the storage path")), absent=False)


def number(path: str) -> str:
    """Given a device's path, return its "major:minor". Raise Unresolved. Only device nodes are looked at, which never hangs."""
    try:
        facts = os.stat(path)
    except OSError as error:
        raise Unresolved("%s: %s: check the storage path" % (path, error.strerror), absent=error.errno in NO_SUCH_NODE) from error
    except ValueError as error:  # a zero in it, or what no bytes can be made of
        raise Unresolved("%r is no name that a device can have: check `device`" % path, absent=False) from error
    if not stat.S_ISBLK(facts.st_mode):
        raise Unresolved("%s is not a block device: check `device`" % path, absent=True)
    return "%d:%d" % (os.major(facts.st_rdev), os.minor(facts.st_rdev))


def path_of(wanted: str, usual: str) -> str:
    """Given a device's "major:minor" and the path it once had, return one that names it now: a link may have gone, or lead to another device.

    Where none does, the usual one, unless that is another device; then "": the device is no longer there.
    """
    name = usual if _leads_to(usual, wanted) else _kernels_name(wanted) or usual
    return name if _leads_to(name, wanted) in (True, None) else ""


def _leads_to(path: str, wanted: str) -> bool | None:
    """Whether a path names the device with this number; None: it names none at all."""
    try:
        return number(path) == wanted
    except Unresolved:
        return None


def _kernels_name(wanted: str) -> str:
    """Return the path of the device with this number as the kernel names it, "" when there is no such device."""
    try:
        with open("/sys/dev/block/%s/uevent" % wanted) as file:
            names = ["/dev/" + line[len("DEVNAME="):].strip() for line in file if line.startswith("DEVNAME=")]
    except OSError:
        return ""
    return names[0] if names else ""


def wait_unused(path: str, runner: Runner, deadline: Deadline) -> Result:
    """Open a block device exclusively, again and again until it works or the deadline passes; the result is ok when it worked.

    open(2) with O_EXCL fails with EBUSY while anybody, in any mount namespace, has the device mounted or claimed; also while a frozen
    superblock outlives its mount.
    """
    def attempt() -> str:
        for _ in deadline.polls(first=0.02):
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
                return ""
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, "still in use", path)

    return runner.call("exclusive open of " + path, attempt, Deadline(deadline.left() + 0.2))


def is_in_use(result: Result) -> bool:
    """Given the result of `wait_unused`: whether somebody may use the device. Any other error (no device, no medium) comes after the claim."""
    return not result.ok and not (result.exit_code == 1 and not result.output.startswith("EBUSY "))


def file_system(path: str, runner: Runner, deadline: Deadline) -> str:
    """Return the type of the file system on a device, "" when none is recognised. Raise Unresolved when that cannot be told."""
    # -p: the device itself is looked at, and only then blkid(8) says whether the result is ambivalent
    result = runner.tool(["blkid", "-p", "-o", "value", "-s", "TYPE", path], deadline)
    if result.exit_code == 8:
        raise SeveralKinds("%s carries signatures of several kinds: see which with wipefs -n %s" % (path, path), absent=False)
    if result.exit_code not in (0, 2):
        raise Unresolved("what is on %s cannot be told: %s" % (path, result.words("check the storage path and the kernel's log")), absent=False)
    return result.output.strip()


def is_other_type(found: str, given: str) -> bool:
    """Given the type of what a device holds and the one that mount(8) is given ("": any), return whether it is another one. The kernel's
    driver for ext4 takes ext2 and ext3, too."""
    return given not in ("", "auto", found) and not given[:3] == found[:3] == "ext"


def check_file_system(path: str, fstype: str, policy: str, runner: Runner, deadline: Deadline) -> str:
    """Run fsck as `policy` (auto, force) says; return "" when the file system may be mounted, else what is wrong and what to do.

    fsck(8): 0 no errors, 1 errors corrected, 2 reboot, 4 errors left, 8 and more trouble of its own.
    """
    extended = fstype in ("ext2", "ext3", "ext4")
    if policy == "auto" and not extended:
        return ""
    flags = ["-p"] if policy == "auto" else ["-f", "-p"] if extended else ["-a"]
    result = runner.tool(["fsck." + fstype, *flags, path], deadline) if extended else None  # fsck(8) would call it and add its own time
    if result is None or result.exit_code == NOT_FOUND:  # nothing to call for this type: fsck(8) is left to say whether it needs a check
        result = runner.tool(["fsck", "-T", *(["-t", fstype] if fstype else []), path, "--", *flags], deadline)
    if result.exit_code in (0, 1):
        return ""
    complaint = mmp_complaint(path, result, runner, deadline)
    # e2fsck ends with advice that is the same for every disk
    said = [line for line in result.output.split("\n") if path in line and line.strip() != path + ":"]
    result.output = said[-1] if said else result.output
    if result.exit_code is None:
        return complaint or "%s: %s" % (path, result.words("check the storage path"))
    return complaint or result.words("run fsck on %s by hand" % path)


def mmp_complaint(path: str, result: Result, runner: Runner, deadline: Deadline) -> str:
    """Given a failed fsck or mount, return what is wrong and what to do if ext4's multiple mount protection (mmp, ext4(5)) is why, else "".

    Their own words are not shown: fsck (1.47) exits 8 with "MMP: device currently active", mount(8) says "busy", neither names the node,
    and the last line may be the advice to clear the mark by force, which invites the double mount. Whoever has the file system in use
    writes its name into the mmp block, which e2mmpstatus(8) shows without waiting.
    """
    late = result.outcome == TIMED_OUT
    refused = result.exit_code is not None and "MMP: " in result.output
    if not path.startswith("/dev/") or not (late or refused or "busy" in result.output):
        return ""
    said = runner.tool(["e2mmpstatus", "-i", path], Deadline(deadline.left() + 0.5)).output
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in said.split("\n"))}
    sequence = facts.get("mmp_sequence", "" if refused else MMP_CLEAN)
    if sequence == MMP_CLEAN:
        return ""
    node = "node " + facts["mmp_node_name"] if facts.get("mmp_node_name") else "another node"
    if late:
        return "%s: ext4 mmp waits for %s up to a minute: raise the start timeout to 180 s - %s" % (path, node, result.words())
    if sequence == MMP_FSCK:  # of a check that was broken off nobody can tell whether it still runs: this mark stays until somebody clears it
        return "%s is being checked on %s, or that was broken off: see that all other nodes are off, then README (mmp)" % (path, node)
    return "%s is in use on %s (ext4 mmp): make sure that %s is off before anything else" % (path, node, node)


def thaw(directory: str, runner: Runner, deadline: Deadline) -> None:
    """Thaw a file system that somebody froze (fsfreeze(8)); one that is not frozen stays as it is."""
    def attempt() -> str:
        import fcntl
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, FITHAW, 0)
            return "thawed"
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY):
                return "not frozen"
            raise

    runner.call("thaw " + directory, attempt, deadline)
