from __future__ import annotations

import os

import pytest

from cjc_agent.settings import site_db


def test_the_first_one_is_noted_and_stays(tmp_path):
    folder = str(tmp_path)
    assert site_db.owner(folder) == site_db.complaint(folder, "jobsiteA") == ""
    site_db.note(folder, "jobsiteA")
    site_db.note(folder, "jobsiteB")
    assert site_db.owner(folder) == "jobsiteA" and site_db.complaint(folder, "jobsiteA") == ""
    said = site_db.complaint(folder, "jobsiteB")
    assert said.startswith("CJC302: %s is the site DB of jobsiteA: " % folder) and site_db.path(folder) in said
    assert os.stat(site_db.path(folder)).st_mode & 0o777 == 0o600


@pytest.mark.root
def test_what_somebody_else_can_have_written_is_not_believed(tmp_path):
    folder = str(tmp_path)
    site_db.note(folder, "jobsiteA")
    os.chmod(site_db.path(folder), 0o666)
    assert site_db.owner(folder) == ""
    os.chmod(site_db.path(folder), 0o600)
    os.chown(site_db.path(folder), 12345, -1)
    assert site_db.owner(folder) == ""


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("jobsiteB\n")
    os.symlink(tmp_path / "elsewhere", site_db.path(str(tmp_path)))
    with pytest.raises(OSError):
        site_db.complaint(str(tmp_path), "jobsiteA")


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\x00", b"x" * 5000, b"a\nb\n"])
def test_whatever_it_says(tmp_path, data):
    (tmp_path / site_db.NOTE).write_bytes(data)
    os.chmod(tmp_path / site_db.NOTE, 0o600)
    assert len(site_db.owner(str(tmp_path))) <= 126


def test_a_site_db_that_is_not_there(tmp_path):
    assert site_db.complaint(str(tmp_path / "none"), "jobsiteA") == ""
