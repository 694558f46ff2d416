from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cjc_agent import actions
from cjc_agent.actions import Verdict
from cjc_agent.frontends import ocf
from unit.helpers import AGENT, ROOT

pytestmark = pytest.mark.usefixtures("unsettled")

# design.md and OCF 1.1
CODES = [(actions.GOOD, 0), (actions.FAILED, 1), (actions.BAD_DIRECTORY, 2), (actions.NOT_PERMITTED, 4), (actions.NOT_INSTALLED, 5), (actions.MISCONFIGURED, 6),
         (actions.STOPPED, 7), (actions.DEGRADED, 190)]
NAMES = {"start": "start", "stop": "stop", "monitor": "monitor", "validate-all": "validate", "reload-agent": "reload"}


@pytest.fixture
def environ(monkeypatch, state_folder, tmp_path):
    for name, value in {"HA_RSCTMP": str(state_folder), "HA_LOGFILE": str(tmp_path / "log"), "OCF_RESOURCE_INSTANCE": "jc", "HA_LOGTAG": "t",
                        "OCF_RESKEY_site": "jobsiteA", "OCF_RESKEY_site_db": "/share/job_site"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ocf, "_is_root", lambda: True)
    return lambda **more: [monkeypatch.setenv(name, value) for name, value in more.items()]


@pytest.fixture
def called(monkeypatch, environ):
    """Replace all actions: what they are called with is noted, `answer` is what they answer."""
    seen = []

    def install(verdict):
        for name in NAMES.values():
            monkeypatch.setattr(actions, name, lambda *args, _name=name: seen.append((_name, *args)) or verdict)
        return seen
    return install


@pytest.mark.parametrize("outcome, code", CODES)
@pytest.mark.parametrize("action", NAMES)
def test_exit_codes(called, capfd, tmp_path, action, outcome, code):
    seen = called(Verdict(outcome, "layer: object: what\nto do"))
    assert ocf.main([action]) == code
    assert [call[0] for call in seen] == [NAMES[action]]
    said = capfd.readouterr()
    assert said.out == ""
    log = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""
    if code in (0, 7):
        assert (said.err, log) == ("", ""), "success and `not running` are debug"
    else:
        assert said.err == "ocf-exit-reason:layer: object: what\\x0ato do\n"
        assert log.count("\n") == 1 and "ERROR: %s: layer: object" % action in log


def test_every_outcome_has_a_code():
    assert sorted(ocf.EXIT_CODES.items()) == sorted(CODES)


@pytest.mark.parametrize("arguments", [[], ["promote"], ["start", "stop"], [""], ["Start"], ["validate"], ["reload"], ["--help"],
                                       ["\x1b[2J"], ["meta-data", "x"]])
def test_unknown_actions_are_3(environ, capfd, arguments):
    assert ocf.main(arguments) == 3
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith("ocf-exit-reason:action: ") and said.err.count("\n") == 1 and said.err[:-1].isprintable()


@pytest.mark.parametrize("text, level", [("", 0), ("0", 0), ("5", 0), ("9", 0), ("10", 10), ("15", 10),
                                         ("19", 10), ("20", 20), ("99", 20), ("100", 20), ("9" * 5000, 20), ("0" * 5000 + "10", 10), ("x", 0), ("-10", 0),
                                         (" 10", 0), ("1e1", 0), ("٢٠", 0), ("²", 0)])
def test_check_levels(called, environ, text, level):
    seen = called(Verdict(actions.GOOD))
    environ(OCF_CHECK_LEVEL=text)
    ocf.main(["monitor"])
    ocf.main(["validate-all"])
    assert [call[2] for call in seen] == [level, level]


@pytest.mark.parametrize("interval, probing", [(None, True), ("0", True), ("", True), ("10000", False), ("1", False)])
def test_what_is_a_probe(called, environ, interval, probing):
    seen = called(Verdict(actions.GOOD))
    if interval is not None:
        environ(OCF_RESKEY_CRM_meta_interval=interval)
    ocf.main(["monitor"])
    assert seen[0][3] is probing


@pytest.mark.parametrize("action, timeout, level, budget", [
    ("start", "20000", "", 19), ("start", None, "", 175), ("stop", "180000", "", 175), ("monitor", None, "", 28.5), ("monitor", None, "20", 57),
    ("monitor", "2000", "", 1), ("start", "0", "", 175), ("start", "x", "", 175), ("start", "-5", "", 175),
    ("validate-all", None, "", 19), ("reload-agent", None, "", 28.5),
])
def test_the_time_budget(called, environ, action, timeout, level, budget):
    seen = called(Verdict(actions.GOOD))
    environ(OCF_CHECK_LEVEL=level)
    if timeout is not None:
        environ(OCF_RESKEY_CRM_meta_timeout=timeout)
    ocf.main([action])
    assert seen[0][1].deadline.total() == pytest.approx(budget)


def test_what_the_request_carries(called, environ, state_folder):
    seen = called(Verdict(actions.GOOD))
    environ(OCF_RESKEY_vip="10.0.0.1", OCF_RESKEY_port="x", vip="10.0.0.2")
    ocf.main(["monitor"])
    request = seen[0][1]
    assert (request.settings.site, request.settings.vip, request.folder, request.instance) == ("jobsiteA", ("10.0.0.1",), str(state_folder), "jc")
    assert list(request.problems) == ["port"]


@pytest.mark.parametrize("folder, used", [("/x/", "/x"), ("", "/run/resource-agents"), ("relative", "/run/resource-agents")])
def test_the_state_folder(called, environ, folder, used):
    seen = called(Verdict(actions.GOOD))
    environ(HA_RSCTMP=folder)
    ocf.main(["monitor"])
    assert seen[0][1].folder == used


@pytest.mark.parametrize("action", NAMES)
def test_an_unexpected_exception_is_one_line_a_file_and_1(environ, monkeypatch, capfd, state_folder, tmp_path, action):
    def explode(*args):
        raise RuntimeError("boom\nforged")
    monkeypatch.setattr(actions, NAMES[action], explode)
    assert ocf.main([action]) == 1
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("ocf-exit-reason:agent: unexpected RuntimeError: boom\\x0aforged")
    path = state_folder / ("cjc-agent-unexpected." + action)
    assert str(path) in said.err and "Traceback" in path.read_text() and path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_an_unexpected_exception_without_a_state_folder(environ, monkeypatch, capfd, tmp_path):
    (tmp_path / "file").touch()
    environ(HA_RSCTMP=str(tmp_path / "file" / "x"))
    monkeypatch.setattr(actions, "monitor", lambda *args: 1 // 0)
    assert ocf.main(["monitor"]) == 1
    assert capfd.readouterr().err == "ocf-exit-reason:agent: unexpected ZeroDivisionError: integer division or modulo by zero: report it\n"


def test_a_relative_state_folder_is_not_used_for_the_traceback(environ, monkeypatch, capfd, tmp_path):
    environ(HA_RSCTMP="relative")
    monkeypatch.setattr(actions, "STATE_FOLDER", str(tmp_path / "default"))
    monkeypatch.setattr(actions, "monitor", lambda *args: 1 // 0)
    monkeypatch.setattr("cjc_agent.tools.statefile.write", lambda path, data: None)
    ocf.main(["monitor"])
    assert str(tmp_path / "default") in capfd.readouterr().err


@pytest.mark.parametrize("digits", [11, 12, 400, 5000])
def test_an_absurd_timeout(called, environ, digits):
    called(Verdict(actions.GOOD))
    environ(OCF_RESKEY_CRM_meta_timeout="9" * digits)
    assert ocf.main(["stop"]) == 0


def test_the_prefix_of_the_reason_can_be_set(called, environ, capfd):
    called(Verdict(actions.FAILED, "x"))
    environ(OCF_EXIT_REASON_PREFIX="why: ")
    ocf.main(["monitor"])
    assert capfd.readouterr().err == "why: x\n"
    environ(OCF_EXIT_REASON_PREFIX="why:\nforged: ")
    ocf.main(["monitor"])
    assert capfd.readouterr().err == "why:\\x0aforged: x\n"


def test_the_prefix_of_the_reason_forges_no_line(called, environ, capfd):
    called(Verdict(actions.FAILED, "x"))
    environ(OCF_EXIT_REASON_PREFIX="why:\nocf-exit-reason:\x1b[2J" + "y" * 200)
    ocf.main(["monitor"])
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said[:-1].isprintable() and len(said) < 110


@pytest.mark.parametrize("action, code", [("start", 1), ("stop", 1), ("monitor", 1), ("reload-agent", 1), ("validate-all", 0)])
def test_who_is_not_root_is_not_answered_by_what_little_can_be_seen(called, environ, monkeypatch, capfd, action, code):
    seen = called(Verdict(actions.GOOD))
    monkeypatch.setattr(ocf, "_is_root", lambda: False)
    assert ocf.main([action]) == code
    assert bool(seen) is (code == 0) and ("needs root" in capfd.readouterr().err) is (code == 1)


@pytest.mark.parametrize("how", ["trace", "OCF_TRACE_RA"])
def test_trace(called, environ, tmp_path, how):
    called(Verdict(actions.FAILED, "x: y"))
    environ(OCF_TRACE_FILE=str(tmp_path / "trace" / "file"), **({"OCF_RESKEY_trace": "1"} if how == "trace" else {"OCF_TRACE_RA": "1"}))
    ocf.main(["monitor"])
    assert "monitor: x: y" in (tmp_path / "trace" / "file").read_text()


@pytest.mark.parametrize("instance, name", [("jc:0", "jc_0"), ("../../etc/x", ".._.._etc_x"), ("", str(os.getpid()))])
def test_trace_path_stays_in_its_folder(environ, instance, name):
    environ(OCF_RESOURCE_INSTANCE=instance)
    folder, file = os.path.split(ocf._trace_path("start"))
    assert folder == "/var/lib/heartbeat/trace_ra/jobcenter" and file.startswith(name + ".start.2")


@pytest.mark.parametrize("number", ["0", "1", ""])
@pytest.mark.parametrize("action, code", [("start", 6), ("validate-all", 6), ("reload-agent", 1)])
def test_a_clone_is_refused(called, environ, capfd, action, code, number):
    seen = called(Verdict(actions.GOOD))
    environ(OCF_RESKEY_CRM_meta_clone=number, OCF_RESKEY_CRM_meta_clone_max="1")
    assert ocf.main([action]) == code and seen == []
    said = capfd.readouterr().err
    assert said.startswith("ocf-exit-reason:clone: site jobsiteA runs on one node at a time: remove the clone (pcs resource unclone") and said.count("\n") == 1
    assert len(said.strip()) - len("ocf-exit-reason:") <= 128, "crm_mon shows no more"


def test_a_clone_of_a_site_without_a_name_is_refused(called, environ, capfd):
    called(Verdict(actions.GOOD))
    environ(OCF_RESKEY_CRM_meta_clone="0", OCF_RESKEY_site="")
    assert ocf.main(["start"]) == 6
    assert capfd.readouterr().err.startswith("ocf-exit-reason:clone: a site runs on one node at a time")


@pytest.mark.parametrize("action", ["stop", "monitor"])
@pytest.mark.parametrize("outcome, code", [(actions.GOOD, 0), (actions.FAILED, 1), (actions.STOPPED, 7)])
def test_a_clone_is_looked_at_and_stopped_all_the_same(called, environ, action, outcome, code):
    seen = called(Verdict(outcome, "x"))
    environ(OCF_RESKEY_CRM_meta_clone="0")
    assert ocf.main([action]) == code and [call[0] for call in seen] == [action]


def test_other_meta_attributes_make_no_clone(called, environ):
    called(Verdict(actions.GOOD))
    environ(OCF_RESKEY_CRM_meta_on_node="node1", OCF_RESKEY_CRM_meta_name="start", OCF_RESKEY_clone="0")
    assert ocf.main(["start"]) == 0


def test_our_process_never_carries_nqs_site(called, environ):
    called(Verdict(actions.GOOD))
    environ(NQS_SITE="inherited")
    ocf.main(["monitor"])
    assert "NQS_SITE" not in os.environ


# -- as a program ------------------------------------------------------------------------------------------------------------------------


def agent(state_folder, *arguments, **environment):
    return subprocess.run(["/bin/sh", str(ROOT / "ocf" / "jobcenter"), *arguments], cwd="/", timeout=20, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env={"HA_RSCTMP": str(state_folder), **environment})


@pytest.mark.parametrize("prefix, said", [("", "ocf-exit-reason:"), ("why: ", "why: "),
                                          ("why:\nforged: ", "ocf-exit-reason:"), ("\x1b[2J", "ocf-exit-reason:")])
def test_without_a_core_there_is_one_line_too(tmp_path, prefix, said):
    wrapper = tmp_path / "jobcenter"
    wrapper.write_bytes((ROOT / "ocf" / "jobcenter").read_bytes())
    done = subprocess.run(["/bin/sh", str(wrapper), "start"], capture_output=True, text=True, timeout=20, env={"OCF_EXIT_REASON_PREFIX": prefix})
    assert done.returncode == 5 and done.stderr.startswith(said + "agent: no Python") and done.stderr.count("\n") == 1


@pytest.mark.root
def test_a_probe_without_any_parameter_is_7(state_folder):
    said = agent(state_folder, "monitor")
    assert (said.returncode, said.stdout, said.stderr) == (7, "", "")


@pytest.mark.root
@pytest.mark.parametrize("action, code", [("validate-all", 6), ("start", 6), ("stop", 0), ("bogus", 3), ("reload-agent", 1)])
def test_without_any_parameter(state_folder, action, code):
    assert agent(state_folder, action).returncode == code


def test_a_stderr_that_nobody_reads_does_not_change_the_code(state_folder):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        said = subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", str(AGENT / "__main__.py"), "ocf", "validate-all"], cwd="/", timeout=20,
                              stderr=writing, stdin=subprocess.DEVNULL, env={"HA_RSCTMP": str(state_folder), "HA_LOGFILE": str(state_folder / "log")})
    finally:
        os.close(writing)
    assert said.returncode == 6 and "parameter site" in (state_folder / "log").read_text()
