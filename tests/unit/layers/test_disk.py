from __future__ import annotations

import signal
import subprocess

import pytest

from cjc_agent.layers import disk as module
from cjc_agent.layers.blockdisk import BlockDisk
from cjc_agent.layers.disk import ClusterDisk, NetworkDisk, UnknownDisk
from cjc_agent.layers.disks import disk_of
from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError
from cjc_agent.tools import blockdevice, mountinfo, processes
from cjc_agent.tools.command import EXITED, STUCK, TIMED_OUT, UNSTARTED, Result
from cjc_agent.tools.deadline import Deadline
from unit.helpers import GIVEN, Script, mount_line, mount_table, settings

NUMBERS = {"/dev/sdb1": "8:17", "/dev/sdc1": "8:33", "/dev/disk/by-id/x": "8:17", "/dev/loop1": "7:1"}
ROOT = mount_line("/", "/dev/sda1", "8:1")
ANONYMOUS = "0:42"  # btrfs
NFS = {"device": "nfs:/export", "directory": "/share"}


@pytest.fixture(autouse=True)
def devices(monkeypatch):
    def number(path):
        if path in NUMBERS:
            return NUMBERS[path]
        raise blockdevice.Unresolved("%s: No such file or directory: check the storage path" % path, absent=True)
    monkeypatch.setattr(blockdevice, "number", number)


@pytest.fixture
def state(monkeypatch, log):
    """The state of the disk that settings name, with these mounts."""
    def look(given, *lines, resolved=None, **answers):
        monkeypatch.setattr(mountinfo, "read", lambda process="self": mountinfo.parse(mount_table(ROOT, *lines)))
        return disk_of(settings(**given), Script(**answers), log, Deadline(5), resolved).state()
    return look


@pytest.mark.parametrize("given, kind, exclusive", [
    ({}, ClusterDisk, False), ({"directory": "/share"}, ClusterDisk, False), ({"device": "/dev/sdb1", "directory": "/share"}, BlockDisk, True),
    ({"device": "LABEL=x", "directory": "/share"}, BlockDisk, True), (NFS, NetworkDisk, False),
])
def test_kinds(given, kind, exclusive, log):
    disk = disk_of(settings(**given), Script(), log, Deadline(5))
    assert type(disk) is kind and disk.exclusive is exclusive


# -- block device ------------------------------------------------------------------------------------------------------------------------

SHARE = mount_line("/share")
OTHER = mount_line("/share", "/dev/sdc1", "8:33")


@pytest.mark.parametrize("device, lines, status, named", [
    ("/dev/sdb1", [SHARE], RUNNING, ["/dev/sdb1", "/share"]),
    ("/dev/disk/by-id/x", [SHARE], RUNNING, []),  # the number counts, not the name
    ("/dev/sdb1", [mount_line("/share", "/dev/root", "8:17")], RUNNING, []),
    ("/dev/sdb1", [], STOPPED, ["/dev/sdb1"]),
    ("/dev/sdb1", [mount_line("/share2", "/dev/sdc1", "8:33")], STOPPED, []),
    ("/dev/sdb1", [OTHER], FAILED, ["/dev/sdb1", "/dev/sdc1", "/share"]),
    ("/dev/sdb1", [mount_line("/share", "tmpfs", "0:50", "tmpfs")], FAILED, ["tmpfs"]),
    ("/dev/sdb1", [mount_line("/share", "nfs:/e", "0:51", "nfs4")], FAILED, ["nfs:/e"]),
    ("/dev/sdb1", [mount_line("/elsewhere")], FAILED, ["/dev/sdb1", "/share", "/elsewhere"]),
    ("/dev/sdb1", [SHARE, OTHER], FAILED, ["/dev/sdc1"]),  # stacked: the last is seen
    ("/dev/sdb1", [OTHER, SHARE], RUNNING, []),
    ("/dev/sdb1", [mount_line("/share", options="ro")], FAILED, ["read-only"]),
    ("/dev/sdb1", [mount_line("/share", superblock="ro,errors=remount-ro")], FAILED, ["read-only"]),
    ("/dev/sdb1", [mount_line("/share", "/dev/sdb1", ANONYMOUS, "btrfs")], RUNNING, []),
    ("/dev/sdb1", [mount_line("/share", "/dev/sdc1", ANONYMOUS, "btrfs")], FAILED, ["/dev/sdc1"]),
    ("/dev/sdb1", [mount_line("/share", "/dev/gone", ANONYMOUS, "btrfs")], FAILED, ["/dev/gone"]),
    ("/dev/sdb1", [mount_line("/elsewhere", "/dev/sdb1", ANONYMOUS, "btrfs")], FAILED, ["/elsewhere"]),
    ("/dev/sdb1", [mount_line("/home/x/m", "/dev/sdb1", "0:60", "fuse.sshfs")], STOPPED, []),  # any user may mount this, with any source
    ("/dev/sdb1", [mount_line("/share", "/dev/sdb1", "0:60", "fuse")], FAILED, ["fuse"]),
    ("/dev/sdb1", [SHARE, mount_line("/home/x/m", "/dev/sdb1", "0:60", "fuse")], RUNNING, []),
    ("/dev/gone", [], STOPPED, ["/dev/gone", "check the storage path"]),
    ("/dev/gone", [SHARE], FAILED, ["/dev/gone", "/dev/sdb1"]),
])
def test_block(state, device, lines, status, named):
    found = state({"device": device, "directory": "/share"}, *lines)
    assert found.status == status
    for word in named:
        assert word in found.reason


@pytest.mark.parametrize("answer, lines, status, named", [
    ((EXITED, 0, "/dev/sdb1\n"), [SHARE], RUNNING, []), ((EXITED, 0, "/dev/sdb1\n"), [], STOPPED, []), ((EXITED, 2, ""), [], STOPPED, ["LABEL=job"]),
    ((EXITED, 2, ""), [SHARE], FAILED, ["/dev/sdb1", "LABEL=job"]), ((EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"), [], STOPPED, ["/dev/sdb1", "/dev/sdc1"]),
    ((EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"), [mount_line("/elsewhere")], FAILED, ["/dev/sdb1", "/dev/sdc1"]),
    ((EXITED, 0, "/dev/sdb1\n/dev/gone\n"), [], FAILED, ["/dev/sdb1", "/dev/gone"]),
    ((EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"), [SHARE], FAILED, ["/dev/sdb1", "/dev/sdc1"]),
    ((TIMED_OUT, -1, ""), [], FAILED, []), ((EXITED, 127, ""), [], FAILED, []),
])
def test_label(state, answer, lines, status, named):
    found = state({"device": "LABEL=job", "directory": "/share"}, *lines, blkid=Result("blkid", *answer))
    assert found.status == status
    for word in named:
        assert word in found.reason


def test_a_recorded_device_needs_no_blkid(monkeypatch, log):
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(mount_table(ROOT, SHARE)))
    runner = Script(blkid=Result("blkid", TIMED_OUT))
    given = settings(device="LABEL=job", directory="/share")
    disk = disk_of(given, runner, log, Deadline(5), {"device": "LABEL=job", "path": "/dev/sdb1", "number": "8:17"})
    assert disk.state().running and runner.asked == []
    disk = disk_of(given, runner, log, Deadline(5), {"device": "LABEL=other", "path": "/dev/sdb1", "number": "8:17"})
    assert disk.state().status == FAILED and len(runner.asked) == 1, "what was recorded for another device says nothing"


def test_what_was_resolved_is_kept_for_the_record_and_not_shared(monkeypatch, log):
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(mount_table(ROOT, SHARE)))
    given = {}
    disk = disk_of(settings(device="/dev/sdb1", directory="/share"), Script(), log, Deadline(5), given)
    disk.state()
    assert disk.resolved == {"device": "/dev/sdb1", "path": "/dev/sdb1", "number": "8:17"} and given == {}


def test_an_incomplete_record_is_resolved_again(state):
    for left in ({}, {"path": "/dev/sdb1"}, {"number": "8:17"}):
        assert state(BLOCK, SHARE, resolved={"device": "/dev/sdb1", **left}).running
    assert state(NFS, nfs(), resolved={"device": "nfs:/export"}).running


def test_a_device_that_got_another_number_since_it_was_recorded_is_resolved_again(state):
    was = {"device": "/dev/sdb1", "path": "/dev/sdb1", "number": "8:99"}
    assert state(BLOCK, SHARE, resolved=was).running
    assert state(BLOCK, resolved=was).stopped
    assert state(BLOCK, mount_line("/share", "/dev/sdb1", "8:99"), resolved=was).running, "while it is mounted the recorded one counts"


def test_resolving_keeps_within_the_actions_time(monkeypatch, log, tmp_path):
    from cjc_agent.actions import Request, Stack
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(ROOT))
    request = Request({"site": "a", "site_db": "/share/a", "device": "LABEL=job", "directory": "/share"}, Deadline(2), log, str(tmp_path), "jc")
    stack = Stack(request, request.settings, None)
    runner = Script(blkid=Result("blkid", TIMED_OUT))
    stack.runner = stack.disk._runner = runner
    stack.disk.state()
    assert runner.time_left[0] <= 2


# -- network -----------------------------------------------------------------------------------------------------------------------------


def nfs(point="/share", source="nfs:/export", fstype="nfs4", **more):
    return mount_line(point, source, "0:60", fstype, **more)


@pytest.mark.parametrize("device, lines, resolved, status", [
    ("nfs:/export", [nfs()], None, RUNNING), ("nfs:/export", [nfs(fstype="nfs")], None, RUNNING), ("nfs:/export/", [nfs()], None, RUNNING),
    ("nfs:/export", [nfs(source="nfs:/export/")], None, RUNNING), ("nfs:/", [nfs(source="nfs:/")], None, RUNNING),
    ("nfs:/export", [nfs(source="nfs:/export2")], None, FAILED), ("nfs:/export", [nfs(source="other:/export")], None, FAILED),
    ("nfs:/export", [nfs(fstype="ext4")], None, FAILED), ("nfs:/export", [mount_line("/share")], None, FAILED), ("nfs:/export", [], None, STOPPED),
    ("nfs:/export", [nfs(options="ro")], None, FAILED), ("nfs:/export", [nfs(superblock="ro,vers=4.1")], None, FAILED),
    ("fs-1.efs:/", [nfs(source="127.0.0.1:/")], None, FAILED),
    ("fs-1.efs:/", [nfs(source="127.0.0.1:/")], {"device": "fs-1.efs:/", "source": "127.0.0.1:/"}, RUNNING),
    ("fs-1.efs:/", [nfs(source="127.0.0.1:/")], {"device": "fs-2.efs:/", "source": "127.0.0.1:/"}, FAILED),
    ("fs-1.efs:/", [nfs(source="127.0.0.2:/")], {"device": "fs-1.efs:/", "source": "127.0.0.1:/"}, FAILED),
    ("fs-1.efs:/", [nfs(source="fs-1.efs:/")], {"device": "fs-1.efs:/", "source": "127.0.0.1:/"}, RUNNING),
    ("nfs:/export", [nfs(), nfs(source="nfs:/other")], None, FAILED),
])
def test_network(state, device, lines, resolved, status):
    found = state({"device": device, "directory": "/share"}, *lines, resolved=resolved)
    assert found.status == status
    if status == FAILED and "ro" not in found.reason:
        assert device in found.reason and "/share" in found.reason


def test_a_network_file_system_mounted_elsewhere_is_no_failure(state):
    """Other than a block device it may be mounted in several places: somebody else's mount of it says nothing about ours."""
    assert state(NFS, nfs("/elsewhere")).status == STOPPED
    assert state(NFS, nfs("/elsewhere"), nfs()).status == state(NFS, nfs(), nfs("/elsewhere")).status == RUNNING


# -- the cluster's own -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given, lines, status", [
    ({}, [mount_line("/share")], RUNNING), ({}, [mount_line("/share/job_site")], RUNNING), ({}, [], STOPPED), ({}, [mount_line("/shared")], STOPPED),
    ({}, [mount_line("/share", options="ro")], FAILED), ({}, [mount_line("/share", superblock="ro")], FAILED),
    ({}, [mount_line("/share/job_site/deeper")], STOPPED), ({"directory": "/share"}, [mount_line("/share")], RUNNING),
    ({"directory": "/share"}, [], STOPPED), ({"directory": "/share"}, [mount_line("/share/job_site")], STOPPED),
    ({}, [nfs()], RUNNING),
])
def test_cluster(state, given, lines, status):
    found = state(given, *lines)
    assert found.status == status
    if status == STOPPED:
        assert "/share/job_site" in found.reason and "mount the shared disk before this resource" in found.reason


def test_cluster_disk_is_never_mounted_or_unmounted(monkeypatch, log):
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(ROOT))
    runner = Script()
    disk = disk_of(settings(), runner, log, Deadline(5))
    with pytest.raises(LayerError, match="mount the shared disk before this resource"):
        disk.start(Deadline(1))
    disk.stop(Deadline(1))
    assert runner.asked == []


def test_without_a_site_db_nothing_is_known(log):
    from cjc_agent.settings import parameters
    assert disk_of(parameters.read({"site": "a"})[0], Script(), log, Deadline(5)).state().stopped


# -- all kinds ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, NFS, {"device": "/dev/sdb1", "directory": "/share"}])
def test_mounts_that_cannot_be_read_are_a_failure(monkeypatch, log, given):
    def refuse():
        raise OSError(13, "Permission denied")
    monkeypatch.setattr(mountinfo, "read", refuse)
    assert disk_of(settings(**given), Script(), log, Deadline(5)).state().status == FAILED


@pytest.mark.parametrize("given, line", [({}, SHARE), (NFS, nfs()), ({"device": "/dev/sdb1", "directory": "/share"}, SHARE)])
def test_start_of_what_is_up_does_nothing(monkeypatch, log, given, line):
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(mount_table(ROOT, line)))
    runner = Script()
    disk = disk_of(settings(**given), runner, log, Deadline(5))
    disk.start(Deadline(1))
    assert disk.launched is False and runner.asked == []


class Node(Script):
    """A runner whose mount and umount change the mounts that mountinfo shows."""

    def __init__(self, monkeypatch, *lines, mounted=SHARE, **answers):
        super().__init__(**answers)
        self.lines, self.mounted = list(lines), mounted
        monkeypatch.setattr(mountinfo, "read", lambda process="self": mountinfo.parse(mount_table(ROOT, *self.lines)))

    def tool(self, arguments, deadline):
        result = super().tool(arguments, deadline)
        if arguments[0] == "mount" and result.ok:
            self.lines.append(self.mounted)
        if arguments[0] == "umount" and result.ok:
            at = max(i for i, line in enumerate(self.lines) if line.split(" ")[4] == arguments[-1])
            del self.lines[at]
        return result


BLOCK = {"device": "/dev/sdb1", "directory": "/share"}
IN_USE_ON_NODE1 = Result("e2mmpstatus", EXITED, 0, "MMP_block:\n    mmp_sequence: 0x000003\n    mmp_node_name: node1\n")


def test_start_of_a_block_device(monkeypatch, log):
    runner = Node(monkeypatch, blkid=Result("blkid", EXITED, 0, "ext4\n"))
    disk = disk_of(settings(options="noatime", **BLOCK), runner, log, Deadline(5))
    disk.start(Deadline(5))
    assert disk.launched and disk.state().running
    assert runner.asked == ["exclusive open of /dev/sdb1", "blkid -p -o value -s TYPE /dev/sdb1", "fsck.ext4 -p /dev/sdb1",
                            "look into /share", "mount -o noatime -- /dev/sdb1 /share"]


@pytest.mark.parametrize("given, answers, words, mounts", [
    ({}, {"call": Result("open", EXITED, 1, "EBUSY still in use")}, "in use on this node, outside our mount table", False),
    ({}, {"blkid": Result("blkid", EXITED, 2, "")}, "no file system is recognised", False),
    ({"fstype": "ext4"}, {"fsck.ext4": Result("fsck.ext4", EXITED, 4, "UNEXPECTED INCONSISTENCY")}, "run fsck on /dev/sdb1 by hand", False),
    ({"fstype": "ext4"}, {"mount": Result("mount", EXITED, 32, "bad superblock")}, "bad superblock", True),
    ({"fstype": "ext4", "run_fsck": "no"}, {"mount": Result("mount", EXITED, 32, "mount point busy"), "e2mmpstatus": IN_USE_ON_NODE1},
     "^/dev/sdb1 is in use on node node1 .ext4 mmp.: make sure that node node1 is off before anything else$", True),
    ({"fstype": "ext4"}, {"fsck.ext4": Result("fsck.ext4", EXITED, 8, "MMP: device currently active"), "e2mmpstatus": IN_USE_ON_NODE1},
     "^/dev/sdb1 is in use on node node1 .ext4 mmp.: make sure that node node1 is off before anything else$", False),
])
def test_start_that_fails(monkeypatch, log, given, answers, words, mounts):
    runner = Node(monkeypatch, **answers)
    with pytest.raises(LayerError, match=words):
        disk_of(settings(**BLOCK, **given), runner, log, Deadline(5)).start(Deadline(5))
    assert any(word.startswith("mount ") for word in runner.asked) is mounts


def test_a_mount_that_fell_back_to_read_only_is_a_failure(monkeypatch, log):
    runner = Node(monkeypatch, mounted=mount_line("/share", options="ro"))
    with pytest.raises(LayerError, match="read-only"):
        disk_of(settings(run_fsck="no", **BLOCK), runner, log, Deadline(5)).start(Deadline(5))
    assert not any(word.startswith("fsck") for word in runner.asked)


@pytest.mark.parametrize("lines", [[OTHER], [mount_line("/elsewhere")]])
def test_start_never_mounts_over_or_twice(monkeypatch, log, lines):
    runner = Node(monkeypatch, *lines)
    with pytest.raises(LayerError):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).start(Deadline(5))
    assert runner.asked == []


def test_start_of_nfs_runs_no_fsck_and_remembers_the_source(monkeypatch, log):
    runner = Node(monkeypatch, mounted=nfs(source="127.0.0.1:/"))
    disk = disk_of(settings(device="fs-1.efs:/", directory="/share", fstype="efs", options="tls", run_fsck="force"), runner, log, Deadline(5))
    disk.start(Deadline(5))
    assert disk.launched
    assert runner.asked == ["look into /share", "mount -t efs -o tls -- fs-1.efs:/ /share"]
    assert disk.resolved == {"device": "fs-1.efs:/", "source": "127.0.0.1:/"}


def test_stop_unmounts_what_lies_below_first_and_stacks(monkeypatch, log):
    deep = mount_line("/share/deep", "tmpfs", "0:70", "tmpfs")
    runner = Node(monkeypatch, SHARE, SHARE, deep, mount_line("/elsewhere"), mount_line("/shared", "/dev/sdc1", "8:33"))
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(5))
    assert [word.split(" ")[-1] for word in runner.asked if word.startswith("umount")] == ["/share/deep", "/share", "/elsewhere", "/share"]
    assert len(runner.lines) == 1 and runner.asked[-1] == "exclusive open of /dev/sdb1"
    assert not any("-l" in word.split() for word in runner.asked), "never lazily"


def test_stop_leaves_what_our_mount_hides_alone(monkeypatch, log):
    """No path leads there: umount would say so for ever, or take what is seen under that name now."""
    hidden = mount_line("/share/old", "tmpfs", "0:70", "tmpfs")
    runner = Node(monkeypatch, hidden, SHARE)
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(5))
    assert runner.lines == [hidden] and [word for word in runner.asked if word.startswith("umount")] == ["umount -c -- /share"]


def test_stop_unmounts_first_what_can_be_seen(monkeypatch, log):
    lines = [SHARE, mount_line("/share/a/b", "tmpfs", "0:70", "tmpfs"), mount_line("/share/a/b/c", "tmpfs", "0:71", "tmpfs"),
             mount_line("/share/a", "tmpfs", "0:72", "tmpfs")]
    runner = Node(monkeypatch, *lines)
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(5))
    assert [word.split(" ")[-1] for word in runner.asked if word.startswith("umount")] == ["/share/a", "/share/a/b/c", "/share/a/b", "/share"]


def test_a_device_that_cannot_be_opened_is_not_mounted(monkeypatch, log):
    runner = Node(monkeypatch, call=Result("open", EXITED, 1, "ENXIO No such device or address"))
    with pytest.raises(LayerError, match="/dev/sdb1 cannot be opened: .*: check the storage path - it said: ENXIO"):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).start(Deadline(5))
    assert runner.asked == ["exclusive open of /dev/sdb1"]


def test_stop_never_unmounts_a_stranger_of_the_same_name(monkeypatch, log):
    lines = [mount_line("/srv/share"), mount_line("/srv", "over", "0:70", "tmpfs"), mount_line("/srv/share", "stranger", "0:71", "tmpfs")]
    runner = Node(monkeypatch, *lines)
    disk = disk_of(settings(**{**BLOCK, "directory": "/srv/share", "site_db": "/srv/share/x"}), runner, log, Deadline(5))
    with pytest.raises(LayerError, match=r"/dev/sdb1 \(ext4\) on /srv/share is still mounted: it is hidden by stranger \(tmpfs\) on /srv/share"):
        disk.stop(Deadline(0.3))
    assert runner.lines == lines and not any(word.startswith("thaw") for word in runner.asked), "nor is it thawed"
    assert disk.state().status == FAILED


def test_a_hidden_mount_is_named_with_what_hides_it(state):
    found = state({**BLOCK, "directory": "/srv/share", "site_db": "/srv/share/x"}, mount_line("/srv/share"), mount_line("/srv", "over", "0:70", "tmpfs"))
    assert found.status == FAILED and "/dev/sdb1 (ext4) on /srv/share is hidden by over (tmpfs) on /srv: unmount that" in found.reason


@pytest.mark.parametrize("lines, good", [([], True), ([mount_line("/elsewhere", "/dev/sdc1", "8:33")], False), ([OTHER], False)])
def test_stop_of_a_label_with_too_many_answers(monkeypatch, log, lines, good):
    """None of them mounted: a start that refused them must not cost the node."""
    runner = Node(monkeypatch, *lines, blkid=Result("blkid", EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"))
    disk = disk_of(settings(device="LABEL=job", directory="/share"), runner, log, Deadline(5))
    if good:
        disk.stop(Deadline(5))
        assert [word for word in runner.asked if "open" in word] == ["exclusive open of /dev/sdb1", "exclusive open of /dev/sdc1"]
    else:
        with pytest.raises(LayerError, match="LABEL=job"):
            disk.stop(Deadline(0.3))
    assert runner.lines == lines


def test_stop_of_a_label_with_too_many_answers_one_of_them_in_use(monkeypatch, log):
    runner = Node(monkeypatch, blkid=Result("blkid", EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"), call=Result("open", EXITED, 1, "EBUSY still in use"))
    with pytest.raises(LayerError, match="in use on this node"):
        disk_of(settings(device="LABEL=job", directory="/share"), runner, log, Deadline(5)).stop(Deadline(5))


BTRFS = mount_line("/share", "/dev/gone", ANONYMOUS, "btrfs")


@pytest.mark.parametrize("anonymous, ours", [(ANONYMOUS, True), ("0:43", False)])
def test_btrfs_whose_device_node_has_gone_is_still_unmounted(monkeypatch, log, anonymous, ours):
    recorded = {"device": "/dev/gone", "path": "/dev/gone", "number": "8:99", "anonymous": anonymous}
    runner = Node(monkeypatch, BTRFS)
    disk = disk_of(settings(device="/dev/gone", directory="/share"), runner, log, Deadline(5), recorded)
    assert disk.state().running is ours and bool(disk.left()) is ours
    disk.stop(Deadline(5))
    assert (runner.lines == []) is ours


def test_the_anonymous_number_is_kept_for_the_record(monkeypatch, log):
    Node(monkeypatch, mount_line("/share", "/dev/sdb1", ANONYMOUS, "btrfs"))
    disk = disk_of(settings(**BLOCK), Script(), log, Deadline(5))
    assert disk.state().running and disk.resolved["anonymous"] == ANONYMOUS


def test_stop_of_a_device_without_a_node_that_another_mount_namespace_has(monkeypatch, log):
    from cjc_agent.tools import holders
    monkeypatch.setattr(holders, "in_other_namespaces", lambda device, pids: [1] if device == "8:99" else [])
    recorded = {"device": "/dev/gone", "path": "/dev/gone", "number": "8:99"}
    runner = Node(monkeypatch, call=Result("open", EXITED, 1, "ENOENT gone"))
    with pytest.raises(LayerError, match="in use on this node"):
        disk_of(settings(device="/dev/gone", directory="/share"), runner, log, Deadline(5), recorded).stop(Deadline(5))


@pytest.mark.parametrize("given, answers, words", [
    ({"fstype": "xfs"}, {"mount": (EXITED, 32, "wrong fs type"), "blkid": (EXITED, 0, "ext4\n")}, "holds ext4, `fstype` says xfs"),
    ({"fstype": "ext4"}, {"fsck.ext4": (EXITED, 8, "Bad magic"), "blkid": (EXITED, 0, "xfs\n")}, "holds xfs, `fstype` says ext4"),
    ({"fstype": "ext4"}, {"fsck.ext4": (EXITED, 8, "Bad"), "blkid": (EXITED, 0, "ext4dev\n")}, "run fsck on /dev/sdb1 by hand"),
    ({"fstype": "ext4"}, {"fsck.ext4": (EXITED, 8, "Bad"), "blkid": (EXITED, 2, "")}, "run fsck on /dev/sdb1 by hand"),
    ({}, {"blkid": (TIMED_OUT,)}, "what is on /dev/sdb1 cannot be told"),
    ({"run_fsck": "no"}, {"mount": (EXITED, 32, "mount: unknown filesystem type 'swap'.\n  %s\n" % module.MOUNT_HINT)}, "unknown filesystem type 'swap'"),
])
def test_a_failed_start_says_what_the_disk_holds(monkeypatch, log, given, answers, words):
    with pytest.raises(LayerError, match=words):
        results = {name: Result(name, *answer) for name, answer in answers.items()}
        disk_of(settings(**BLOCK, **given), Node(monkeypatch, **results), log, Deadline(5)).start(Deadline(5))


def test_the_remedy_for_a_wanted_read_only_mount(state):
    assert "remove ro from `options`" in state({**BLOCK, "options": "noatime,ro"}, mount_line("/share", options="ro")).reason


def test_files_that_the_mount_hides_are_told(monkeypatch, log):
    runner = Node(monkeypatch, blkid=Result("blkid", EXITED, 0, "ext4\n"), call=Result("look", EXITED, 0, "job_site"))
    monkeypatch.setattr(blockdevice, "wait_unused", lambda *_: Result("open", EXITED, 0))
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).start(Deadline(5))
    assert any("/share is not empty" in text and "job_site" in text for level, text in log.said if level == "warning")


def test_what_somebody_froze_since_stop_began_is_thawed_right_before_the_umount(monkeypatch, log):
    runner = Node(monkeypatch, SHARE)
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(5))
    assert runner.asked == ["thaw /share", "umount -c -- /share", "exclusive open of /dev/sdb1"]


def test_stop_of_nfs_forces_and_never_lazily(monkeypatch, log):
    runner = Node(monkeypatch, nfs(), nfs("/elsewhere"))
    disk_of(settings(**NFS), runner, log, Deadline(5)).stop(Deadline(5))
    assert runner.asked == ["umount -f -c -- /share"]


def test_stop_leaves_a_stranger_on_our_mount_point_alone(monkeypatch, log):
    runner = Node(monkeypatch, OTHER)
    disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(5))
    assert not any(word.startswith("umount") for word in runner.asked)


def test_stop_that_cannot_unmount_names_what_is_left(monkeypatch, log):
    runner = Node(monkeypatch, SHARE, umount=Result("umount", EXITED, 32, "target is busy."))
    with pytest.raises(LayerError, match=r"/dev/sdb1 \(ext4\) on /share is still mounted, held by no process: "):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(0.2))


def test_stop_that_cannot_unmount_says_why(monkeypatch, log):
    runner = Node(monkeypatch, SHARE, umount=Result("umount", EXITED, 32, "target is busy."))
    with pytest.raises(LayerError, match=r"umount exited 32: target is busy"):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(0.2))


@pytest.mark.parametrize("answer, good", [
    ((EXITED, 1, "EBUSY still in use"), False), ((TIMED_OUT, -1, ""), False), ((STUCK, 99, ""), False), ((UNSTARTED, 11, ""), False),
    ((EXITED, 1, "EIO Input/output error"), True), ((EXITED, 1, "ENXIO gone"), True), ((EXITED, 1, "ENOENT gone"), True)])
def test_stop_is_done_only_when_the_device_is_free(monkeypatch, log, answer, good):
    runner = Node(monkeypatch, call=Result("open", *answer))
    disk = disk_of(settings(**BLOCK), runner, log, Deadline(5))
    if good:
        disk.stop(Deadline(5))
    else:
        with pytest.raises(LayerError, match="in use on this node"):
            disk.stop(Deadline(5))


def test_stop_of_a_device_that_is_gone(monkeypatch, log):
    given = settings(device="/dev/gone", directory="/share")
    disk_of(given, Node(monkeypatch), log, Deadline(5)).stop(Deadline(5))
    runner = Node(monkeypatch, mount_line("/share", "/dev/gone", "8:99"))
    disk_of(given, runner, log, Deadline(5)).stop(Deadline(5))
    assert runner.lines == [], "its own device is gone too: it is what ours has left"
    assert module.NETWORK_TYPES == ("nfs", "nfs4")


@pytest.mark.parametrize("line", [
    OTHER, mount_line("/share", "tmpfs", "0:50", "tmpfs"), nfs(),
    mount_line("/share", "/dev/sdc1", ANONYMOUS, "btrfs"),
])
def test_stop_of_a_device_that_is_gone_leaves_what_lives_on_our_mount_point_alone(monkeypatch, log, line):
    runner = Node(monkeypatch, line)
    disk = disk_of(settings(device="/dev/gone", directory="/share"), runner, log, Deadline(5))
    disk.stop(Deadline(5))
    assert runner.lines == [line] and runner.asked == [] and disk.left() == ""


def test_stop_of_a_label_that_cannot_be_resolved_is_no_success(monkeypatch, log):
    for answer in ((TIMED_OUT, -1, ""), (EXITED, 0, "/dev/sdb1\n/dev/sdc1\n")):
        disk = disk_of(settings(device="LABEL=job", directory="/share"), Node(monkeypatch, SHARE, blkid=Result("blkid", *answer)), log, Deadline(5))
        with pytest.raises(LayerError, match="LABEL=job"):
            disk.stop(Deadline(5))


def test_stop_unmounts_what_was_recorded_though_the_path_names_another_device_now(monkeypatch, log):
    runner = Node(monkeypatch, mount_line("/share", "/dev/sdb1", "8:99"))
    disk = disk_of(settings(device="/dev/disk/by-id/x", directory="/share"), runner, log, Deadline(5),
                   {"device": "/dev/disk/by-id/x", "path": "/dev/disk/by-id/x", "number": "8:99"})
    try:
        disk.stop(Deadline(5))
    except LayerError:
        return  # not said to be done: good as well
    assert runner.lines == [] or disk.left()


def test_stop_ends_who_holds_the_mount_and_names_them(monkeypatch, log, sleeper):
    holder = sleeper()
    runner = Node(monkeypatch, SHARE, umount=Result("umount", EXITED, 32, "target is busy."), each={holder.pid: "open file"})
    with pytest.raises(LayerError, match=r"still mounted, held by .*\[%d\].*\(open file\): end them, or restart this node - .*target is busy" % holder.pid):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(0.5))
    assert processes.wait_gone([holder], Deadline(5)) == []
    assert any("[%d]" % holder.pid in text and "TERM" in text for level, text in log.said if level == "warning")


def test_a_holder_of_the_mount_that_ignores_term_is_killed(monkeypatch, log, start):
    holder = start(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"ready\n"
    runner = Node(monkeypatch, SHARE, umount=Result("umount", EXITED, 32, "target is busy."), each={holder.pid: "open file"})
    with pytest.raises(LayerError):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(1))
    assert holder.wait(5) == -signal.SIGKILL


def test_stop_without_time_to_look_for_holders_says_so(monkeypatch, log):
    runner = Node(monkeypatch, SHARE, umount=Result("umount", EXITED, 32, "target is busy."))

    def late(*args):
        raise TimeoutError(110, "no time left to look at all processes: raise the timeout")
    monkeypatch.setattr(runner, "each", late)
    with pytest.raises(LayerError, match="/share is still mounted, no time left.*: raise the timeout - .*target is busy"):
        disk_of(settings(**BLOCK), runner, log, Deadline(5)).stop(Deadline(0.2))


# -- what is left, and whose mount it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given, lines, left", [
    (BLOCK, [SHARE], "/dev/sdb1 (ext4) on /share"), (BLOCK, [mount_line("/share", options="ro")], "/share"), (BLOCK, [mount_line("/elsewhere")], "/elsewhere"),
    (BLOCK, [SHARE, mount_line("/share/deep", "tmpfs", "0:70", "tmpfs")], "/share/deep"), (BLOCK, [SHARE, OTHER], "/dev/sdb1"),
    (BLOCK, [], ""), (BLOCK, [OTHER], ""), (BLOCK, [mount_line("/shared", "/dev/sdc1", "8:33")], ""),
    (NFS, [nfs()], "nfs:/export"), (NFS, [nfs(options="ro")], "nfs:/export"), (NFS, [nfs("/elsewhere")], ""), (NFS, [nfs(source="other:/x")], ""),
    (NFS, [], ""), ({}, [SHARE], ""), ({"directory": "/share"}, [mount_line("/share", options="ro")], ""), ({}, [], ""),
])
def test_left(monkeypatch, log, given, lines, left):
    disk = disk_of(settings(**given), Node(monkeypatch, *lines), log, Deadline(5))
    disk.state()
    assert (left in disk.left() and "still mounted" in disk.left()) if left else disk.left() == ""


@pytest.mark.parametrize("given", [NFS, BLOCK])
def test_mounts_that_cannot_be_read_may_be_left(monkeypatch, log, given):
    def refuse():
        raise OSError(13, "Permission denied")
    monkeypatch.setattr(mountinfo, "read", refuse)
    assert "cannot be read" in disk_of(settings(**given), Script(), log, Deadline(5)).left()


@pytest.mark.parametrize("given, lines, scope", [
    (BLOCK, [SHARE], ("/share", "8:17")), (BLOCK, [mount_line("/share", options="ro")], ("/share", "8:17")),
    (BLOCK, [mount_line("/share", "/dev/sdb1", ANONYMOUS, "btrfs")], ("/share", ANONYMOUS)),
    (BLOCK, [], None), (BLOCK, [OTHER], None), (BLOCK, [SHARE, OTHER], None), (BLOCK, [mount_line("/elsewhere")], None),
    ({"device": "/dev/gone", "directory": "/share"}, [SHARE], None),
    (NFS, [nfs()], ("/share", "0:60")), (NFS, [nfs(options="ro")], ("/share", "0:60")), (NFS, [nfs(source="other:/x")], None), (NFS, [], None),
    ({}, [SHARE], ("/share/job_site", "8:17")), ({}, [mount_line("/share/job_site")], ("/share/job_site", "8:17")), ({}, [], None),
    ({"directory": "/share"}, [mount_line("/share", options="ro")], ("/share/job_site", "8:17")), ({"directory": "/share"}, [], None),
])
def test_scope(monkeypatch, log, given, lines, scope):
    """None while our mount is not there: whoever works below a stranger's is none of ours."""
    assert disk_of(settings(**given), Node(monkeypatch, *lines), log, Deadline(5)).scope() == scope


@pytest.mark.parametrize("given", [{}, NFS, BLOCK])
def test_no_scope_when_mounts_cannot_be_read(monkeypatch, log, given):
    def refuse():
        raise OSError(13, "Permission denied")
    monkeypatch.setattr(mountinfo, "read", refuse)
    assert disk_of(settings(**given), Script(), log, Deadline(5)).scope() is None


def test_without_a_site_db_there_is_no_scope(monkeypatch, log):
    from cjc_agent.settings import parameters
    assert disk_of(parameters.read({"site": "a"})[0], Node(monkeypatch, SHARE), log, Deadline(5)).scope() is None


@pytest.mark.parametrize("given, lines, asked", [
    (BLOCK, [SHARE], ["thaw /share"]), (BLOCK, [], []), (BLOCK, [OTHER], []), (NFS, [nfs()], []), ({}, [SHARE], []),
])
def test_before_a_stop_our_own_block_device_is_thawed(monkeypatch, log, given, lines, asked):
    """Who waits for a frozen file system cannot end. A stranger's, and the cluster's, is not touched."""
    runner = Node(monkeypatch, *lines)
    disk_of(settings(**given), runner, log, Deadline(5)).before_stop(Deadline(1))
    assert runner.asked == asked


# -- device or directory cannot be understood, and there is no record --------------------------------------------------------------------


def unknown(runner, log, resolved=None, **given):
    from cjc_agent.settings import parameters
    return disk_of(parameters.read({**GIVEN, **given})[0], runner, log, Deadline(5), resolved, known=False)


BAD = {"device": "no path", "directory": "/share"}


@pytest.mark.parametrize("given, lines, status", [
    (BAD, [], STOPPED), (BAD, [SHARE], FAILED), (BAD, [nfs()], FAILED), (BAD, [OTHER], FAILED), (BAD, [mount_line("/share/job_site")], FAILED),
    (BAD, [mount_line("/shared")], STOPPED), (BAD, [mount_line("/share/deep")], STOPPED),
    ({"device": "/dev/sdb1", "directory": "share"}, [SHARE], FAILED), ({"device": "/dev/sdb1", "directory": "share"}, [], STOPPED),
    ({"device": "/dev/sdb1"}, [SHARE], FAILED), ({"device": "no path", "site_db": ""}, [SHARE], STOPPED), ({**BAD, "site_db": ""}, [SHARE], FAILED),
])
def test_unknown(monkeypatch, log, given, lines, status):
    runner = Node(monkeypatch, *lines)
    disk = unknown(runner, log, **given)
    state = disk.state()
    assert type(disk) is UnknownDisk and not disk.exclusive and state.status == status and runner.asked == []
    if status == FAILED:
        assert lines[0].split(" ")[4] in state.reason and "correct the parameters" in state.reason


@pytest.mark.parametrize("lines", [[], [SHARE], [nfs()]])
def test_an_unknown_disk_is_never_mounted_or_unmounted(monkeypatch, log, lines):
    runner = Node(monkeypatch, *lines)
    disk = unknown(runner, log, **BAD)
    assert disk.scope() is None
    with pytest.raises(LayerError):
        disk.start(Deadline(1))
    disk.before_stop(Deadline(1))
    if lines:
        with pytest.raises(LayerError, match="/share"):
            disk.stop(Deadline(1))
        assert "/share" in disk.left()
    else:
        disk.stop(Deadline(1))
        assert disk.left() == ""
    assert runner.asked == [] and runner.lines == lines and not disk.launched


def test_an_unknown_disk_whose_mounts_cannot_be_read_may_be_left(monkeypatch, log):
    def refuse():
        raise OSError(13, "Permission denied")
    monkeypatch.setattr(mountinfo, "read", refuse)
    disk = unknown(Script(), log, **BAD)
    assert disk.state().status == FAILED and disk.left()
    with pytest.raises(LayerError):
        disk.stop(Deadline(1))


def test_a_device_that_is_in_use_by_our_own_stuck_umount_does_not_answer(monkeypatch, log):
    runner = Node(monkeypatch, call=Result("open", EXITED, 1, "EBUSY still in use"))
    runner.stuck = {"umount": 77, "cjcpw status": 78}
    with pytest.raises(LayerError, match=r"/dev/sdb1 does not answer, umount \(pid 77\) cannot be ended: check the storage path"):
        disk_of(settings(**BLOCK), runner, log, Deadline(1)).stop(Deadline(1))
