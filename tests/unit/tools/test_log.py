from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cjc_agent.tools import log as module
from cjc_agent.tools.log import Log, one_line
from unit.helpers import AGENT


@pytest.mark.parametrize("text, line", [
    ("plain", "plain"), ("", ""), ("日本語 é", "日本語 é"), ("a\nb", "a\\x0ab"), ("a\r\nb", "a\\x0d\\x0ab"), ("\x1b[2J", "\\x1b[2J"), ("a\0b", "a\\x00b"),
    ("\udce9x\ud800", "?x?"), ("a\u202eb", "a\\x202eb"), ("\u2028", "\\x2028"), ("\x7f\x85", "\\x7f\\x85"), ("\t", "\\x09"), ("\u00a0", "\\xa0"),
])
def test_one_line(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize("length", [1999, 2000, 2001, 100000])
def test_one_line_is_bounded(length):
    line = one_line("x" * length)
    assert len(line) == min(length, 2000)
    assert line.endswith("...") == (length > 2000)
    assert len(one_line("\n" * length)) <= 2000
    assert len(one_line("x" * length, 50)) == 50


@pytest.fixture
def no_terminal(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)


@pytest.fixture
def files(tmp_path, no_terminal):
    return {"HA_LOGFILE": str(tmp_path / "log"), "HA_DEBUGLOG": str(tmp_path / "debug"), "HA_LOGTAG": "jobcenter(jc)[1]"}


def lines(path):
    return open(path, encoding="utf-8").read().splitlines() if os.path.exists(path) else []


def test_into_the_files(files, capfd):
    log = Log("tag", {**files, "HA_debug": "1"})
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e\nforged")
    assert [line.split("jobcenter(jc)[1]: ")[1] for line in lines(files["HA_LOGFILE"])] == ["INFO: i", "WARNING: w", "ERROR: e\\x0aforged"]
    assert [line.split("jobcenter(jc)[1]: ")[1] for line in lines(files["HA_DEBUGLOG"])] == ["DEBUG: d"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("debug", ["", "0", None])
def test_debug_only_where_asked_for(files, debug):
    log = Log("tag", {**files, **({"HA_debug": debug} if debug is not None else {})})
    log.debug("d")
    assert lines(files["HA_DEBUGLOG"]) == lines(files["HA_LOGFILE"]) == []


def test_debug_without_a_file_of_its_own_goes_into_the_log_file(files):
    del files["HA_DEBUGLOG"]
    Log("tag", {**files, "HA_debug": "1"}).debug("d")
    assert len(lines(files["HA_LOGFILE"])) == 1


def test_a_log_that_cannot_be_written_changes_nothing(files, tmp_path, capfd):
    for path in (str(tmp_path), str(tmp_path / "none" / "log"), "/dev/full"):
        Log("tag", {**files, "HA_LOGFILE": path}).error("e")
    os.mkfifo(tmp_path / "fifo")
    Log("tag", {**files, "HA_LOGFILE": str(tmp_path / "fifo")}).error("nobody reads: must not hang")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("facility", ["", "none"])
def test_without_file_and_facility_on_stderr(no_terminal, capfd, facility):
    log = Log("tag", {"HA_LOGFACILITY": facility})
    log.info("i")
    log.error("e", on_stderr=False)
    log.error("日本 \udce9")
    said = capfd.readouterr()
    assert said.out == "" and [" ".join(line.split(" ")[3:]) for line in said.err.splitlines()] == ["INFO: i", "ERROR: 日本 ?"]


@pytest.mark.parametrize("facility, number", [("daemon", "LOG_DAEMON"), ("local7", "LOG_LOCAL7"), ("nonsense", "LOG_DAEMON"),
                                              ("mask", "LOG_DAEMON"), ("upto", "LOG_DAEMON"), ("pid", "LOG_DAEMON"), ("MAIL", "LOG_MAIL")])
def test_to_syslog(no_terminal, mocker, capfd, facility, number):
    import syslog
    opened, told = mocker.patch("syslog.openlog"), mocker.patch("syslog.syslog")
    mocker.patch.object(Log, "_bounded", lambda self, name, write: write())  # else in a child
    log = Log("tag", {"HA_LOGFACILITY": facility, "HA_LOGTAG": "t"})
    log.warning("w")
    log.error("e")
    assert opened.call_args == mocker.call("t", 0, getattr(syslog, number))
    assert told.call_args_list == [mocker.call(syslog.LOG_WARNING, "WARNING: w"), mocker.call(syslog.LOG_ERR, "ERROR: e")]
    assert capfd.readouterr() == ("", "")


def test_the_default_tag_names_agent_and_pid(files):
    del files["HA_LOGTAG"]
    Log("jobcenter(jc)", files).info("i")
    assert "jobcenter(jc)[%d]: INFO: i" % os.getpid() in lines(files["HA_LOGFILE"])[0]


def test_a_hostile_tag_is_one_line(files):
    Log("tag", {**files, "HA_LOGTAG": "a\nb\x1b" + "x" * 500}).info("i")
    assert len(lines(files["HA_LOGFILE"])) == 1 and len(lines(files["HA_LOGFILE"])[0]) < 300


CODE = """import sys; sys.path.insert(0, %r)
from cjc_agent.tools.log import Log
log = Log("tag", {"HA_LOGFILE": sys.argv[1], "HA_LOGTAG": "t"})
log.info("i"); log.error("e", on_stderr=False)""" % str(AGENT)


def test_at_a_terminal_on_stderr_alone(tmp_path):
    master, slave = os.openpty()
    try:
        said = subprocess.run([sys.executable, "-I", "-S", "-c", CODE, str(tmp_path / "log")], stdin=slave, capture_output=True, check=True, timeout=10)
    finally:
        os.close(master)
        os.close(slave)
    assert (said.stdout, said.stderr) == (b"", b"t: INFO: i\n")
    assert not (tmp_path / "log").exists()


def test_without_a_terminal_into_the_file(tmp_path):
    said = subprocess.run([sys.executable, "-I", "-S", "-c", CODE, str(tmp_path / "log")], stdin=subprocess.DEVNULL, capture_output=True,
                          check=True, timeout=10)
    assert (said.stdout, said.stderr) == (b"", b"")
    assert len(lines(tmp_path / "log")) == 2


# -- the trace file ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def traced(files, tmp_path):
    log = Log("tag", files)
    yield log, tmp_path / "trace" / "call"
    if log._trace >= 0:
        os.close(log._trace)


def test_trace_takes_every_level_and_is_private(traced, files):
    log, path = traced
    log.trace("before: lost")
    log.trace_to(str(path))
    for say in (log.trace, log.debug, log.info, log.warning, log.error):
        say("x\ny")
    assert [line.split(" ")[-1] for line in lines(path)] == ["x\\x0ay"] * 5
    assert path.stat().st_mode & 0o777 == 0o600 and os.get_inheritable(log._trace) is False


def test_trace_never_goes_through_a_link(traced, files, tmp_path):
    log, path = traced
    path.parent.mkdir()
    (tmp_path / "target").write_text("precious")
    path.symlink_to(tmp_path / "target")
    log.trace_to(str(path))
    log.trace("x")
    assert (tmp_path / "target").read_text() == "precious"
    assert "this call is not traced" in lines(files["HA_LOGFILE"])[0]


@pytest.mark.parametrize("make", ["folder", "fifo", "below a file"])
def test_trace_that_cannot_be_opened_is_warned_about(traced, files, tmp_path, make):
    log, path = traced
    if make == "below a file":
        path.parent.write_text("")
    else:
        path.parent.mkdir()
        path.mkdir() if make == "folder" else os.mkfifo(path)
    log.trace_to(str(path))
    log.trace("x")
    assert [line.count("is not traced") for line in lines(files["HA_LOGFILE"])] == [1]


def others(path):
    path.write_text("")
    os.chown(path, 65534, 65534)


def hard_link(path):
    path.write_text("")
    os.link(path, path.parent / "other")


def writable(path):
    path.write_text("")
    path.chmod(0o666)


def watched_fifo(path):
    os.mkfifo(path, 0o600)
    os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def others_folder(path):
    os.chown(path.parent, 65534, 65534)


def open_folder(path):
    path.parent.chmod(0o777)


@pytest.mark.root
@pytest.mark.parametrize("make", [others, hard_link, writable, watched_fifo, others_folder, open_folder], ids=lambda make: make.__name__)
def test_trace_never_goes_where_others_have_laid_something(traced, files, make):
    log, path = traced
    path.parent.mkdir()
    make(path)
    log.trace_to(str(path))
    log.trace("cjcpw start --password")
    assert [line.count("is not traced") for line in lines(files["HA_LOGFILE"])] == [1]
    assert not path.is_file() or path.read_text() == ""


def test_trace_into_a_folder_like_tmp(traced, files):
    log, path = traced
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    log.trace_to(str(path))
    log.trace("x")
    assert len(lines(path)) == 1 and lines(files["HA_LOGFILE"]) == []


def test_true_words_are_those_of_ocf_is_true():
    assert set(module.TRUE_WORDS) == {"yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"}
