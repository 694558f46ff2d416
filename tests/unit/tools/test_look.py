from __future__ import annotations

import os

import pytest

from cjc_agent.tools import look
from cjc_agent.tools.deadline import Deadline
from unit.helpers import IS_ROOT


def test_many_at_once(tmp_path, runner):
    (tmp_path / "file").write_bytes("夜間\n".encode("euc_jp"))
    (tmp_path / "file").chmod(0o664)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "large").write_bytes(b"x" * (look.MOST_CONTENT + 1))
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path / name) for name in ("file", "link", "large", "pipe", "none", "file/below", "")]
    found = look.at(paths, runner, Deadline(10))
    assert list(found) == paths
    file, link, large, pipe, none, below, folder = found.values()
    assert file.is_file and file.others_write and file.data == "夜間\n".encode("euc_jp") and not file.error and file.size == 5
    assert link.real == file.path and link.data == file.data
    assert large.is_file and large.data is None and not large.error
    assert pipe.mode and not pipe.is_file and pipe.data is None and not pipe.missing, "nobody waits for a pipe"
    assert none.missing and none.error == "No such file or directory" and below.missing and not none.is_file
    assert folder.is_folder and folder.data is None


def test_what_hung_before_hides_nothing_else(tmp_path, runner):
    (tmp_path / "file").write_text("x")
    hangs = str(tmp_path / "hangs")
    runner._hung.update([*range(3), look.number(hangs)])
    file, hung, none = look.at([str(tmp_path / "file"), hangs, str(tmp_path / "none")], runner, Deadline(10)).values()
    assert file.data == b"x" and none.missing and hung.error == "its file system does not answer" and not hung.missing
    assert look.number(hangs) == look.number(hangs) < 0


def test_without_contents(tmp_path, runner):
    (tmp_path / "file").write_text("x")
    assert look.at([str(tmp_path / "file")], runner, Deadline(10), contents=False)[str(tmp_path / "file")].data is None


def test_whose(tmp_path, runner):
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o644)
    assert not look.at([str(tmp_path / "file")], runner, Deadline(10))[str(tmp_path / "file")].others_write
    if IS_ROOT:
        os.chown(tmp_path / "file", 12345, -1)
        assert look.at([str(tmp_path / "file")], runner, Deadline(10))[str(tmp_path / "file")].others_write


def test_no_time_is_no_answer(runner):
    seen = look.at(["/etc/hostname"], runner, Deadline(0))["/etc/hostname"]
    assert seen.error and not seen.missing and seen.data is None


@pytest.mark.parametrize("path", ["a\0b", "\udcff", "x" * 5000])
def test_names_that_no_file_can_have(runner, path):
    seen = look.at(["/" + path], runner, Deadline(10))["/" + path]
    assert seen.error and seen.data is None
