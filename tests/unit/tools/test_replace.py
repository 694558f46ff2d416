"""Somebody else's file is replaced whole or not at all, and stays what it was besides its text."""
from __future__ import annotations

import errno
import os
import stat

import pytest

from cjc_agent.tools import replace
from unit.helpers import as_nobody


@pytest.fixture
def path(tmp_path):
    return tmp_path / "daemon.conf"


def refused(path, before=b"old"):
    """The words of the refusal; neither the file nor anything beside it has changed."""
    seen = sorted((one.name, one.lstat().st_ino) for one in path.parent.iterdir())
    with pytest.raises(OSError) as caught:
        replace.replace(str(path), b"new", before)
    assert sorted((one.name, one.lstat().st_ino) for one in path.parent.iterdir()) == seen
    return str(caught.value)


def test_the_text_is_another_and_the_rest_is_as_it_was(path):
    path.write_bytes(b"old")
    path.chmod(0o640)
    assert replace.replace(str(path), b"new\0\xff" * 100000, b"old") == ""
    assert path.read_bytes() == b"new\0\xff" * 100000
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444, 0o000, 0o2755])
def test_owner_group_and_mode(path, mode):
    path.write_bytes(b"old")
    os.chown(path, 4711, 4712)
    path.chmod(mode)
    replace.replace(str(path), b"new", b"old")
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (4711, 4712, mode)


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_new_file_can_be_read_by_all_whatever_the_umask(path, mask):
    before = os.umask(mask)
    try:
        replace.replace(str(path), b"new", None)
    finally:
        os.umask(before)
    facts = path.stat()
    assert (path.read_bytes(), stat.S_IMODE(facts.st_mode), facts.st_uid) == (b"new", 0o644, os.geteuid())


def test_what_was_left_by_one_that_was_killed_is_removed_and_never_read(path):
    path.write_bytes(b"old")
    left = path.with_name(".daemon.conf.cjc-agent-new")
    left.write_bytes(b"half of it")
    left.chmod(0o444)
    replace.replace(str(path), b"new", b"old")
    assert (path.read_bytes(), os.listdir(path.parent)) == (b"new", [path.name])


@pytest.mark.parametrize("before, there", [(b"old", b"other"), (b"old", None), (None, b"other"), (None, b"")])
def test_a_file_that_changed_meanwhile_is_left_alone(path, before, there):
    if there is not None:
        path.write_bytes(there)
    assert "was changed meanwhile" in refused(path, before)
    assert (path.read_bytes() if path.exists() else None) == there


def test_changed_at_the_last_moment(path, monkeypatch):
    path.write_bytes(b"old")
    monkeypatch.setattr(replace, "_write", lambda descriptor, data: path.write_bytes(b"other"))
    assert "was changed meanwhile" in refused(path)
    assert path.read_bytes() == b"other"


def test_another_node_at_the_same_work(path, monkeypatch):
    """On a shared disk: it took our temporary file for one that was left, and has made its own."""
    path.write_bytes(b"old")
    temporary = path.with_name(".daemon.conf.cjc-agent-new")
    monkeypatch.setattr(replace, "_write", lambda descriptor, data: (temporary.unlink(), temporary.write_bytes(b"theirs, half of it")))
    with pytest.raises(OSError, match="was changed meanwhile"):
        replace.replace(str(path), b"new", b"old")
    assert (path.read_bytes(), temporary.read_bytes()) == (b"old", b"theirs, half of it"), "theirs is theirs to rename"


def test_a_link_stays_a_link(path, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"old")
    (tmp_path / "second").symlink_to("real/file")
    path.symlink_to(tmp_path / "second")
    replace.replace(str(path), b"new", b"old")
    assert path.is_symlink() and (tmp_path / "second").is_symlink()
    assert (tmp_path / "real" / "file").read_bytes() == b"new" and os.listdir(tmp_path / "real") == ["file"]


def test_a_link_to_nothing_gets_what_it_names(path, tmp_path):
    path.symlink_to("there")
    replace.replace(str(path), b"new", None)
    assert path.is_symlink() and (tmp_path / "there").read_bytes() == b"new"


@pytest.mark.root
def test_a_link_that_somebody_else_made_is_not_followed(path, tmp_path):
    (tmp_path / "shadow").write_bytes(b"old")
    path.symlink_to("shadow")
    os.lchown(path, 4711, 4711)
    assert "is a symbolic link of uid 4711" in refused(path)


def test_links_in_a_circle(path):
    path.symlink_to(path.name)
    assert os.strerror(errno.ELOOP) in refused(path)


def test_hard_links_are_refused(path, tmp_path):
    path.write_bytes(b"old")
    os.link(path, tmp_path / "other")
    assert "has 2 hard links" in refused(path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_no_plain_file(path, make):
    make(path)
    assert "is no plain file" in refused(path)


def test_no_folder(path):
    with pytest.raises(FileNotFoundError):
        replace.replace(str(path.parent / "none" / "daemon.conf"), b"new", None)


@pytest.mark.parametrize("name, value", [("user.comment", b"\0\xff"), ("user.empty", b"")])
def test_attributes_are_kept(path, name, value):
    path.write_bytes(b"old")
    try:
        os.setxattr(path, name, value)
    except OSError:
        pytest.skip("this file system keeps no attributes")
    replace.replace(str(path), b"new", b"old")
    assert {key: os.getxattr(path, key) for key in os.listxattr(path)} == {name: value}


def acl(user):
    """system.posix_acl_access (acl(5), linux/posix_acl_xattr.h): owner rw, one user rw, group r, mask rw, others nothing."""
    entries = [(1, 6, 0xFFFFFFFF), (2, 6, user), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return b"\2\0\0\0" + b"".join(tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, bits, who in entries)


@pytest.mark.parametrize("of_folder", [False, True])
def test_an_acl_is_kept_and_none_is_inherited(path, of_folder):
    try:
        if of_folder:
            os.setxattr(path.parent, "system.posix_acl_default", acl(4713))
        path.write_bytes(b"old")
        if of_folder:
            os.removexattr(path, "system.posix_acl_access")
        else:
            os.setxattr(path, "system.posix_acl_access", acl(4713))
    except OSError:
        pytest.skip("this file system keeps no ACL")
    path.chmod(0o640)
    before = ({name: os.getxattr(path, name) for name in os.listxattr(path)}, stat.S_IMODE(path.stat().st_mode))
    replace.replace(str(path), b"new", b"old")
    assert ({name: os.getxattr(path, name) for name in os.listxattr(path)}, stat.S_IMODE(path.stat().st_mode)) == before


def test_an_attribute_that_cannot_be_kept_is_told(path, monkeypatch):
    path.write_bytes(b"old")
    monkeypatch.setattr(replace, "_attributes", lambda descriptor: {} if os.fstat(descriptor).st_size == 0 else {"security.no-such": b"x" * 70000})
    assert "its attribute security.no-such cannot be kept" in refused(path)


def test_what_cannot_be_written_leaves_nothing(path, monkeypatch):
    path.write_bytes(b"old")

    def full(descriptor, data):
        os.write(descriptor, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    monkeypatch.setattr(replace, "_write", full)
    assert "No space left" in refused(path)


@pytest.mark.root
def test_nobody_can_read_the_new_file_before_it_may(path, monkeypatch):
    path.write_bytes(b"old")
    path.chmod(0o600)
    written = replace._write

    def write(descriptor, data):
        written(descriptor, data)
        temporary = str(path.with_name(".daemon.conf.cjc-agent-new"))
        as_nobody(lambda: not os.access(temporary, os.R_OK))
    monkeypatch.setattr(replace, "_write", write)
    path.parent.chmod(0o755)
    replace.replace(str(path), b"new", b"old")


def test_the_folder_of_a_file_system_that_cannot_sync_one(path, monkeypatch):
    path.write_bytes(b"old")
    real, folder = os.fsync, os.stat(path.parent).st_ino

    def fsync(descriptor):
        if os.fstat(descriptor).st_ino == folder:
            raise OSError(errno.EINVAL, "x")
        real(descriptor)
    monkeypatch.setattr(os, "fsync", fsync)
    replace.replace(str(path), b"new", b"old")
    assert path.read_bytes() == b"new"
