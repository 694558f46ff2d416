from __future__ import annotations

import os

import pytest

from cjc_agent.settings import conf_file


@pytest.mark.parametrize("data, found", [
    (b"", {}), (b"site = jobsiteA\n", {"site": "jobsiteA"}), (b"site=jobsiteA", {"site": "jobsiteA"}),
    (b"\xef\xbb\xbfsite = a\r\n\r\n  # x\r\n\tport\t=\t80  \r\n", {"site": "a", "port": "80"}),
    ("# 日本語のコメント\nsite = a\n".encode("euc_jp"), {"site": "a"}), ("#ソ表\nsite = a\n".encode("shift_jis"), {"site": "a"}),
    ("licence_pattern = 日本 = x # y\n".encode(), {"licence_pattern": "日本 = x # y"}), (b"start_args =\n", {"start_args": ""}),
    (b"start_timeout = 60s\nmonitor_level = 20\n", {"start_timeout": "60s", "monitor_level": "20"}), (b"\n" * 1000, {}),
    (b"monitor_expect = active\nlog_limit = 200\n", {"monitor_expect": "active", "log_limit": "200"}),
])
def test_parse(data, found):
    conf = conf_file.parse(data, "/etc/x.conf")
    assert (conf.values, conf.errors, conf.path) == (found, [], "/etc/x.conf")


@pytest.mark.parametrize("data, words", [
    (b"site = a\nsitedb = /x\n", ["/etc/x.conf line 2", "unknown parameter 'sitedb'", "did you mean site_db?"]),
    (b"xyzzy = 1\n", ["/etc/x.conf line 1", "unknown parameter 'xyzzy'"]),
    (b"SITE = a\n", ["/etc/x.conf line 1", "unknown parameter 'SITE'"]),
    (b"= a\n", ["/etc/x.conf line 1", "unknown parameter ''"]),
    (b"#\nsite = a\n\nsite = b\n", ["/etc/x.conf line 4", "site is set in line 2 already"]),
    (b"site = a\nport\n", ["/etc/x.conf line 2", "'port' is no `name = value` line"]),
    (b"site = a\nport =\n", ["/etc/x.conf line 2", "port has no value: give one, or remove the line"]),
    (b"vip =  \t\r\n", ["/etc/x.conf line 1", "vip has no value"]),
    (b"site_db = /share/x  # the site DB\n", ["/etc/x.conf line 1", "site_db has a comment in its value: give it a line of its own"]),
    (b"[section]\n", ["/etc/x.conf line 1", "no `name = value` line"]),
    ("site = a\nlicence_pattern = 日本\n".encode("euc_jp"), ["/etc/x.conf line 2", "not UTF-8"]),
    ("site = a\n".encode("utf-16"), ["/etc/x.conf line 1"]),
])
def test_bad(data, words):
    error = conf_file.parse(data, "/etc/x.conf").errors[0]
    for word in words:
        assert word in error


def test_what_can_be_read_is_read_all_the_same():
    conf = conf_file.parse(b"site = a\nfoo = 1\nsite_db = /x\nsite = b\n", "/x")
    assert conf.values == {"site": "a", "site_db": "/x"} and len(conf.errors) == 2
    assert (conf.place("site_db"), conf.place("vip")) == ("/x line 3", "/x")


def test_hostile_lines_give_bounded_printable_words():
    for data in (b"\x1b[2J" * 1000, b"\x1b" * 1000 + b"=1"):
        error = conf_file.parse(data, "/etc/x.conf").errors[0]
        assert error.isprintable() and len(error) < 300


def test_read(tmp_path):
    path = tmp_path / "x.conf"
    assert conf_file.read(str(path)).errors == ["%s: No such file or directory: write it, on every node" % path]
    path.write_bytes(b"site = a\n")
    conf = conf_file.read(str(path))
    assert (conf.values, conf.errors, conf.path) == ({"site": "a"}, [], str(path))
    path.write_bytes(b"site\n")
    assert "%s line 1" % path in conf_file.read(str(path)).errors[0]
    assert "Is a directory" in conf_file.read(str(tmp_path)).errors[0]
    os.mkfifo(tmp_path / "fifo.conf")
    assert "not a plain file" in conf_file.read(str(tmp_path / "fifo.conf")).errors[0]
    assert conf_file.read("/x\0y").errors and conf_file.read("").errors


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused_and_nothing_of_it_is_believed(tmp_path, mode):
    path = tmp_path / "x.conf"
    path.write_bytes(b"site = a\ncjcpw = /tmp/evil\n")
    path.chmod(mode)
    conf = conf_file.read(str(path))
    assert conf.errors == ["%s: writable by others: chown root, chmod go-w" % path] and conf.values == {}


def test_a_file_in_a_folder_that_others_can_change_is_refused(tmp_path):
    path = tmp_path / "open" / "x.conf"
    path.parent.mkdir()
    path.write_bytes(b"site = a\n")
    link = tmp_path / "link.conf"
    link.symlink_to(path)
    path.parent.chmod(0o777)
    for given in (path, link):
        conf = conf_file.read(str(given))
        assert "%s: %s: writable by others" % (given, path.parent) in conf.errors[0] and conf.values == {}
    path.parent.chmod(0o1777)  # as /tmp: nobody else can exchange the file
    assert conf_file.read(str(path)).values == {"site": "a"}


@pytest.mark.root
def test_somebody_elses_file_is_refused(tmp_path):
    path = tmp_path / "x.conf"
    path.write_bytes(b"site = a\n")
    os.chown(path, 65534, 65534)
    assert "owned by uid 65534" in conf_file.read(str(path)).errors[0]


def test_a_file_on_the_disk_that_it_tells_of_is_refused(tmp_path):
    """It would be there only while the disk is: on the standby there is none."""
    path = tmp_path / "x.conf"
    for name in ("directory", "site_db"):
        path.write_text("%s = %s\n" % (name, tmp_path))
        assert "lies below %s %s: it has to be there when that disk is not" % (name, tmp_path) in conf_file.read(str(path)).errors[0]
    path.write_text("directory = %s2\n" % tmp_path)
    assert conf_file.read(str(path)).errors == []


def test_a_file_too_large_is_refused(tmp_path):
    path = tmp_path / "x.conf"
    path.write_bytes(b"#" * conf_file.LARGEST + b"\nsite = a\n")
    assert "larger than" in conf_file.read(str(path)).errors[0]


# -- which file --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the configuration files, with files of the given names in it."""
    monkeypatch.setattr(conf_file, "FOLDER", str(tmp_path))

    def make(*names):
        for name in names:
            (tmp_path / name).write_text("site = %s\n" % name.split(".")[0])
        return str(tmp_path)
    return make


def test_the_file_that_is_named(folder):
    here = folder("a.conf", "b.conf")
    assert conf_file.choose({"CJC_AGENT_CONF": here + "/b.conf", "CLP_RESOURCENAME": "a"}).values == {"site": "b"}
    missing = conf_file.choose({"CJC_AGENT_CONF": here + "/c.conf", "CLP_RESOURCENAME": "a"})
    assert missing.path == here + "/c.conf" and "No such file" in missing.errors[0], "another one is never taken instead"


@pytest.mark.parametrize("name", ["a.conf", "./a.conf", "~/a.conf"])
def test_a_relative_name_is_refused(folder, name):
    folder("a.conf")
    conf = conf_file.choose({"CJC_AGENT_CONF": name})
    assert conf.path == "" and "not an absolute path" in conf.errors[0]


def test_the_file_that_has_the_resources_name(folder):
    folder("a.conf", "b.conf")
    assert conf_file.choose({"CLP_RESOURCENAME": "b"}).values == {"site": "b"}


def test_the_only_file(folder):
    folder("a.conf", "a.conf.bak", ".b.conf", "notes")
    for environ in ({}, {"CLP_RESOURCENAME": "exec1"}, {"CLP_RESOURCENAME": "", "CJC_AGENT_CONF": ""}):
        assert conf_file.choose(environ).values == {"site": "a"}


def test_two_files_and_none_chosen(folder):
    folder("a.conf", "b.conf")
    conf = conf_file.choose({"CLP_RESOURCENAME": "exec1"})
    assert (conf.path, conf.values) == ("", {})
    for words in ("holds a.conf, b.conf", "CJC_AGENT_CONF=", "render"):
        assert words in conf.errors[0]


def test_a_file_that_a_site_was_started_from_counts_as_being_there(folder):
    here = folder("a.conf")
    gone = {here + "/b.conf": "b"}
    assert conf_file.choose({"CLP_RESOURCENAME": "b"}, gone).path == here + "/b.conf"
    assert conf_file.choose({"CLP_RESOURCENAME": "b"}).path == here + "/a.conf", "nobody has ever seen another one"
    assert conf_file.choose({}, gone).path == "" and conf_file.choose({}, gone, by_start=True).path == "", "the other one is another site's"
    assert conf_file.choose({}, {here + "/b.conf": "a"}, by_start=True).path == here + "/b.conf", "all are one site's"
    assert conf_file.choose({}, {here + "/b.conf": "a", here + "/c.conf": "a"}, by_start=True).path == "", "one of two is no choice"
    assert conf_file.choose({}, {"/elsewhere/b.conf": "b"}).path == here + "/a.conf"
    os.unlink(here + "/a.conf")
    assert conf_file.choose({}, gone).path == here + "/b.conf"


def test_no_file_at_all(folder, tmp_path, monkeypatch):
    folder()
    for here in (str(tmp_path), str(tmp_path / "none")):
        monkeypatch.setattr(conf_file, "FOLDER", here)
        conf = conf_file.choose({})
        assert conf.path == "" and "%s holds no *.conf file" % here in conf.errors[0]


def test_a_resource_name_leads_to_no_other_folder(folder, tmp_path, monkeypatch):
    here = folder("a.conf", "b.conf")
    monkeypatch.setattr(conf_file, "FOLDER", here + "/sub")
    (tmp_path / "sub").mkdir()
    assert conf_file.choose({"CLP_RESOURCENAME": "../a"}).path == ""
