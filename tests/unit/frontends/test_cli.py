from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from cjc_agent import VERSION, actions
from cjc_agent.actions import Verdict
from cjc_agent.frontends import cli
from cjc_agent.settings import metadata
from cjc_agent.tools import processes, record
from unit.helpers import AGENT
from unit.operator import test_status

pytestmark = pytest.mark.usefixtures("unsettled")
SITE = ["--site", "jobsiteA", "--site_db", "/share/job_site"]


@pytest.fixture(autouse=True)
def as_root(monkeypatch, state_folder):
    """The check for root is in the way of a test with replaced actions; SIGTERM is put back as it was."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HA_RSCTMP", str(state_folder))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def called(monkeypatch):
    seen = []

    def install(verdict):
        for name in ("start", "stop", "monitor", "validate"):
            monkeypatch.setattr(actions, name, lambda *args, _name=name, **more: seen.append((_name, *args)) or verdict)
        return seen
    return install


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["start", "--bogus", "x"], ["start", "extra"], ["start", "--site"],
                                       ["meta-data", "--json"], ["start", *SITE, "--conf"]])
def test_wrong_usage_is_2(capfd, arguments):
    assert cli.main(arguments) == 2
    said = capfd.readouterr()
    assert said.out == "" and "usage: cjc-agent" in said.err and said.err.count("\n") <= 2, "what is wrong is not hidden below all options"


@pytest.mark.parametrize("arguments, words", [(["monitor"], "parameter site: is not given"), (["stop"], "or give --conf FILE: "),
                                              (["start", *SITE, "--port", "x"], "parameter port"),
                                              (["validate", *SITE, "--vip", "host"], "parameter vip"), (["status", "--site", "a"], "parameter site_db")])
def test_wrong_parameters_are_2(called, capfd, arguments, words):
    seen = called(Verdict(actions.GOOD))
    assert cli.main(arguments) == 2
    assert words in capfd.readouterr().err and seen == []


def test_stop_goes_on_with_what_it_can_use(called):
    seen = called(Verdict(actions.GOOD))
    assert cli.main(["stop", "--site", "jobsiteA", "--port", "x"]) == 0
    assert seen[0][0] == "stop"


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--help"], ["--version"]])
def test_help_is_0(capfd, arguments):
    assert cli.main(arguments) == 0
    assert capfd.readouterr().out


def test_version(capfd):
    cli.main(["--version"])
    assert capfd.readouterr().out == "cjc-agent %s\n" % VERSION


def test_meta_data(capfd):
    assert cli.main(["meta-data"]) == 0
    assert capfd.readouterr().out == metadata.xml()


VERDICTS = [(actions.GOOD, 0), (actions.FAILED, 1), (actions.STOPPED, 1), (actions.DEGRADED, 1), (actions.NOT_INSTALLED, 1), (actions.NOT_PERMITTED, 1),
            (actions.BAD_DIRECTORY, 1), (actions.MISCONFIGURED, 2)]
DONE = {"start": "started", "stop": "stopped", "monitor": "running", "validate": "good"}


@pytest.mark.parametrize("outcome, code", VERDICTS)
@pytest.mark.parametrize("verb", DONE)
def test_exit_codes_and_text(called, capfd, verb, outcome, code):
    called(Verdict(outcome, "" if outcome == actions.GOOD else "disk: 理由"))
    assert cli.main([verb, *SITE]) == code
    assert capfd.readouterr().out == "jobsiteA: %s\n" % (DONE[verb] if code == 0 else outcome + ": disk: 理由")


@pytest.mark.parametrize("outcome, code", VERDICTS)
def test_json(called, capfd, outcome, code):
    called(Verdict(outcome, "disk: \"理由\"\n"))
    assert cli.main(["monitor", "--json", *SITE]) == code
    assert json.loads(capfd.readouterr().out) == {"action": "monitor", "site": "jobsiteA", "outcome": outcome, "reason": "disk: \"理由\"\n"}


def test_what_comes_from_elsewhere_cannot_move_the_terminals_cursor(called, monkeypatch, capfd):
    """Process names, mount points and sources are anybody's choice."""
    hostile = "x\n\x1b[2J\x9b\u202e\udce9"
    called(Verdict(actions.FAILED, hostile))
    cli.main(["monitor", *SITE])
    cli.main(["monitor", *SITE, "--conf", "/no/such/" + hostile])
    said = capfd.readouterr()
    assert said.out == "jobsiteA: failed: x\\x0a\\x1b[2J\\x9b\\x202e?\n" and said.err.count("\n") == 1 and said.err[:-1].isprintable()
    cli.main(["monitor", "--json", *SITE])
    said = capfd.readouterr().out
    assert said[:-1].isascii() and said[:-1].isprintable() and json.loads(said)["reason"] == hostile

    seen = test_status.seen(hostile)
    monkeypatch.setattr("cjc_agent.operator.status.look", lambda *args: seen)
    cli.main(["status", *SITE])
    lines = capfd.readouterr().out.split("\n")
    assert len(lines) == test_status.LINES + 1 and all(line.isprintable() for line in lines)


def test_options_win_over_the_file(called, tmp_path):
    seen = called(Verdict(actions.GOOD))
    conf = tmp_path / "x.conf"
    conf.write_text("site = fromfile\nsite_db = /share/db\nport = 1111\nmonitor_level = 10\nmonitor_timeout = 60s\nstart_args =\n")
    assert cli.main(["monitor", "--conf", str(conf), "--port", "2222", "--site", "fromoption"]) == 0
    _, request, level = seen[0][:3]
    used = request.settings
    assert (used.site, used.site_db, used.port, used.start_args, level) == ("fromoption", "/share/db", 2222, (), 10)
    assert request.deadline.total() == pytest.approx(57)


@pytest.mark.parametrize("verb, seconds", [("start", 95), ("stop", 190 - 5), ("monitor", 28.5), ("validate", 28.5)])
def test_the_time_budget(called, verb, seconds):
    seen = called(Verdict(actions.GOOD))
    cli.main([verb, *SITE, "--start_timeout", "100s", "--stop-timeout", "190"])
    assert seen[0][1].deadline.total() == pytest.approx(seconds)


def test_both_spellings_of_an_option(called):
    seen = called(Verdict(actions.GOOD))
    assert cli.main(["monitor", "--site", "a", "--site-db", "/share/x", "--status-running", "0,5"]) == 0
    assert (seen[0][1].settings.site_db, seen[0][1].settings.status_running) == ("/share/x", (0, 5))


@pytest.mark.parametrize("text, words", [("sitedb = x\n", "x.conf line 1: unknown parameter 'sitedb': did you mean site_db?"), (None, "x.conf: No such file")])
def test_a_bad_file_is_2(called, capfd, tmp_path, text, words):
    called(Verdict(actions.GOOD))
    if text:
        (tmp_path / "x.conf").write_text(text)
    assert cli.main(["stop", "--conf", str(tmp_path / "x.conf")]) == 2
    assert words in capfd.readouterr().err


def test_an_option_s_value_may_be_two_dashes(called):
    seen = called(Verdict(actions.GOOD))
    assert cli.main(["monitor", *SITE, "--start_args=--"]) == 0
    assert seen[0][1].settings.start_args == ("--",)


def test_a_relative_conf_file_is_relative_to_the_callers_folder(called, monkeypatch, tmp_path):
    called(Verdict(actions.GOOD))
    (tmp_path / "x.conf").write_text("site = a\nsite_db = /share/x\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["monitor", "--conf", "x.conf"]) == 0


@pytest.mark.parametrize("verb, code", [("start", 2), ("stop", 2), ("monitor", 2), ("status", 2), ("validate", 0)])
def test_root_is_needed_but_for_validate(called, monkeypatch, capfd, verb, code):
    called(Verdict(actions.GOOD))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main([verb, *SITE]) == code
    assert ("needs root" in capfd.readouterr().err) is (code == 2)


def test_ctrl_c_is_1_and_says_what_to_do(monkeypatch, capfd):
    def interrupt(request):
        raise KeyboardInterrupt
    monkeypatch.setattr(actions, "start", interrupt)
    assert cli.main(["start", *SITE]) == 1
    assert "cjc-agent status" in capfd.readouterr().err


def test_as_a_program():
    said = subprocess.run([sys.executable, "-I", "-S", str(AGENT), "validate"], cwd="/", timeout=20, capture_output=True, text=True, env={})
    assert (said.returncode, said.stdout) == (2, "") and said.stderr.startswith("cjc-agent: parameter site: is not given")


def test_a_stop_by_a_broken_file_needs_a_record(called, tmp_path, state_folder, capfd, monkeypatch):
    monkeypatch.setenv("HA_RSCTMP", str(state_folder))
    path = tmp_path / "x.conf"
    path.write_text("site = jobsiteA\nfoo = 1\n")
    seen = called(Verdict(actions.GOOD))
    assert cli.main(["stop", "--conf", str(path)]) == 2 and seen == [] and "line 2: unknown parameter 'foo'" in capfd.readouterr().err
    record.save(str(state_folder), record.Record({"site": "jobsiteA", "site_db": "/share/x"}, str(path), processes.boot_id(), {}, 0, [], None))
    assert cli.main(["stop", "--conf", str(path)]) == 0 and [call[0] for call in seen] == ["stop"]


# -- render ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rendering(tmp_path):
    """A configuration file, and the words that render it."""
    path = tmp_path / "jobsiteA.conf"
    path.write_text("site = jobsiteA\nsite_db = /share/job_site\nstart_timeout = 300s\n")
    return ["render", "clusterpro", "--conf", str(path), "--group", "jobs", "--resource", "exec-jobs", "--output", str(tmp_path / "out")]


def test_render_writes_the_scripts_and_prints_the_commands(rendering, capfd, tmp_path):
    assert cli.main(rendering) == 0
    said = capfd.readouterr().out
    assert "clpcfset add rscparam exec exec-jobs parameters/timeout/start 300\n" in said and "clpcfadm.py add mon genw genw-exec-jobs\n" in said
    start = tmp_path / "out" / "scripts" / "jobs" / "exec-jobs" / "start.sh"
    assert "CJC_AGENT_CONF=%s\n" % (tmp_path / "jobsiteA.conf") in start.read_text()


def test_render_as_json(rendering, capfd):
    assert cli.main([*rendering, "--json", "--monitor", "mon1"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert [len(said[name]) for name in ("files", "clpcfset", "clpcfadm")] == [3, 27, 27] and said["files"][2].endswith("monitor.s/mon1/genw.sh")


def test_render_needs_no_root(rendering, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(rendering) == 0


@pytest.mark.parametrize("line, words", [("sitedb = /x", "line 4: unknown parameter 'sitedb'"), ("port = x", "line 4: parameter port: 'x'"),
                                         ("stop_timeout = 3h", "CLUSTERPRO takes at most 9999 s")])
def test_render_refuses_a_file_that_is_not_right(rendering, capfd, tmp_path, line, words):
    (tmp_path / "jobsiteA.conf").open("a").write(line + "\n")
    assert cli.main(rendering) == 2
    said = capfd.readouterr()
    assert words in said.err and said.out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", [["--group", "a b"], ["--output", "/opt/nec/clusterpro/etc"], ["--output", "/usr/lib/nqs/x"], ["--conf", "/none"]])
def test_render_refuses_what_it_cannot_do(rendering, capfd, extra):
    assert cli.main([*rendering, *extra]) == 2
    assert extra[1] in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["render"], ["render", "pacemaker"], ["render", "clusterpro", "--group", "g"]])
def test_render_used_wrongly(capfd, arguments):
    assert cli.main(arguments) == 2 and "usage: cjc-agent render" in capfd.readouterr().err


def test_all_that_is_wrong_is_said_at_once(capfd, tmp_path):
    (tmp_path / "x.conf").write_text("site = a\nfoo = 1\nbar\n")
    assert cli.main(["validate", "--conf", str(tmp_path / "x.conf")]) == 2
    assert capfd.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("arguments, words", [(["--help"], "usage: cjc-agent"), (["render", "--help"], "--overwrite"), (["--version"], VERSION)])
def test_help_reaches_a_pipe(arguments, words):
    done = subprocess.run([sys.executable, "-I", "-S", str(AGENT), *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and words in done.stdout
