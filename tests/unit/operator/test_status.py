from __future__ import annotations

import json
import os
import re
import time

import pytest

from cjc_agent import actions
from cjc_agent.actions import Request, Verdict
from cjc_agent.frontends import cli
from cjc_agent.operator import cib, status
from cjc_agent.settings import conf_file
from cjc_agent.tools import processes, record
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.record import Record
from unit.helpers import DEFAULTS, GIVEN, ROOT

LINES = 15  # of a text in which everything is told once


def seen(word="x", **more):
    """What `look` returns, with a word wherever a text is somebody else's."""
    return {
        "site": "jobsiteA", "node": word, "state": "failed", "reason": word, "layers": {"disk": {"state": "failed", "detail": word},
                                                                                       "vip": {"state": "failed", "detail": word}},
        "at_work": {"action": word, "pid": 5, "seconds": 1.0}, "vips": [{"address": word, "interface": word, "worth": word}], "daemons": [word],
        "unseen": word, "record": {"instance": word, "finished": False, "daemons": 2, "alive": 1}, "record_doubt": word,
        "history": [{"action": "start", "began": 0, "seconds": 1.5, "outcome": word, "reason": word, "steps": [[word, 0.5]], "idle": False}],
        "history_doubt": word, "changed": [{"name": word, "started_with": word, "now": word}], "problems": [word], "source": word, "port": 1,
        "port_from": word, "listeners": [{"address": word, "processes": [word]}], "timeouts": {word: word}, "timeouts_from": word, "cluster": word,
        "settings": dict.fromkeys(status.SHOWN, word), "cjcpw": word, **more}


def lines_of(**more):
    return status.text(seen(**more)).split("\n")


def line_of(name, **more):
    """The words behind a name."""
    [line] = [line for line in lines_of(**more) if line.startswith("  %s " % name)]
    return line[12:]


def test_a_text_has_a_line_for_each_thing():
    assert len(lines_of()) == LINES and lines_of()[0] == "site jobsiteA: failed: x"


@pytest.mark.parametrize("page", ["clusterpro.md", "clusterpro.ja.md"])
def test_the_example_of_the_documentation_is_what_is_told(page):
    [example] = re.findall(r"^site jobsiteA: running\n.*?(?=^```)", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    told = lines_of(at_work=None, problems=[], changed=[], cluster="", layers=dict.fromkeys(("disk", "vip", "site"), {"state": "running", "detail": ""}))
    assert [line[:12] for line in example.split("\n")[1:-2]] == [line[:12].ljust(12) for line in told[1:-1]]


def entry(**more):
    return {"action": "start", "began": 1795835527, "seconds": 1.238, "outcome": "good", "reason": "", "idle": False,
            "steps": [["lock", 0.0], ["disk", 0.31], ["vip", 0.002], ["site", 0.93]], **more}


@pytest.mark.parametrize("one, words", [
    (entry(), "start 2026-11-28 03:12:07 good 1.24 s: disk 0.31, vip 0.00, site 0.93"),
    (entry(steps=[["lock", 0.5]], outcome="failed", reason="lock: busy"), "start 2026-11-28 03:12:07 failed 1.24 s: lock 0.50 - lock: busy"),
    (entry(steps=[], outcome="misconfigured", reason="parameter port: x", seconds=0), "start 2026-11-28 03:12:07 misconfigured 0.00 s - parameter port: x"),
    (entry(idle=True), "start 2026-11-28 03:12:07 good 1.24 s (it ran already): disk 0.31, vip 0.00, site 0.93"),
    (entry(action="stop", idle=True, steps=[["site", 0.5]]), "stop  2026-11-28 03:12:07 good 1.24 s (it did not run): site 0.50"),
    (entry(action="stop", idle=True, outcome="failed", steps=[["site", 0.5]]), "stop  2026-11-28 03:12:07 failed 1.24 s: site 0.50"),
])
def test_an_entry_of_the_history(monkeypatch, one, words):
    monkeypatch.setattr(time, "localtime", time.gmtime)
    assert lines_of(history=[one])[-1] == "  " + words


def test_only_the_newest_are_told():
    told = lines_of(history=[entry(seconds=number) for number in range(20)])[-status.TOLD - 1:]
    assert told[0] == "last starts and stops, the newest first:" and " 0.00 s" in told[1] and " 5.00 s" in told[-1]


@pytest.mark.parametrize("doubt, words", [("", "no start and no stop since this node was booted"), ("/x: remove it", "/x: remove it")])
def test_no_history(doubt, words):
    assert line_of("history", history=[], history_doubt=doubt) == words


USABLE = [{"address": "10.0.0.1", "interface": "eth0", "worth": "usable"}]


@pytest.mark.parametrize("state, vips, words", [
    ("running", USABLE, "running  10.0.0.1 on eth0"), ("running", [], "running  no address asked for"),
    ("failed", [*USABLE, {"address": "10.0.0.2", "interface": "", "worth": ""}], "failed   10.0.0.1 on eth0, 10.0.0.2 (not on this node)"),
    ("failed", [{"address": "10.0.0.1", "interface": "eth0", "worth": "link down"}], "failed   10.0.0.1 on eth0 (link down)"),
])
def test_vips(state, vips, words):
    layers = {"vip": {"state": state, "detail": "why" if vips else "no address asked for"}}
    assert line_of("vip", layers=layers, vips=vips) == words


@pytest.mark.parametrize("name, more, words", [
    ("port", {"listeners": []}, "1 (x): nobody listens"),
    ("port", {"listeners": [{"address": "0.0.0.0", "processes": []}]}, "1 (x): somebody who cannot be seen here listens on 0.0.0.0"),
    ("daemons", {"daemons": [], "unseen": ""}, "none"), ("daemons", {"daemons": ["a[5]", "b[6]"], "unseen": ""}, "a[5], b[6]"),
    ("daemons", {"daemons": [], "unseen": "no time"}, "none - not all could be seen: no time"),
    ("record", {"record": None, "record_doubt": ""}, "none: not started on this node, or stopped since"),
    ("record", {"record": None, "record_doubt": "/x: remove it"}, "/x: remove it"),
    ("record", {"record": {"instance": "rsc", "finished": True, "daemons": 3, "alive": 3}}, "started by rsc, 3 of 3 recorded daemons live"),
    ("record", {"record": {"instance": "rsc", "finished": True, "daemons": 7, "alive": 3}}, "started by rsc, 3 of 7 recorded daemons live"),
    ("record", {"record": {"instance": "", "finished": False, "daemons": 0, "alive": 0}}, "a start by hand did not finish, 0 of 0 recorded daemons live"),
    ("cjcpw", {"cjcpw": ""}, "x is not found below x"),
    ("timeouts", {"timeouts": {"start": "180s", "monitor 10s": "30s"}, "timeouts_from": ""}, "start 180s, monitor (every 10s) 30s"),
    ("changed", {"changed": [{"name": "vip", "started_with": "", "now": "10.0.0.1"}]},
     "vip: 10.0.0.1 now, started with none, which counts until the next start"),
])
def test_rows(name, more, words):
    assert line_of(name, **more) == words


def test_what_is_well_is_not_told():
    names = [line.split()[0] for line in lines_of(at_work=None, changed=[], problems=[], cluster="")]
    assert not {"at", "changed", "problem", "cluster"} & set(names)


# -- looking -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def look(monkeypatch, state_folder, log):
    """Look at a site of which nothing is here; the monitor answers as it is told, and is told as what it was asked."""
    asked = []

    def call(verdict, **given):
        monkeypatch.setattr(actions, "monitor", lambda request, level, probing: asked.append((request, level, probing)) or verdict)
        request = Request({**GIVEN, "nqs_home": "/nonexistent", **given}, Deadline(5), log, str(state_folder), "jc")
        return status.look(request), asked[-1]
    return call


def saved(state_folder, **settings):
    record.save(str(state_folder), Record({**DEFAULTS, **GIVEN, "nqs_home": "/nonexistent", **settings}, "rsc", processes.boot_id(), {}, 20816, [], None))


def test_what_is_looked_at_is_plain(look):
    found, (request, level, probing) = look(Verdict(actions.STOPPED, "nothing is left"), monitor_level="10")
    assert json.loads(json.dumps(found)) == found and set(found) == set(seen()) and "stopped" in status.text(found)
    assert (found["state"], found["cjcpw"], found["record"], level, probing) == ("stopped", "", None, 10, True) and request.instance == "jc"


@pytest.mark.parametrize("verdict, site", [
    (Verdict(actions.GOOD), "running"), (Verdict(actions.DEGRADED, "disk: full"), "running"), (Verdict(actions.FAILED, "vip: not here"), "running"),
    (Verdict(actions.STOPPED, "none"), "stopped"), (Verdict(actions.FAILED, "site: is gone"), "failed"), (Verdict(actions.FAILED, "disk: x"), "stopped"),
])
def test_the_site_s_layer_is_what_the_monitor_has_found(look, verdict, site):
    found, _ = look(verdict)
    assert found["layers"]["site"]["state"] == site and found["layers"]["disk"]["state"] == "stopped"


def test_a_started_site_is_looked_at_as_it_was_started(look, state_folder):
    saved(state_folder, vip="10.0.0.9", environment="A=secret")
    found, (request, level, probing) = look(Verdict(actions.GOOD), vip="10.0.0.1", status_stopped="3,1", monitor_timeout="60s", monitor_level="20")
    assert request.settings.vip == ("10.0.0.9",) and request.instance == "rsc" and (level, probing) == (20, False)
    assert found["changed"] == [{"name": "vip", "started_with": "10.0.0.9", "now": "10.0.0.1"},
                                {"name": "status_stopped", "started_with": "1,3", "now": "3,1"},
                                {"name": "environment", "started_with": "(hidden)", "now": "(hidden)"}]
    assert found["settings"]["vip"] == "10.0.0.9" and found["timeouts"]["monitor"] == "60s" and "secret" not in json.dumps(found)


def test_a_parameter_that_is_not_right_is_a_problem_and_no_change(look, state_folder):
    saved(state_folder)
    found, (request, _, _) = look(Verdict(actions.GOOD), port="x")
    assert found["changed"] == [] and len(found["problems"]) == 1 and request.problems == {}


def test_a_pid_that_somebody_else_has_now_is_no_living_daemon(sleeper):
    here = sleeper()
    daemons = [here.identity, (here.pid, here.start + 1), (1 << 22, 5)]
    found = Record(dict(GIVEN), "rsc", "boot", {}, 0, daemons, None)
    assert status._record(found) == {"instance": "rsc", "finished": True, "daemons": 3, "alive": 1}
    found = Record(dict(GIVEN), "rsc", "boot", {}, 0, daemons[1:], None, [])
    assert status._record(found) == {"instance": "rsc", "finished": False, "daemons": 2, "alive": 0}


def test_the_cluster_s_timeouts_count_for_its_resource(look, monkeypatch):
    resource = cib.Resource("jc", dict(GIVEN), {"start": "90s", "stop": "40s"}, held="target-role=Stopped")
    monkeypatch.setattr(cib, "read", lambda runner, deadline: cib.Cib({"jc": resource}, ["a"], True, {os.uname().nodename: "standby=on", "b": "x"}))
    found, _ = look(Verdict(actions.STOPPED))
    assert (found["timeouts"], found["timeouts_from"], found["cluster"]) == (
        {"start": "90s", "stop": "40s"}, "resource jc", "target-role=Stopped, standby=on")


# -- which site --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch, state_folder, unsettled):
    """Call the verb; what it looks at: (request, resource)."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HA_RSCTMP", str(state_folder))
    monkeypatch.setattr(conf_file, "FOLDER", str(state_folder / "conf"))
    looked = []
    monkeypatch.setattr(status, "look", lambda request, resource, cib: looked.append((request, resource)) or seen(state=call.state))

    def call(*words):
        return cli.main(["status", *words]), looked.pop() if looked else None
    call.state = "running"
    return call


@pytest.mark.parametrize("state, code", [("running", 0), ("stopped", 0), ("failed", 1), ("degraded", 1), ("misconfigured", 1)])
def test_exit_codes(called, state, code):
    called.state = state
    assert called("--site", "a", "--site_db", "/share/a")[0] == code


def test_the_only_resource_of_the_cluster(called, monkeypatch):
    resources = {name: cib.Resource(name, {"site": name, "site_db": "/share/" + name}) for name in ("one", "two")}
    monkeypatch.setattr(cib, "read", lambda runner, deadline: cib.Cib({"one": resources["one"]}, [], False))
    code, (request, resource) = called("--monitor-timeout", "60s")
    assert (code, resource, request.settings.site, request.instance, request.deadline.total()) == (0, "one", "one", "one", pytest.approx(57))
    monkeypatch.setattr(cib, "read", lambda runner, deadline: cib.Cib(resources, [], False))
    assert called()[0] == 2 and called("--resource", "two")[1][0].settings.site == "two" and called("--resource", "three")[0] == 2


def test_the_only_file(called, state_folder):
    (state_folder / "conf").mkdir()
    (state_folder / "conf" / "x.conf").write_text("site = a\nsite_db = /share/a\n")
    request, resource = called()[1]
    assert (request.settings.site, request.instance, resource) == ("a", str(state_folder / "conf" / "x.conf"), "")
    (state_folder / "conf" / "x.conf").write_text("site = a\nsite_db = /share/a\nfoo = 1\n")
    assert called()[0] == 2
    record.save(str(state_folder), Record({"site": "a", "site_db": "/share/a"}, "rsc", processes.boot_id(), {}, 0, [], None))
    assert called()[0] == 0


def test_the_only_site_that_was_started_here(called, state_folder, capfd):
    assert called()[0] == 2 and "which site is meant?" in capfd.readouterr().err
    saved(state_folder)
    assert called("--port", "1111")[1][0].settings.port == 1111 and called()[1][0].settings.site == "jobsiteA"
    saved(state_folder, site="jobsiteB")
    assert called()[0] == 2


def test_a_file_that_tells_of_another_site_now(called, state_folder, tmp_path, capfd):
    path = tmp_path / "x.conf"
    path.write_text("site = another\nsite_db = /share/a\n")
    record.save(str(state_folder), Record({"site": "a", "site_db": "/share/a"}, str(path), processes.boot_id(), {}, 0, [], None))
    assert called("--conf", str(path)) == (2, None) and "site is another now, but a was started" in capfd.readouterr().err
