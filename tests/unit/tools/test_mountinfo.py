from __future__ import annotations

import itertools
import os
import sys

import pytest

from cjc_agent.tools import mountinfo
from cjc_agent.tools.deadline import Deadline
from unit.helpers import AGENT, PATIENCE, mount_line, mount_table


def one(line):
    mounts = mountinfo.parse(line)
    assert len(mounts) == 1
    return mounts[0]


def test_all_fields():
    mount = one("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")  # the example of the manual page
    assert (mount.id, mount.parent, mount.device, mount.root, mount.point, mount.fstype, mount.source, mount.read_only) == (
        36, 35, "98:0", "/mnt1", "/mnt2", "ext3", "/dev/root", False)
    assert mount.words() == "/dev/root (ext3) on /mnt2"


@pytest.mark.parametrize("optional", ["", "shared:1 ", "shared:1 master:2 propagate_from:3 ", "unbindable ", "a - "])
def test_optional_fields(optional):
    line = "36 35 8:1 / /share rw %s- ext4 /dev/sda1 rw" % optional
    if optional == "a - ":
        assert one(line).fstype == "-", "the first lone dash ends them"
    else:
        assert (one(line).fstype, one(line).source, one(line).point) == ("ext4", "/dev/sda1", "/share")


@pytest.mark.parametrize("escaped, plain", [
    (r"/my\040share", "/my share"), (r"/a\011b", "/a\tb"), (r"/a\012b", "/a\nb"), (r"/a\134b", "/a\\b"), (r"/a\043b", "/a#b"),
    (r"/a\134040b", "/a\\040b"), (r"/a\04", r"/a\04"), (r"/a\999", r"/a\999"), (r"/a\777", r"/a\777"), (r"/a\000", r"/a\000"),
    ("/a\\", "/a\\"), (r"\040\040", "  "),
    ("/日本", "/日本"),
])
def test_octal_escapes(escaped, plain):
    mount = one(mount_line(escaped, source=escaped, root=escaped))
    assert (mount.point, mount.source, mount.root) == (plain, plain, plain)


@pytest.mark.parametrize("options, superblock, read_only", [
    ("rw,relatime", "rw", False), ("ro,relatime", "rw", True), ("rw,relatime", "ro", True), ("rw", "ro,errors=remount-ro", True), ("ro", "ro", True),
    ("rw,relatime", "rw,errors=remount-ro", False), ("rw", "rw,proto=ro2", False), ("rw,nosuid,ro", "rw", True),
    ("rw", "rw,emergency_ro", True), ("rw", "rw,shutdown", True),
])
def test_read_only_by_mount_or_superblock(options, superblock, read_only):
    assert one(mount_line("/share", options=options, superblock=superblock)).read_only is read_only


GOOD = mount_line("/share")


@pytest.mark.parametrize("bad", ["", "garbage", "36 35", "- - - - - - - -", GOOD[:GOOD.index(" - ") + 3], GOOD[:GOOD.index("ext4") + 4],
                                 GOOD.rsplit(" ", 1)[0], "x" + GOOD, "\0" * 10, " " * 50, "36 35 8:1 / /share rw shared:1 ext4 /dev/sda1 rw"])
def test_torn_and_garbage_lines_are_left_out(bad):
    assert [mount.point for mount in mountinfo.parse("%s\n%s\n%s\n" % (mount_line("/a"), bad, mount_line("/b")))] == ["/a", "/b"]


def test_no_text_no_mounts():
    assert mountinfo.parse("") == []


MOUNTS = mountinfo.parse("\n".join([
    mount_line("/", "/dev/root", number=21, parent=1), mount_line("/share", "/dev/first", number=22, parent=21),
    mount_line("/share/deep", "/dev/deep", number=23, parent=24), mount_line("/share", "/dev/second", number=24, parent=22),
    mount_line("/shareholder", "/dev/other", number=25, parent=21)]))


@pytest.mark.parametrize("point, source", [("/", "/dev/root"), ("/share", "/dev/second"), ("/share/deep", "/dev/deep"), ("/sha", None),
                                           ("/share/", None)])
def test_top_at_is_the_last_of_a_stack(point, source):
    found = mountinfo.top_at(MOUNTS, point)
    assert (found.source if found else None) == source


@pytest.mark.parametrize("path, source", [("/", "/dev/root"), ("/etc", "/dev/root"), ("/share", "/dev/second"), ("/share/x", "/dev/second"),
                                          ("/share/deep/x", "/dev/deep"), ("/shareholder/x", "/dev/other"), ("/shared", "/dev/root")])
def test_containing(path, source):
    assert mountinfo.containing(MOUNTS, path).source == source


def test_containing_nothing():
    assert mountinfo.containing(mountinfo.parse(mount_line("/share")), "/home") is None


WALK = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from cjc_agent.tools import mountinfo
folder = sys.argv[2]
for point in ("share", "share/deep", "share", "share/own", "a/b", "a"):
    os.makedirs(folder + "/" + point, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", point.replace("/", "-"), folder + "/" + point], check=True)
os.makedirs(folder + "/share/deep/x")
os.makedirs(folder + "/a/b/x")
mounts = mountinfo.read()
for path in ("share", "share/deep", "share/deep/x", "share/own", "a", "a/b", "a/b/x", "", "."):
    path = (folder + "/" + path).rstrip("/.")
    number = os.stat(path).st_dev
    found = mountinfo.containing(mounts, path)
    if found is None or found.device != "%d:%d" % (os.major(number), os.minor(number)):
        print(path, found and found.words())
    if (mountinfo.top_at(mounts, path) is not None) != os.path.ismount(path):
        print(path, "a mount point or not?")
"""
HIDDEN = mountinfo.parse("""20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 8:17 / /mnt/share rw - ext4 /dev/sdb1 rw
31 20 8:33 / /mnt rw - ext4 /dev/sdc1 rw
""")


def test_a_mount_under_a_later_one_is_not_seen():
    assert mountinfo.top_at(HIDDEN, "/mnt/share") is None
    assert mountinfo.containing(HIDDEN, "/mnt/share/job_site").source == "/dev/sdc1"


def test_what_was_mounted_below_the_lower_of_a_stack_is_not_seen():
    mounts = mountinfo.parse(mount_table(mount_line("/"), mount_line("/share", "/dev/first"), mount_line("/share/deep", "/dev/deep"),
                                         mount_line("/share", "/dev/second")))
    assert [(mount.id, mount.parent) for mount in mounts] == [(20, 1), (21, 20), (22, 21), (23, 21)], "as the kernel says it"
    assert mountinfo.top_at(mounts, "/share/deep") is None
    assert mountinfo.containing(mounts, "/share/deep/x").source == mountinfo.top_at(mounts, "/share").source == "/dev/second"


@pytest.mark.parametrize("root", [mount_line("/", "/dev/root", number=20, parent=1), mount_line("/", "/dev/root", number=20, parent=20)])
def test_the_order_of_the_lines_does_not_matter(root):
    """Since Linux 6.8 they are sorted by id, before by when they were made; a mount that was moved has a parent that comes later."""
    lines = [root, mount_line("/mnt", "/dev/sdb1", number=31, parent=20), mount_line("/mnt/a", "/dev/sdc1", number=30, parent=31),
             mount_line("/mnt/a", "/dev/sdd1", number=29, parent=30)]
    for order in itertools.permutations(lines):
        mounts = mountinfo.parse("\n".join(order))
        assert [mountinfo.containing(mounts, path).source for path in ("/mnt/a/x", "/mnt/x", "/x")] == ["/dev/sdd1", "/dev/sdb1", "/dev/root"]


@pytest.mark.root
def test_the_walk_is_the_kernels(runner, tmp_path):
    """A stack, a mount below its lower part, and a mount hidden by a later one on a parent folder: whose device number stat(2) sees."""
    result = runner.tool(["unshare", "-m", "--propagation", "private", sys.executable, "-I", "-S", "-c", WALK, str(AGENT), str(tmp_path.resolve())],
                         Deadline(PATIENCE))
    assert result.ok and result.output == "", result.output


CHROOT = mountinfo.parse("""77 45 0:21 / /proc rw,relatime - proc proc rw
78 45 0:53 / /share rw,relatime - tmpfs share rw
""")


def test_without_a_root_mount_all_that_hang_on_it_are_seen():
    """What Linux 6.18 lists after chroot(2) into a folder that is no mount point (tried)."""
    assert [mount.source for mount in CHROOT if mountinfo.top_at(CHROOT, mount.point) is mount] == ["proc", "share"]
    assert mountinfo.containing(CHROOT, "/share/job_site").source == "share" and mountinfo.containing(CHROOT, "/etc") is None


@pytest.mark.parametrize("path, folder, below", [
    ("/share", "/share", True), ("/share/x", "/share", True), ("/share/x", "/share/", True), ("/share2", "/share", False), ("/sh", "/share", False),
    ("/x", "/", True), ("/", "/", True), ("", "/share", False), ("share/x", "/share", False), ("/share/x (deleted)", "/share", True),
    ("socket:[1]", "/", False),
])
def test_is_below(path, folder, below):
    assert mountinfo.is_below(path, folder) is below


def test_read_is_what_the_kernel_says():
    points = [mount.point for mount in mountinfo.read()]
    assert "/" in points and "/proc" in points
    assert [mount.point for mount in mountinfo.read(str(os.getpid()))] == points
    with pytest.raises(OSError):
        mountinfo.read(str(1 << 30))


def test_read_again_until_two_readings_agree(mocker):
    whole = (mount_line("/a") + "\n" + mount_line("/b") + "\n").encode()
    torn = (mount_line("/a") + "\n").encode()
    read = mocker.patch.object(mountinfo.procfs, "read", side_effect=[torn, whole, whole, AssertionError])
    assert [mount.point for mount in mountinfo.read()] == ["/a", "/b"]
    assert read.call_count == 3


def test_a_table_that_never_rests_is_not_waited_for(mocker):
    read = mocker.patch.object(mountinfo.procfs, "read", side_effect=[(mount_line("/%d" % n)).encode() for n in range(100)])
    assert len(mountinfo.read()) == 1
    assert read.call_count == mountinfo.MOST_TRIES


def test_to_unmount_takes_what_lies_on_top_first_and_leaves_what_is_hidden():
    mounts = mountinfo.parse(mount_table(
        mount_line("/", "/dev/sda1", "8:1"), mount_line("/share/old", "tmpfs", "0:1", "tmpfs"), mount_line("/share"),
        mount_line("/share/a", "tmpfs", "0:2", "tmpfs"), mount_line("/share/a/b", "tmpfs", "0:3", "tmpfs"), mount_line("/shared", "tmpfs", "0:4", "tmpfs"),
        mount_line("/share", "/dev/sdc1", "8:33")))
    ours = [mount for mount in mounts if mount.source == "/dev/sdb1"]
    assert [(mount.point, mount.source) for mount in mountinfo.to_unmount(mounts, ours)] == [
        ("/share/a/b", "tmpfs"), ("/share", "/dev/sdc1"), ("/share/a", "tmpfs"), ("/share", "/dev/sdb1")]
    assert mountinfo.to_unmount(mounts, []) == []


def test_to_unmount_of_a_moved_mount_goes_by_the_tree_not_by_age():
    """mount --move puts an older mount on a younger one."""
    mounts = [one("30 40 0:1 / /share/a rw - tmpfs tmpfs rw"), one("40 1 8:17 / /share rw - ext4 /dev/sdb1 rw")]
    assert [mount.id for mount in mountinfo.to_unmount(mounts, mounts)] == [30, 40]


def test_to_unmount_of_a_torn_table_comes_to_an_end():
    mounts = [one("30 40 0:1 / /a rw - tmpfs tmpfs rw"), one("40 30 0:2 / /b rw - tmpfs tmpfs rw"), one("50 50 0:3 / /c rw - tmpfs tmpfs rw")]
    assert {mount.id for mount in mountinfo.to_unmount(mounts, mounts[:1])} == {30, 40}


@pytest.mark.parametrize("fstype, waits", [("nfs4", True), ("fuse.sshfs", True), ("fuse", True), ("tmpfs", False), ("ext4", False), ("fuseblk", False)])
def test_what_may_wait_for_a_server_is_told_by_its_type(monkeypatch, fstype, waits):
    table = mountinfo.parse("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /state rw - %s source rw\n" % fstype)
    monkeypatch.setattr(mountinfo, "read", lambda: table)
    assert mountinfo.on_network("/state/x") is waits and not mountinfo.on_network("/other")
