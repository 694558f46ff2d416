from __future__ import annotations

import errno
import io
import os

import pytest

from cjc_agent.tools import blockdevice
from cjc_agent.tools.blockdevice import Unresolved
from cjc_agent.tools.command import EXITED, SIGNALLED, STUCK, TIMED_OUT, UNSTARTED, Result
from cjc_agent.tools.deadline import Deadline
from unit.helpers import Script


def script(**answers):
    return Script(**{name: Result(name, *answer) for name, answer in answers.items()})


def test_a_path_needs_no_blkid():
    runner = script()
    assert blockdevice.resolve("/dev/mapper/vg-lv", runner, Deadline(1)) == "/dev/mapper/vg-lv" and runner.asked == []


def test_a_label_is_asked_of_blkid_without_its_cache():
    runner = script(blkid=(EXITED, 0, "/dev/sdb1\n"))
    assert blockdevice.resolve("LABEL=job", runner, Deadline(1)) == "/dev/sdb1"
    assert runner.asked == ["blkid -c /dev/null -o device -t LABEL=job"]


@pytest.mark.parametrize("answer, absent, words", [
    ((EXITED, 0, "/dev/sdb1\n/dev/sdc1\n"), False, "LABEL=job is answered by /dev/sdb1 and /dev/sdc1"),
    ((EXITED, 2, ""), True, "no device answers to LABEL=job"),
    ((EXITED, 0, ""), False, "cannot be resolved"),
    ((EXITED, 4, "usage"), False, "cannot be resolved"),
    ((EXITED, 127, "no such command"), False, "cannot be resolved"),
    ((EXITED, 8, "/dev/sdb1\n"), False, "cannot be resolved"),
    ((TIMED_OUT, -1, ""), False, "cannot be resolved"),
    ((STUCK, 99, ""), False, "cannot be resolved"),
])
def test_what_is_not_resolved(answer, absent, words):
    with pytest.raises(Unresolved, match=words) as caught:
        blockdevice.resolve("LABEL=job", script(blkid=answer), Deadline(1))
    assert caught.value.absent is absent


def test_number_of_no_block_device(tmp_path):
    for path, absent in (("/dev/null", True), (str(tmp_path), True), (str(tmp_path / "none"), True), ("/dev/null/x", True), ("/dev/" + "x" * 256, True)):
        with pytest.raises(Unresolved) as caught:
            blockdevice.number(path)
        assert caught.value.absent is absent and path in str(caught.value)


@pytest.mark.root
def test_number_of_a_block_device_also_through_a_link(tmp_path):
    node = tmp_path / "node"
    try:
        os.mknod(node, 0o60600, os.makedev(7, 300))
    except OSError as error:
        pytest.skip("mknod: %s" % error.strerror)
    (tmp_path / "link").symlink_to(node)
    assert blockdevice.number(str(node)) == blockdevice.number(str(tmp_path / "link")) == "7:300"


def test_exclusive_open_of_something_free(runner, tmp_path):
    (tmp_path / "file").touch()
    assert blockdevice.wait_unused(str(tmp_path / "file"), runner, Deadline(5)).ok


def test_exclusive_open_waits_while_busy_and_says_so(runner, monkeypatch):
    real = os.open

    def busy(path, flags, *more, **other):
        if path == "/dev/busy":
            assert flags & os.O_EXCL and not flags & os.O_CREAT
            raise OSError(errno.EBUSY, "busy", path)
        return real(path, flags, *more, **other)
    monkeypatch.setattr(os, "open", busy)
    result = blockdevice.wait_unused("/dev/busy", runner, Deadline(0.3))
    assert result.exit_code == 1 and result.output.startswith("EBUSY ") and 0.3 <= result.seconds < 5
    assert blockdevice.is_in_use(result)


def test_a_device_that_is_gone(runner, tmp_path):
    result = blockdevice.wait_unused(str(tmp_path / "none"), runner, Deadline(5))
    assert not result.ok and not blockdevice.is_in_use(result) and result.seconds < 2


@pytest.mark.parametrize("outcome, code, output, in_use", [
    (EXITED, 0, "", False), (EXITED, 0, "EBUSY x", False), (EXITED, 1, "EBUSY x", True),
    # the kernel claims first, and only then looks whether there is a device: these say that nobody else has it
    (EXITED, 1, "ENXIO x", False), (EXITED, 1, "ENODEV x", False), (EXITED, 1, "ENOENT x", False), (EXITED, 1, "EIO x", False),
    (EXITED, 1, "ENOMEDIUM x", False), (EXITED, 1, "EBUSYX", False),
    # no answer: in doubt it is in use
    (TIMED_OUT, 1, "ENOENT x", True), (TIMED_OUT, -1, "", True), (STUCK, 1, "", True), (SIGNALLED, 9, "", True), (SIGNALLED, 1, "", True),
    (UNSTARTED, 11, "", True), (UNSTARTED, 1, "EPERM x", True), (EXITED, 70, "", True),
])
def test_is_in_use(outcome, code, output, in_use):
    assert blockdevice.is_in_use(Result("x", outcome, code, output)) is in_use


@pytest.mark.parametrize("fstype, policy, command", [
    ("ext4", "auto", "fsck.ext4 -p /dev/x"), ("ext3", "auto", "fsck.ext3 -p /dev/x"), ("ext4", "force", "fsck.ext4 -f -p /dev/x"),
    ("xfs", "auto", None), ("btrfs", "auto", None), ("xfs", "force", "fsck -T -t xfs /dev/x -- -a"), ("", "force", "fsck -T /dev/x -- -a"),
])
def test_fsck_is_called_as_the_policy_says(fstype, policy, command):
    runner = script()
    assert blockdevice.check_file_system("/dev/x", fstype, policy, runner, Deadline(1)) == ""
    assert runner.asked == ([command] if command else [])


@pytest.mark.parametrize("said, good", [(0, True), (8, False)])
def test_where_there_is_no_checker_fsck_is_left_to_say(said, good):
    """A node without e2fsprogs mounts ext4 all the same; fsck(8) says 0 for a type that it has no checker for."""
    runner = script(**{"fsck.ext4": (EXITED, 127, ""), "fsck": (EXITED, said, "")})
    assert (blockdevice.check_file_system("/dev/x", "ext4", "auto", runner, Deadline(1)) == "") is good
    assert runner.asked == ["fsck.ext4 -p /dev/x", "fsck -T -t ext4 /dev/x -- -p"]


@pytest.mark.parametrize("outcome, code, good", [(EXITED, 0, True), (EXITED, 1, True), (EXITED, 2, False), (EXITED, 3, False), (EXITED, 4, False),
                                                 (EXITED, 8, False), (TIMED_OUT, -1, False), (STUCK, 0, False)])
def test_fsck_exit_codes(outcome, code, good):
    complaint = blockdevice.check_file_system("/dev/x", "ext4", "auto", script(**{"fsck.ext4": (outcome, code, "")}), Deadline(1))
    assert (complaint == "") is good
    if not good:
        assert ("run fsck on /dev/x by hand" if outcome == EXITED else "/dev/x: fsck.ext4") in complaint
        assert ("check the storage path" in complaint) is (outcome != EXITED), "it is not the file system's fault that the device does not answer"


# what e2fsprogs 1.47 and util-linux 2.38 really say
FSCK_REFUSED = """/dev/x:
The superblock could not be read or does not describe a valid ext2/ext3/ext4
filesystem.  If the device is valid and it really contains an ext2/ext3/ext4
filesystem (and not swap or ufs or something else), then the superblock
is corrupt, and you might try running e2fsck with an alternate superblock:
    e2fsck -b 8193 <device>

fsck.ext4: MMP: device currently active while trying to open /dev/x
"""
CLEAR = "If you are sure the filesystem is not in use on any node, run:\n'tune2fs -f -E clear_mmp /dev/x'\n"
MOUNT_REFUSED = "mount: /share: /dev/x already mounted or mount point busy.\n       dmesg(1) may have more information after failed mount system call.\n"
MMP_BLOCK = """MMP_block:
    mmp_magic: 0x4d4d50
    mmp_check_interval: 10
    mmp_sequence: %s
    mmp_update_date: Sun Nov 22 17:35:48 2026
    mmp_update_time: 1795368948
    mmp_node_name: node1
    mmp_device_name: sdb1
    mmp_block_number: 4385
"""
IN_USE, CLEAN, IN_FSCK = ((EXITED, 0, MMP_BLOCK % sequence) for sequence in ("0x000001", "0xff4d4d50", "0xe24d4d50"))
NO_MMP, NO_TOOL = (EXITED, 2, "e2mmpstatus: MMP feature not enabled.\n"), (EXITED, 127, "no such command")
OFF = "/dev/x is in use on node node1 (ext4 mmp): make sure that node node1 is off before anything else"


@pytest.mark.parametrize("result, status, complaint", [
    (("fsck.ext4", EXITED, 8, FSCK_REFUSED), IN_USE, OFF),
    (("fsck.ext4", EXITED, 8, FSCK_REFUSED + CLEAR), IN_USE, OFF),
    (("mount", EXITED, 32, MOUNT_REFUSED), IN_USE, OFF),
    (("fsck.ext4", EXITED, 8, FSCK_REFUSED), NO_TOOL, OFF.replace("node node1", "another node")),
    (("fsck.ext4", EXITED, 8, FSCK_REFUSED), (TIMED_OUT, -1, ""), OFF.replace("node node1", "another node")),
    (("fsck.ext4", EXITED, 8, "fsck.ext4: MMP: fsck being run while trying to open /dev/x"), IN_FSCK,
     "/dev/x is being checked on node node1, or that was broken off: see that all other nodes are off, then README (mmp)"),
    (("fsck.ext4", TIMED_OUT, -1, ""), IN_USE, "/dev/x: ext4 mmp waits for node node1 up to a minute: raise the start timeout to 180 s "
                                               "- fsck.ext4 did not end within 0.0 s"),
    (("fsck.ext4", TIMED_OUT, -1, ""), NO_MMP, ""), (("fsck.ext4", TIMED_OUT, -1, ""), NO_TOOL, ""), (("mount", TIMED_OUT, -1, ""), CLEAN, ""),
    (("mount", EXITED, 32, MOUNT_REFUSED), NO_MMP, ""), (("mount", EXITED, 32, MOUNT_REFUSED), NO_TOOL, ""),
    (("mount", EXITED, 32, MOUNT_REFUSED), CLEAN, ""),
])
def test_what_mmp_refuses(result, status, complaint):
    assert blockdevice.mmp_complaint("/dev/x", Result(*result), script(e2mmpstatus=status), Deadline(0)) == complaint


@pytest.mark.parametrize("path, result", [
    ("/dev/x", ("fsck.ext4", EXITED, 4, "UNEXPECTED INCONSISTENCY")), ("/dev/x", ("mount", EXITED, 32, "wrong fs type, bad superblock")),
    ("/dev/x", ("fsck.ext4", SIGNALLED, 11, FSCK_REFUSED)), ("/dev/x", ("fsck.ext4", STUCK, 8, "")), ("nfs:/x", ("mount", TIMED_OUT, -1, "busy")),
])
def test_nobody_is_asked_for_mmp_when_something_else_is_wrong(path, result):
    runner = script(e2mmpstatus=IN_USE)
    assert (blockdevice.mmp_complaint(path, Result(*result), runner, Deadline(1)), runner.asked) == ("", [])


@pytest.mark.parametrize("answer, fstype", [((EXITED, 0, "ext4\n"), "ext4"), ((EXITED, 2, ""), "")])
def test_file_system(answer, fstype):
    assert blockdevice.file_system("/dev/x", script(blkid=answer), Deadline(1)) == fstype


@pytest.mark.parametrize("answer, words", [((EXITED, 8, ""), "/dev/x carries signatures of several kinds: .*wipefs -n /dev/x"),
                                           ((TIMED_OUT, -1, "ext4"), "what is on /dev/x cannot be told"), ((EXITED, 127, ""), "cannot be told")])
def test_a_file_system_that_cannot_be_told_is_not_none(answer, words):
    with pytest.raises(Unresolved, match=words) as caught:
        blockdevice.file_system("/dev/x", script(blkid=answer), Deadline(1))
    assert not caught.value.absent


@pytest.mark.parametrize("said, words", [
    ("/dev/x: Root inode is not a directory.\n\n\n/dev/x: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n\t(i.e., without -a or -p options)\n",
     "UNEXPECTED INCONSISTENCY"),
    ("fsck.ext4: Bad magic number in super-block while trying to open /dev/x\n/dev/x: \nThe superblock could not be read ...\n    e2fsck -b 32768 <device>\n",
     "Bad magic number in super-block"), ("killed", "killed"),
])
def test_what_fsck_says_of_this_disk_counts(said, words):
    complaint = blockdevice.check_file_system("/dev/x", "ext4", "auto", script(**{"fsck.ext4": (EXITED, 8, said)}), Deadline(1))
    assert words in complaint and "-b 32768" not in complaint and "i.e." not in complaint


def test_path_of_a_number(monkeypatch, tmp_path):
    numbers = {"/dev/link": "8:33", "/dev/sdb1": "8:17"}

    def number(path):
        if path not in numbers:
            raise Unresolved("no " + path, absent=True)
        return numbers[path]
    monkeypatch.setattr(blockdevice, "number", number)
    monkeypatch.setattr("builtins.open", lambda name: io.StringIO("MAJOR=8\nDEVNAME=sdb1\n") if "/8:17/" in name else open_nothing(name))
    assert blockdevice.path_of("8:33", "/dev/link") == "/dev/link"
    assert blockdevice.path_of("8:17", "/dev/link") == "/dev/sdb1", "the link names another device now"
    assert blockdevice.path_of("8:17", "/dev/gone") == "/dev/sdb1", "its link has gone, the device has not"
    assert blockdevice.path_of("8:99", "/dev/gone") == "/dev/gone"
    assert blockdevice.path_of("8:99", "/dev/link") == "", "never another device"
    del numbers["/dev/sdb1"]
    assert blockdevice.path_of("8:17", "/dev/link") == "/dev/sdb1", "it is there, though nothing leads to it: that is for who opens it to see"
    numbers["/dev/sdb1"] = "8:50"
    assert blockdevice.path_of("8:17", "/dev/link") == ""


def open_nothing(name):
    raise FileNotFoundError(2, "No such file or directory", name)




def test_a_device_that_does_not_answer_is_not_called_empty():
    with pytest.raises(blockdevice.Unresolved, match="check the storage path") as caught:
        blockdevice.file_system("/dev/x", script(blkid=(TIMED_OUT, -1, "ext4")), Deadline(1))
    assert not caught.value.absent


def test_thaw_of_what_is_not_frozen_is_no_trouble(runner, tmp_path, monkeypatch):
    results = []
    monkeypatch.setattr(runner, "call", lambda name, function, deadline: results.append(type(runner).call(runner, name, function, deadline)))
    blockdevice.thaw(str(tmp_path), runner, Deadline(5))
    blockdevice.thaw(str(tmp_path / "none"), runner, Deadline(5))
    assert results[1].output.startswith("ENOENT")


@pytest.mark.parametrize("name", ["/dev/sd\0b", "/dev/\ud800"])
def test_a_name_that_no_device_can_have(name):
    with pytest.raises(blockdevice.Unresolved, match="no name") as caught:
        blockdevice.number(name)
    assert not caught.value.absent
