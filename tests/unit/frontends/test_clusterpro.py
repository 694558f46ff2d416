from __future__ import annotations

import itertools
import os
import subprocess

import pytest

from cjc_agent import actions
from cjc_agent.actions import Verdict
from cjc_agent.frontends import clusterpro, origin
from cjc_agent.settings import conf_file
from cjc_agent.tools import log as logging
from cjc_agent.tools import processes, record, startup
from cjc_agent.tools.lock import Holder
from cjc_agent.tools.record import Record
from unit.helpers import AGENT, GIVEN

ACTIONS = {"start": "start", "stop": "stop", "monitor": "monitor"}
CLPLOGCMD = """#!/bin/sh
printf '%s\\n' "$@" >>{0}/said
exit {1}
"""


@pytest.fixture(autouse=True)
def folder(unsettled, monkeypatch, state_folder, tmp_path):
    """A server with one configuration file and a clplogcmd that writes its arguments, one a line, into the file `said`."""
    monkeypatch.setenv("HA_RSCTMP", str(state_folder))
    monkeypatch.setenv("CLP_PATH", str(tmp_path / "clusterpro"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(conf_file, "FOLDER", str(tmp_path / "etc"))
    monkeypatch.setattr(logging.Log, "_to_syslog", lambda self, level, text: (tmp_path / "syslog").open("a").write(level + " " + text + "\n"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "clusterpro" / "bin").mkdir(parents=True)
    clplogcmd(tmp_path)
    write(tmp_path)
    return tmp_path


def clplogcmd(folder, code=0):
    path = folder / "clusterpro" / "bin" / "clplogcmd"
    path.write_text(CLPLOGCMD.format(folder, code))
    path.chmod(0o755)


def write(folder, name="jobsiteA", **more):
    """Write a configuration file; return its path."""
    path = folder / "etc" / (name + ".conf")
    path.write_text("".join("%s = %s\n" % pair for pair in {**GIVEN, "site": name, **more}.items()))
    return str(path)


def said(folder):
    """(level, message) of all that clplogcmd was called with."""
    path = folder / "said"
    words = path.read_text().split("\n")[:-1] if path.exists() else []
    calls = [words[number:number + 4] for number in range(0, len(words), 4)]
    assert all((call[0], call[2]) == ("-m", "-l") for call in calls)
    return [(call[3], call[1]) for call in calls]


@pytest.fixture
def called(monkeypatch):
    """Replace all actions: what they are called with is noted, `verdict` is what they answer."""
    seen = []

    def install(verdict):
        for name in ACTIONS.values():
            monkeypatch.setattr(actions, name, lambda *args, _name=name, **more: seen.append((_name, *args)) or verdict)
        return seen
    return install


def saved(state_folder, **more):
    values = {"settings": dict(GIVEN), "instance": "", "boot": processes.boot_id(), "disk": {}, "port": 20816, "daemons": [], "resident": None}
    record.save(str(state_folder), Record(**{**values, **more}))


# -- what start.sh answers before it looks -----------------------------------------------------------------------------------------------


EVENTS = {None: (1, "CLP_EVENT is not set"), "START": (0, ""), "FAILOVER": (0, ""), "RECOVER": (0, "CLP_EVENT=RECOVER"), "junk": (1, "CLP_EVENT=junk")}


@pytest.mark.parametrize("event, disk, server", list(itertools.product(EVENTS, (None, "SUCCESS", "FAILURE"), (None, "HOME", "OTHER"))))
def test_events(called, folder, monkeypatch, event, disk, server):
    for name, value in (("CLP_EVENT", event), ("CLP_DISK", disk), ("CLP_SERVER", server)):
        if value is not None:
            monkeypatch.setenv(name, value)
    code, words = EVENTS[event]
    if event in ("START", "FAILOVER") and disk == "FAILURE":
        code, words = 1, "CLP_DISK=FAILURE"
    seen = called(Verdict(actions.GOOD))
    assert clusterpro.main(["start"]) == code
    assert [call[0] for call in seen] == ([] if words else ["start"])
    level, message = said(folder)[0]
    assert (level, len(said(folder))) == ("ERR" if code else "INFO", 1) and words in message
    if not words or event == "RECOVER":
        assert "ERR" not in level
    elif event not in ("START", "FAILOVER"):
        assert "cjc-agent start --conf FILE" in message
    seen.clear()
    assert clusterpro.main(["stop"]) == 0 and [call[0] for call in seen] == ["stop"]


def test_recover_and_a_failed_disk_do_not_even_read_the_file(called, folder, monkeypatch):
    monkeypatch.setattr(conf_file, "choose", lambda environ: pytest.fail("was read"))
    monkeypatch.setenv("CLP_EVENT", "RECOVER")
    assert clusterpro.main(["start"]) == 0
    monkeypatch.setenv("CLP_EVENT", "START")
    monkeypatch.setenv("CLP_DISK", "FAILURE")
    assert clusterpro.main(["start"]) == 1


@pytest.mark.parametrize("outcome", [actions.FAILED, actions.STOPPED, actions.DEGRADED, actions.MISCONFIGURED, actions.NOT_INSTALLED,
                                     actions.NOT_PERMITTED, actions.BAD_DIRECTORY])
@pytest.mark.parametrize("verb", ["start", "stop"])
def test_whatever_is_not_good_is_1_with_its_reason(called, folder, monkeypatch, capfd, verb, outcome):
    monkeypatch.setenv("CLP_EVENT", "START")
    called(Verdict(outcome, "layer: object: what\nto do"))
    assert clusterpro.main([verb]) == 1
    words = "cjc-agent %s jobsiteA: layer: object: what\\x0ato do" % verb
    assert said(folder) == [("ERR", words)]
    err = capfd.readouterr().err
    assert err.endswith(" ERROR: %s\n" % words) and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["status"], ["start", "stop"], [""], ["genw"]])
def test_wrong_use_is_1(called, capfd, arguments):
    seen = called(Verdict(actions.GOOD))
    assert clusterpro.main(arguments) == 1 and seen == []
    assert "start, stop, monitor" in capfd.readouterr().err


@pytest.mark.parametrize("verb, name", [("start", "start_timeout"), ("stop", "stop_timeout"), ("monitor", "monitor_timeout")])
def test_the_deadline_is_the_file_s_and_ends_before_clusterpro_s(called, folder, monkeypatch, verb, name):
    monkeypatch.setenv("CLP_EVENT", "START")
    write(folder, **{name: "100s"})
    seen = called(Verdict(actions.GOOD))
    clusterpro.main([verb])
    assert 90 < seen[0][1].deadline.left() <= 95 and seen[0][1].instance == str(folder / "etc" / "jobsiteA.conf")


def test_the_stop_of_a_broken_file_has_the_time_of_the_record(called, folder, state_folder):
    path = write(folder, stop_timeout="x")
    saved(state_folder, instance=path, settings={**GIVEN, "stop_timeout": "50s"})
    seen = called(Verdict(actions.GOOD))
    clusterpro.main(["stop"])
    assert 45 < seen[0][1].deadline.left() <= 47.5


def test_only_root(called, folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CLP_EVENT", "START")
    seen = called(Verdict(actions.GOOD))
    assert [clusterpro.main([verb]) for verb in ACTIONS] == [1, 1, 1] and seen == []
    assert all("needs root" in message for _, message in said(folder))


def test_a_node_that_cannot_be_seen(called, folder, monkeypatch):
    monkeypatch.setattr(clusterpro, "blind", lambda: "/proc is not there: mount it")
    seen = called(Verdict(actions.GOOD))
    assert clusterpro.main(["monitor"]) == 1 and seen == [] and "/proc is not there" in said(folder)[0][1]


@pytest.mark.parametrize("verb", ACTIONS)
def test_an_unexpected_exception_is_one_line_and_1(folder, monkeypatch, state_folder, capfd, verb):
    monkeypatch.setenv("CLP_EVENT", "START")
    monkeypatch.setattr(actions, verb, lambda *args, **more: 1 // 0)
    assert clusterpro.main([verb]) == 1
    assert "unexpected ZeroDivisionError" in said(folder)[0][1] and "Traceback" in (state_folder / ("cjc-agent-unexpected." + verb)).read_text()
    assert capfd.readouterr().err.count("\n") == 1


def test_what_is_needed_to_answer_cannot_be_had(monkeypatch, capfd):
    monkeypatch.setattr(clusterpro, "settle", lambda: 1 // 0)
    assert clusterpro.main(["monitor"]) == 1
    assert "look what this node lacks" in capfd.readouterr().err


def test_trace(called, folder, monkeypatch):
    monkeypatch.setattr(logging, "TRACE_FOLDER", str(folder / "trace"))
    write(folder, trace="1")
    called(Verdict(actions.FAILED, "x: y"))
    clusterpro.main(["stop"])
    assert "x: y" in next((folder / "trace").glob("jobsiteA.stop.*")).read_text()


# -- messages ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, limit, result", [
    ("abc", 40, "abc"), ("x" * 50, 40, "x" * 37 + "..."), ("日本語" * 20, 40, "日本語" * 4 + "..."), ("x" + "日" * 20, 41, "x" + "日" * 12 + "..."),
    ("日" * 13, 39, "日" * 13), ("\U0001f4be" * 20, 40, "\U0001f4be" * 9 + "..."), ("\ud800x", 40, "?x")])
def test_cut_on_a_character_boundary(text, limit, result):
    assert clusterpro.cut(text, limit) == result and len(result.encode()) <= limit


def test_each_thing_is_said_once(folder, capfd):
    log = clusterpro.Log("stop", str(folder))
    for _ in range(3):
        log.warning("x: y")
    assert len(said(folder)) == 1 and capfd.readouterr().err.count("\n") == 1


def test_a_long_message_fits_the_limit_of_the_file(called, folder, capfd):
    write(folder, log_limit="130")
    called(Verdict(actions.FAILED, "disk: " + "日" * 100))
    clusterpro.main(["stop"])
    message = said(folder)[0][1]
    assert message.startswith("cjc-agent stop jobsiteA: disk: 日") and message.endswith("日...") and 128 <= len(message.encode()) <= 130
    assert "日" * 100 in capfd.readouterr().err, "there the whole of it"


@pytest.mark.parametrize("how", ["missing", "fails", "hangs"])
def test_without_clplogcmd_it_is_syslog_and_the_answer_is_the_same(called, folder, monkeypatch, how):
    monkeypatch.setattr(clusterpro, "_clplogcmds", lambda environ: [str(folder / "clusterpro" / "bin" / "clplogcmd")])
    monkeypatch.setattr(logging, "PATIENCE", 0.3)
    path = folder / "clusterpro" / "bin" / "clplogcmd"
    if how == "missing":
        path.unlink()
    elif how == "fails":
        clplogcmd(folder, code=9)
    else:
        path.write_text("#!/bin/sh\nexec sleep 60\n")
    called(Verdict(actions.FAILED, "x: y"))
    assert clusterpro.main(["stop"]) == 1
    assert (folder / "syslog").read_text() == "ERROR cjc-agent stop jobsiteA: x: y\n"


def test_where_clplogcmd_is_looked_for():
    assert clusterpro._clplogcmds({"CLP_PATH": "/opt/x/"}) == ["/opt/x/bin/clplogcmd", "/opt/nec/clusterpro/bin/clplogcmd", "/usr/sbin/clplogcmd"]
    for environ in ({}, {"CLP_PATH": "x"}):
        assert clusterpro._clplogcmds(environ) == ["/opt/nec/clusterpro/bin/clplogcmd", "/usr/sbin/clplogcmd"]


# -- a configuration that is not right ---------------------------------------------------------------------------------------------------


def broken(folder, how):
    """Spoil the configuration; return words of the complaint."""
    path = write(folder)
    if how == "unknown key":
        write(folder, sitedb="/x")
        return "line 3: unknown parameter 'sitedb': did you mean site_db?"
    if how == "bad value":
        write(folder, port="x")
        return "line 3: parameter port: 'x' is no TCP port"
    if how == "missing":
        os.unlink(path)
        return "holds no *.conf file"
    if how == "two files":
        write(folder, "jobsiteB", site_db="/share/job_siteB")
        return "say which is this site's in the script's line CJC_AGENT_CONF="
    os.chmod(path, 0o666)
    return "writable by others"


HOW = ("unknown key", "bad value", "missing", "two files", "writable by others")


@pytest.mark.parametrize("how", HOW)
def test_start_and_monitor_say_what_is_wrong_and_touch_nothing(folder, monkeypatch, how):
    words = broken(folder, how)
    monkeypatch.setenv("CLP_EVENT", "START")
    monkeypatch.setattr(actions, "_start", lambda stack, clock: pytest.fail("started"))
    for verb in ("start", "monitor"):
        assert clusterpro.main([verb]) == 1
    assert [level for level, _ in said(folder)] == ["ERR", "ERR"] and all(words in message for _, message in said(folder))


@pytest.mark.parametrize("how", [how for how in HOW if how != "two files"])
def test_stop_acts_on_the_record_and_warns(folder, monkeypatch, state_folder, how):
    monkeypatch.setenv("CJC_AGENT_CONF", write(folder))
    words = broken(folder, how).replace("holds no *.conf file", "No such file")
    saved(state_folder, instance=str(folder / "etc" / "jobsiteA.conf"))
    seen = []
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: seen.append(stack) or Verdict(actions.GOOD))
    assert clusterpro.main(["stop"]) == 0
    assert seen[0].settings.site == "jobsiteA" and seen[0].record is not None
    assert said(folder)[0][0] == "WARN" and words in said(folder)[0][1] and "by the record" in said(folder)[0][1]


@pytest.mark.parametrize("how", HOW)
def test_monitor_by_the_record_does_not_fail_for_a_slip_of_the_pen(folder, monkeypatch, state_folder, how):
    monkeypatch.setenv("CJC_AGENT_CONF", write(folder))
    broken(folder, how)
    saved(state_folder, instance=str(folder / "etc" / "jobsiteA.conf"))
    monkeypatch.setattr(actions, "_monitor", lambda stack, level, probing: Verdict(actions.GOOD))
    assert clusterpro.main(["monitor"]) == 0
    assert [level for level, _ in said(folder)] == ([] if how == "two files" else ["WARN"]), "it is said, each time"


SEEN = [(Verdict(actions.STOPPED), 0), (Verdict(actions.GOOD), 1), (Verdict(actions.FAILED, "site: cjcpw[5] is left"), 1), (Verdict(actions.DEGRADED), 1)]


@pytest.mark.parametrize("verdict, code", SEEN)
@pytest.mark.parametrize("how", ["unknown key", "bad value", "two files"])
def test_stop_without_a_record_is_good_only_after_seeing_that_nothing_is_there(folder, monkeypatch, how, verdict, code):
    words = broken(folder, how)
    looked = []
    monkeypatch.setattr(actions, "stop", lambda request: pytest.fail("acted on what it does not know"))
    monkeypatch.setattr(actions, "_monitor", lambda stack, level, probing: looked.append(stack.settings.site) or verdict)
    assert clusterpro.main(["stop"]) == code
    (first, complaint), (level, message) = said(folder)
    assert (first, level) == ("WARN", "ERR" if code else "INFO") and words in complaint and verdict.reason in message
    assert looked == (["jobsiteA", "jobsiteB"] if how == "two files" and not code else ["jobsiteA"])


@pytest.mark.parametrize("how", ["missing", "writable by others"])
def test_stop_of_a_site_that_nothing_names_is_1(folder, monkeypatch, how):
    words = broken(folder, how)
    monkeypatch.setattr(actions, "_monitor", lambda *args: pytest.fail("whose?"))
    assert clusterpro.main(["stop"]) == 1
    assert words in said(folder)[0][1] and "which site this is" in said(folder)[1][1]


def test_stop_while_somebody_works_on_a_site_that_has_no_record_yet(folder, monkeypatch):
    broken(folder, "unknown key")
    monkeypatch.setattr(actions, "at_work", lambda request: holder("start", 3))
    monkeypatch.setattr(actions, "_monitor", lambda *args: Verdict(actions.STOPPED))
    assert clusterpro.main(["stop"]) == 1 and "start (pid 77) has been at work" in said(folder)[1][1]


@pytest.mark.parametrize("instance, expected", [("exec1@/etc/a.conf", ("exec1", "/etc/a.conf")), ("/etc/a.conf", ("", "/etc/a.conf")),
                                              ("rsc-pacemaker", ("", "")), ("", ("", "")), ("a@/c@/d@e.conf", ("a", "/c@/d@e.conf"))])
def test_what_a_site_was_started_by(instance, expected):
    assert origin.origin(Record({}, instance, "", {}, 0, [], None)) == expected


@pytest.mark.parametrize("given, name", [("exec-a_1", "exec-a_1"), ("", ""), ("a/b", ""), ("a@b", ""), ("a b", ""), ("-", "")])
def test_the_name_of_a_resource(given, name):
    assert clusterpro._resource({"CLP_RESOURCENAME": given}) == name


def test_a_stop_that_cannot_choose_says_1_beside_any_started_site(folder, state_folder, monkeypatch):
    write(folder, "jobsiteB", site_db="/share/job_siteB")
    saved(state_folder, settings={**GIVEN, "site": "jobsiteC"}, instance="/elsewhere/c.conf")
    monkeypatch.setattr(actions, "_monitor", lambda stack, level, probing: Verdict(actions.STOPPED))
    assert clusterpro.main(["stop"]) == 1
    assert "jobsiteC was started on this node" in said(folder)[1][1]


def test_a_relative_name_is_no_reason_to_look_at_other_files(folder, monkeypatch):
    monkeypatch.setenv("CJC_AGENT_CONF", "etc/jobsiteA.conf")
    monkeypatch.setattr(actions, "_monitor", lambda *args: pytest.fail("looked at another's"))
    assert clusterpro.main(["stop"]) == 1 and "not an absolute path" in said(folder)[0][1]


# -- genw.sh -----------------------------------------------------------------------------------------------------------------------------


def holder(what, seconds):
    made = Holder(0, [])
    made.pid, made.what, made.seconds = 77, what, seconds
    return made


@pytest.mark.parametrize("expect, verdict, code", [
    ("auto", Verdict(actions.GOOD), 0), ("auto", Verdict(actions.STOPPED, "no process"), 0), ("auto", Verdict(actions.FAILED, "x: y"), 1),
    ("auto", Verdict(actions.DEGRADED, "disk: full"), 1), ("active", Verdict(actions.GOOD), 0), ("active", Verdict(actions.STOPPED, "no process"), 1),
    ("active", Verdict(actions.FAILED, "x: y"), 1)])
def test_what_is_good(called, folder, expect, verdict, code):
    write(folder, monitor_expect=expect, monitor_level="10")
    seen = called(verdict)
    assert clusterpro.main(["monitor"]) == code
    assert seen[0][2] == 10
    messages = said(folder)
    assert len(messages) == code, "what is good is not told every minute"
    if verdict.outcome == actions.STOPPED and code:
        assert "jobsiteA does not run here, and monitor_expect=active" in messages[0][1]


@pytest.mark.parametrize("what, seconds, code", [("start", 99, 0), ("start", 101, 1), ("stop", 49, 0), ("stop", 51, 1), ("", 99, 0), ("", 101, 1),
                                                 ("reload-agent", 101, 1)])
def test_while_a_start_or_stop_is_at_work(called, folder, monkeypatch, what, seconds, code):
    write(folder, start_timeout="100s", stop_timeout="50s")
    seen = called(Verdict(actions.FAILED, "half up"))
    monkeypatch.setattr(actions, "at_work", lambda request: holder(what, seconds))
    assert clusterpro.main(["monitor"]) == code and seen == []
    level, message = said(folder)[0]
    assert "(pid 77) has been at work on site jobsiteA for %d s" % seconds in message
    assert (level, ("longer than its timeout" in message)) == (("ERR", True) if code else ("INFO", False))


def test_what_was_seen_while_a_stop_began_is_not_judged(called, folder, monkeypatch):
    seen = called(Verdict(actions.FAILED, "half down"))
    work = iter([None, holder("stop", 1), holder("stop", 1)])
    monkeypatch.setattr(actions, "at_work", lambda request: next(work))
    assert clusterpro.main(["monitor"]) == 0 and len(seen) == 1


def test_what_was_seen_while_a_stop_came_and_went_is_looked_at_again(folder, monkeypatch):
    verdicts = iter([Verdict(actions.FAILED, "half down"), Verdict(actions.STOPPED)])
    marks = iter([b"1", b"2", b"2", b"2"])
    monkeypatch.setattr(actions, "monitor", lambda *args, **more: next(verdicts))
    monkeypatch.setattr(actions, "last_at_work", lambda request: next(marks))
    assert clusterpro.main(["monitor"]) == 0


def test_a_site_that_is_never_left_alone_is_bad_in_the_end(folder, monkeypatch, called):
    seen = called(Verdict(actions.FAILED, "x: y"))
    marks = itertools.count()
    monkeypatch.setattr(actions, "last_at_work", lambda request: b"%d" % next(marks))
    assert clusterpro.main(["monitor"]) == 1 and len(seen) == clusterpro.LOOKS


@pytest.mark.parametrize("recorded", [True, False])
def test_only_where_nothing_was_started_it_is_a_probe(folder, monkeypatch, state_folder, recorded):
    if recorded:
        saved(state_folder)
    seen = []
    monkeypatch.setattr(actions, "_monitor", lambda stack, level, probing: seen.append(probing) or Verdict(actions.GOOD))
    clusterpro.main(["monitor"])
    assert seen == [not recorded]


# -- the scripts -------------------------------------------------------------------------------------------------------------------------


SHELLS = [["dash", "-u"], ["bash", "-u"], ["bash", "--posix", "-u"]]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("name, said_by", [("start", "cjc-agent start: CLP_EVENT=RECOVER"), ("stop", "cjc-agent stop: "), ("genw", "cjc-agent monitor: ")])
def test_the_scripts_run_under_every_shell(shell, name, said_by, tmp_path):
    """They need no variable, and no PATH; a function that was exported to them changes nothing."""
    missing = str(tmp_path / "none.conf")
    done = subprocess.run([*shell, str(AGENT.parent / "clusterpro" / (name + ".sh"))], capture_output=True, text=True, timeout=30, check=False, cwd="/",
                          env={"CLP_EVENT": "RECOVER", "CJC_AGENT_CONF": missing, "CLP_PATH": "/none", "BASH_FUNC_[%%": "() { return 1; }",
                               "BASH_FUNC_printf%%": "() { exit 0; }", "NQS_SITE": "other"})
    assert done.returncode == (0 if name == "start" else 1) and said_by in done.stderr and done.stdout == ""
    if name != "start":
        assert missing + ": No such file" in done.stderr or "needs root" in done.stderr


def test_a_script_without_the_agent_on_the_server(tmp_path):
    for name in ("start", "stop", "genw"):
        path = tmp_path / (name + ".sh")
        path.write_text((AGENT.parent / "clusterpro" / path.name).read_text().replace("AGENT=''", "AGENT='/none/cjc-agent'"))
        done = subprocess.run(["sh", "-u", str(path)], capture_output=True, text=True, timeout=30, check=False, env={})
        assert done.returncode == 1 and "/none/cjc-agent is not on this server: make install" in done.stderr


def test_settle_drops_what_must_not_leak():
    assert clusterpro.settle is startup.settle
