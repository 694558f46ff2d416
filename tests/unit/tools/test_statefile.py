from __future__ import annotations

import os
import resource
import signal
import tempfile

import pytest

from cjc_agent.tools import statefile
from cjc_agent.tools.statefile import Untrusted
from unit.helpers import as_nobody


@pytest.fixture
def path(state_folder):
    return state_folder / "cjc-a.json"


def test_write_read_remove(path, state_folder):
    assert statefile.read(str(path)) is None
    statefile.write(str(path), b"one")
    statefile.write(str(path), b"two\0\xff" * 1000)
    assert statefile.read(str(path)) == b"two\0\xff" * 1000
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(state_folder) == ["cjc-a.json"], "nothing temporary stays"
    statefile.remove(str(path))
    statefile.remove(str(path))
    assert statefile.read(str(path)) is None


def test_an_empty_file_is_no_absent_one(path):
    statefile.write(str(path), b"")
    assert statefile.read(str(path)) == b""


@pytest.mark.parametrize("mask", [0, 0o077])
def test_the_mode_does_not_depend_on_the_umask(path, mask):
    before = os.umask(mask)
    try:
        statefile.write(str(path), b"x")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600


def test_the_folder_is_made(tmp_path):
    statefile.write(str(tmp_path / "a" / "b" / "file"), b"x")
    assert (tmp_path / "a").stat().st_mode & 0o022 == 0


def world_writable(folder):
    folder.chmod(0o777)


def group_writable(folder):
    folder.chmod(0o775)


def sticky(folder):
    folder.chmod(0o1777)  # others cannot exchange our files there, but they can lay theirs in our way


def renamable(folder):
    folder.parent.chmod(0o777)


@pytest.mark.parametrize("make", [world_writable, group_writable, sticky, renamable], ids=lambda make: make.__name__)
def test_a_folder_that_others_may_change_is_not_believed(path, state_folder, make):
    statefile.write(str(path), b"old")
    make(state_folder)
    with pytest.raises(Untrusted, match="writable by others: correct it"):
        statefile.read(str(path))
    with pytest.raises(OSError, match="writable by others"):
        statefile.write(str(path), b"new")
    assert os.listdir(state_folder) == [path.name] and path.read_bytes() == b"old"
    state_folder.parent.chmod(0o1777)
    state_folder.chmod(0o755)
    assert statefile.read(str(path)) == b"old", "a sticky folder on the way, like /tmp, will do"


@pytest.mark.root
@pytest.mark.parametrize("depth", [0, 1])
def test_somebody_elses_folder_is_not_believed(path, state_folder, depth):
    statefile.write(str(path), b"old")
    os.chown([state_folder, state_folder.parent][depth], 65534, 65534)
    with pytest.raises(Untrusted, match="owned by uid 65534: correct it"):
        statefile.read(str(path))
    with pytest.raises(OSError, match="owned by uid 65534"):
        statefile.write(str(path), b"new")


@pytest.mark.root
def test_a_link_on_the_way_is_believed_only_when_it_is_roots(path, state_folder, tmp_path):
    """/var/run is such a link; one of somebody else's can be turned to wherever he likes."""
    statefile.write(str(path), b"x")
    link = tmp_path / "link"
    link.symlink_to(state_folder)
    assert statefile.read(str(link / path.name)) == b"x"
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(Untrusted, match="link: owned by uid 65534"):
        statefile.read(str(link / path.name))
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(state_folder, 65534, 65534)
    with pytest.raises(Untrusted, match="state: owned by uid 65534"):
        statefile.read(str(link / path.name))


def test_no_folder_is_made_where_others_may_change_it(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(OSError, match="writable by others"):
        statefile.write(str(tmp_path / "shared" / "a" / "b"), b"x")
    assert not (tmp_path / "shared" / "a").exists()


def symlink(path):
    (path.parent / "target").write_bytes(b"{}")
    path.symlink_to("target")


def dangling(path):
    path.symlink_to("nowhere")


def hard_link(path):
    statefile.write(str(path), b"x")
    os.link(path, path.parent / "other")


def mode(bits):
    def make(path):
        statefile.write(str(path), b"x")
        path.chmod(bits)
    make.__name__ = "mode_%o" % bits
    return make


def fifo(path):
    os.mkfifo(path, 0o600)


def folder(path):
    path.mkdir()


def too_large(path):
    statefile.write(str(path), b"x" * statefile.LARGEST)


@pytest.mark.parametrize("make", [symlink, dangling, hard_link, mode(0o620), mode(0o602), mode(0o666), fifo, folder, too_large],
                         ids=lambda make: make.__name__)
def test_what_is_not_believed(path, make):
    make(path)
    with pytest.raises(Untrusted) as caught:
        statefile.read(str(path))
    assert str(path) in str(caught.value) and "remove it" in str(caught.value)


def test_just_not_too_large_is_read_whole(path):
    statefile.write(str(path), b"x" * (statefile.LARGEST - 1))
    assert len(statefile.read(str(path))) == statefile.LARGEST - 1


@pytest.mark.root
def test_somebody_elses_file_is_not_believed(path):
    statefile.write(str(path), b"x")
    os.chown(path, 65534, 65534)
    with pytest.raises(Untrusted, match="owned by uid 65534"):
        statefile.read(str(path))


def test_a_file_that_may_not_be_read_is_not_believed(path):
    def refused() -> bool:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            secret = os.path.join(folder, "secret")
            statefile.write(secret, b"x")
            os.chmod(secret, 0)
            try:
                statefile.read(secret)
            except Untrusted:
                return True
            return False
    as_nobody(refused)


@pytest.fixture
def file_size_limit():
    """Writes beyond 10 bytes fail as on a full file system: part of the data is written, then an error."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))

    def lift():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    yield limit, lift
    lift()
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_fails_leaves_the_old_file(path, state_folder, file_size_limit):
    limit, lift = file_size_limit
    statefile.write(str(path), b"old")
    limit()
    try:
        with pytest.raises(OSError):
            statefile.write(str(path), b"n" * 100)
    finally:
        lift()
    assert statefile.read(str(path)) == b"old"
    assert os.listdir(state_folder) == ["cjc-a.json"]


def test_a_rename_that_fails_leaves_nothing_temporary(path, state_folder):
    path.mkdir()
    with pytest.raises(OSError):
        statefile.write(str(path), b"x")
    assert os.listdir(state_folder) == ["cjc-a.json"] and path.is_dir()


def test_write_replaces_a_symbolic_link_and_not_its_target(path):
    target = path.parent / "target"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    statefile.write(str(path), b"new")
    assert target.read_bytes() == b"precious" and statefile.read(str(path)) == b"new"


def test_a_temporary_file_laid_in_our_way_is_not_followed(path):
    target = path.parent / "target"
    target.write_bytes(b"precious")
    (path.parent / ("cjc-a.json.%d.new" % os.getpid())).symlink_to(target)
    statefile.write(str(path), b"new")
    assert target.read_bytes() == b"precious" and statefile.read(str(path)) == b"new"


def test_what_cannot_be_removed_says_so(path):
    path.mkdir()
    with pytest.raises(OSError):
        statefile.remove(str(path))
