from __future__ import annotations

import os
import shutil

import pytest

from cjc_agent.tools import holders, mountinfo, processes
from cjc_agent.tools.deadline import Deadline
from unit.helpers import PATIENCE, wait_until

SAY = "\nprint('ready', flush=True)\nsys.stdin.read()"
WAYS = {
    "cwd": ("import os; os.chdir(sys.argv[1])", "working directory"),
    "file": ("kept = open(sys.argv[1] + '/file')", "open file"),
    "folder": ("import os; kept = os.open(sys.argv[1], os.O_RDONLY)", "open file"),
    "deleted": ("import os; kept = open(sys.argv[1] + '/file'); os.unlink(sys.argv[1] + '/file')", "open file"),
    "socket": ("import os, socket; kept = socket.socket(socket.AF_UNIX); kept.bind(sys.argv[1] + '/socket')", "socket"),
    "mapped": ("import mmap\nwith open(sys.argv[1] + '/file', 'rb') as f: kept = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
               "f.close()", "open file"),
}
# mmap keeps a descriptor of its own: this one has nothing but the mapping
ONLY_MAPPED = ("import ctypes, os\nfd = os.open(sys.argv[1] + '/file', os.O_RDONLY)\nlibc = ctypes.CDLL(None, use_errno=True)\n"
               "libc.mmap.restype = ctypes.c_void_p\n"
               "assert libc.mmap(None, ctypes.c_size_t(4096), 1, 2, fd, ctypes.c_long(0)) not in (None, ctypes.c_void_p(-1).value)\nos.close(fd)\n")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path.resolve() / "my share"
    made.mkdir()
    (made / "file").write_bytes(b"x" * 4096)
    return made


@pytest.fixture
def find(runner):
    """holders.find; in our own mount namespace the device does not matter."""
    def _find(folder, pids, device="4095:1"):
        return holders.find(str(folder), device, pids, runner, Deadline(PATIENCE))
    return _find


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_hold(way, folder, start_python, find):
    code, how = WAYS[way]
    child = start_python(code + SAY, str(folder))
    assert find(folder, [child.pid]) == {child.pid: how}
    assert find(str(folder) + "2", [child.pid]) == {}


@pytest.mark.parametrize("deleted", [False, True])
def test_a_mapped_file_is_found_by_its_path_only(deleted, folder, start_python, find):
    child = start_python(ONLY_MAPPED + SAY, str(folder))
    if deleted:
        (folder / "file").unlink()
    assert find(folder, [child.pid]) == {child.pid: "mapped file"}
    line = next(line for line in processes.contents(child.pid, "maps").decode().split("\n") if "/my share/file" in line)
    major, minor = (int(word, 16) for word in line.split()[3].split(":"))
    assert find("/nowhere", [child.pid], "%d:%d" % (major, minor)) == {}, "the same device number stands for other mounts of it, and for other btrfs"


def test_a_program_that_lies_there(folder, start, find):
    shutil.copy("/bin/sleep", folder / "daemon")
    child = start([folder / "daemon", "60"])
    wait_until(lambda: processes.link(child.pid, "exe") == str(folder / "daemon"), "the exec")
    assert find(folder, [child.pid]) == {child.pid: "program"}


@pytest.mark.root
def test_a_root_directory(folder, start_python, find):
    child = start_python("import os; os.chroot(sys.argv[1])" + SAY, str(folder))
    assert find(folder, [child.pid]) == {child.pid: "root directory"}


def test_never_ourselves(folder, find):
    with open(folder / "file") as file:
        assert file.fileno() >= 0
        assert find(folder, [os.getpid()]) == {}


def test_bystanders_and_the_gone(folder, sleeper, find):
    assert find(folder, [sleeper().pid, 1 << 30]) == {}


@pytest.fixture
def elsewhere(start):
    """Start a child that sleeps in a mount namespace of its own."""
    def _start(**more):
        ours = processes.link(os.getpid(), "ns/mnt")
        child = start(["/usr/bin/unshare", "--mount", "/bin/sleep", "60"], stderr=-3, **more)
        wait_until(lambda: child.poll() is not None or processes.link(child.pid, "ns/mnt") not in (ours, ""), "the namespace")
        if child.poll() is not None:
            pytest.skip("no mount namespace can be made here")
        return child
    return _start


@pytest.mark.root
def test_a_holder_in_another_mount_namespace_counts_only_when_it_has_the_file_system_mounted(elsewhere, folder, find):
    child = elsewhere(cwd=folder)
    device = mountinfo.containing(mountinfo.read(), str(folder)).device
    assert find(folder, [child.pid], device) == {child.pid: "working directory"}
    assert find(folder, [child.pid], "4095:1") == {}, "the same path names something else there: a container's own"


def test_without_time_for_all_there_is_no_answer(folder, runner):
    with pytest.raises(TimeoutError):
        holders.find(str(folder), "4095:1", [os.getppid()], runner, Deadline(0))


@pytest.mark.root
def test_who_lives_in_another_mount_namespace(elsewhere, sleeper):
    device = mountinfo.top_at(mountinfo.read(), "/").device
    child = elsewhere()
    pids = [child.pid, sleeper().pid, 1 << 30]
    assert holders.in_other_namespaces(device, pids) == [child.pid]
    assert holders.in_other_namespaces("4095:1", pids) == []
