from __future__ import annotations

import contextlib
import itertools
import os

import pytest

from cjc_agent.layers import ownership
from cjc_agent.layers import site as module
from cjc_agent.layers.ownership import Census
from cjc_agent.layers.site import Site
from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError
from cjc_agent.settings import daemon_conf
from cjc_agent.tools import packages, processes
from cjc_agent.tools.command import EXITED, SIGNALLED, STUCK, TIMED_OUT, UNSTARTED, Result
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.processes import Process
from cjc_agent.tools.record import Record
from unit.helpers import Script, Words, settings

DAEMON = Process(1 << 29, 1, 1, 0, 5, "S", "nqsdaemon")


def evidence(kind):
    census = Census()
    if kind == "process":
        census.daemons[DAEMON.pid] = census.candidates[DAEMON.pid] = DAEMON
    if kind == "listener":
        census.obstacles.append("something listens on 10.0.0.1:20816")
    if kind == "inherited":
        census.candidates[DAEMON.pid] = DAEMON
    if kind == "call":
        census.calls[DAEMON.pid] = DAEMON
    return census


@pytest.fixture
def site(monkeypatch, log):
    def make(answer=None, left="", record=None, deadline=None, **given):
        monkeypatch.setattr(ownership, "take", lambda *args: evidence(left))
        runner = Script(call=Result("read daemon.conf", EXITED, 0, "20816"), **({"cjcpw_status": answer} if answer else {}))
        made = Site(settings(**given), runner, log, record, lambda: ("/share", "8:17"), deadline or Deadline(5))
        made.runner = runner
        return made
    return make


def answered(outcome, code=-1):
    return Result("cjcpw status", outcome, code, "", 1.0)


NOT_STOPPED = [answered(TIMED_OUT), answered(STUCK, 99), answered(UNSTARTED, 11), *[answered(SIGNALLED, n) for n in (1, 3, 9, 15)],
               *[answered(EXITED, code) for code in (2, 4, 126, 127, 137, 255)]]


@pytest.mark.parametrize("left", ["", "process", "listener", "inherited", "call"])
@pytest.mark.parametrize("probing", [False, True])
def test_a_running_code_is_running(site, left, probing):
    made = site(answered(EXITED, 0), left)
    assert made.state(True, probing).status == RUNNING and made.runner.asked == ["cjcpw status status"]


@pytest.mark.parametrize("left, status", [("", STOPPED), ("inherited", STOPPED), ("call", STOPPED), ("process", FAILED), ("listener", FAILED)])
@pytest.mark.parametrize("code", [1, 3])
@pytest.mark.parametrize("probing", [False, True])
def test_a_stopped_code_is_never_believed_alone(site, code, left, status, probing):
    state = site(answered(EXITED, code), left).state(True, probing)
    assert state.status == status
    if status == FAILED:
        assert "exited %d" % code in state.reason and ("nqsdaemon" in state.reason or "10.0.0.1:20816" in state.reason)


@pytest.mark.parametrize("answer", NOT_STOPPED, ids=lambda answer: "%s-%d" % (answer.outcome, answer.code))
@pytest.mark.parametrize("left", ["", "process", "listener"])
def test_everything_else_is_failed(site, answer, left):
    state = site(answer, left).state(True)
    assert state.status == FAILED and answer.words() in state.reason
    assert "jobsiteA" in state.reason or answer.outcome == UNSTARTED  # which names a remedy of its own


@pytest.mark.parametrize("left, status", [("", STOPPED), ("process", FAILED), ("listener", FAILED), ("inherited", STOPPED)])
def test_a_probe_without_cjcpw_goes_by_evidence(site, left, status):
    assert site(answered(EXITED, 127), left).state(True, probing=True).status == status


def test_a_probe_with_a_cjcpw_that_is_not_executable_goes_by_evidence(site):
    assert site(answered(EXITED, 126), "").state(True, probing=True).status == STOPPED


@pytest.mark.parametrize("answer", [answer for answer in NOT_STOPPED if answer.exit_code not in (126, 127)], ids=lambda a: "%s-%d" % (a.outcome, a.code))
def test_a_probe_is_no_excuse_for_other_answers(site, answer):
    assert site(answer, "").state(True, probing=True).status == FAILED


@pytest.mark.parametrize("left, status", [("", STOPPED), ("process", FAILED), ("listener", FAILED), ("inherited", STOPPED), ("call", STOPPED)])
def test_without_the_disk_cjcpw_is_not_called(site, left, status):
    made = site(answered(EXITED, 0), left)
    assert made.state(False).status == status and made.runner.asked == ["read daemon.conf"]


def test_the_codes_are_parameters(site):
    assert site(answered(EXITED, 5), status_running="5").state(True).status == RUNNING
    assert site(answered(EXITED, 9), status_stopped="9").state(True).status == STOPPED
    assert site(answered(EXITED, 0), "", status_running="5").state(True).status == FAILED


def test_status_is_a_marked_call_with_the_sites_environment(monkeypatch, log):
    seen = []

    class Runner(Script):
        def run(self, name, programs, arguments, deadline, environment=None, user=""):
            seen.append((name, programs, arguments, environment, user))
            return Result(name, EXITED, 0)
    Site(settings(status_args="status -s 'a b'", user="nqs", nqs_home="/opt/nqs"), Runner(), log, None, lambda: None, Deadline(5)).state(True)
    (name, programs, arguments, environment, user), = seen
    assert (name, programs[0], arguments, user) == ("cjcpw status", "/opt/nqs/cjcpw", ["status", "-s", "a b"], "nqs")
    assert environment["NQS_SITE"] == "jobsiteA" and environment["CJC_AGENT_CALL"] == "1"


# -- resident mode -----------------------------------------------------------------------------------------------------------------------


def recorded(**more):
    values = {"settings": {"site": "jobsiteA"}, "instance": "", "boot": "", "disk": {}, "port": 20999, "daemons": [], "resident": None}
    return Record(**{**values, **more})


@pytest.mark.parametrize("who, status", [("alive", RUNNING), ("namesake", FAILED), ("gone", FAILED), ("zombie", FAILED), ("unknown", RUNNING)])
def test_running_also_needs_the_resident_cjcpw(site, sleeper, start, who, status):
    alive = sleeper()
    resident = {"alive": alive.identity, "namesake": (alive.pid, alive.start + 1), "gone": (1 << 30, 5), "unknown": None}.get(who)
    if who == "zombie":
        dead = sleeper()
        os.kill(dead.pid, 9)
        processes.wait_gone([dead], Deadline(5))
        resident = dead.identity
    assert site(answered(EXITED, 0), cjcpw_mode="resident", record=recorded(resident=resident)).state(True).status == status
    assert site(answered(EXITED, 0), record=recorded(resident=resident)).state(True).status == RUNNING, "in command mode nobody stays"


# -- port --------------------------------------------------------------------------------------------------------------------------------


SAID, LATE, REFUSED = Result("x", EXITED, 0, "4321"), Result("x", TIMED_OUT), Result("x", EXITED, 1, "EACCES")


@pytest.mark.parametrize("given, record, mounted, answer, port", [
    ({"port": "1234"}, None, True, None, 1234), ({"port": "1234"}, recorded(), True, None, 1234), ({"port": "1234"}, recorded(), False, None, 1234),
    # where the site's own daemon.conf can be read it counts; else what the record says; else the local one
    ({}, recorded(), True, SAID, 4321), ({}, recorded(), True, LATE, 20999), ({}, recorded(), True, REFUSED, 20999),
    ({}, recorded(), False, None, 20999), ({}, recorded(port=0), False, SAID, 4321), ({}, recorded(port=0), True, LATE, 20816),
    ({}, None, True, SAID, 4321), ({}, None, False, SAID, 4321), ({}, None, True, LATE, 20816), ({}, None, False, REFUSED, 20816),
])
def test_port(log, given, record, mounted, answer, port):
    runner = Script(call=answer)
    made = Site(settings(**given), runner, log, record, lambda: ("/share", "8:17") if mounted else None, Deadline(5))
    assert made.port() == port
    assert len(runner.asked) == (1 if answer else 0)
    made.port()
    assert len(runner.asked) <= 1 or not mounted or answer is not SAID, "what the mounted site DB says is read once"


@pytest.mark.parametrize("mounted", [True, False])
def test_while_a_recorded_daemon_lives_its_port_counts(log, sleeper, mounted):
    """daemon.conf may have been edited for the next start."""
    alive, runner = sleeper(), Script(call=SAID)
    for daemons, port in (([(1 << 30, 5), alive.identity], 20999), ([(alive.pid, alive.start + 1)], 4321 if mounted else 20999)):
        made = Site(settings(), runner, log, recorded(daemons=daemons), lambda: ("/share", "8:17") if mounted else None, Deadline(5))
        assert made.port() == port


@pytest.mark.parametrize("record", [None, recorded(port=0)])
@pytest.mark.parametrize("mounted", [True, False])
def test_a_daemon_conf_that_cannot_be_read_is_warned_about_and_waited_for_once(record, mounted):
    log, runner = Words(), Script(call=LATE)
    made = Site(settings(), runner, log, record, lambda: ("/share", "8:17") if mounted else None, Deadline(5))
    assert [made.port(), made.port()] == [20816, 20816] and len(runner.asked) == 1
    (level, text), = log.said
    assert level == "warning" and "taking port 20816" in text


def test_the_port_is_read_of_the_site_db_only_while_it_is_mounted(monkeypatch, log, runner):
    asked = []
    monkeypatch.setattr(daemon_conf, "listen_port", lambda home, site_db: asked.append(site_db) or 4321)
    monkeypatch.setattr(runner, "call", lambda name, function, deadline: Result(name, EXITED, 0, function()))
    for scope in (("/share", "8:17"), None):
        assert Site(settings(), runner, log, None, lambda scope=scope: scope, Deadline(5)).port() == 4321
    assert asked == ["/share/job_site", ""]


# -- the census and what a start notes ---------------------------------------------------------------------------------------------------


def test_the_census_is_told_what_is_known(monkeypatch, log):
    looks = []
    monkeypatch.setattr(ownership, "take", lambda look, runner, deadline: looks.append(look) or Census())
    record = recorded(daemons=[(100, 5)], resident=(200, 7), before=[(300, 9)])
    given = settings(vip="10.0.0.1,::1", port="1234", nqs_home="/opt/nqs")
    Site(given, Script(), log, record, lambda: ("/share", "8:17"), Deadline(5)).census()
    Site(settings(), Script(call=LATE), log, None, lambda: None, Deadline(5)).census()
    first, second = looks
    assert (first.site, list(first.vips), first.port, first.nqs_home, list(first.recorded), first.before, first.scope) == (
        "jobsiteA", ["10.0.0.1", "::1"], 1234, "/opt/nqs", [(100, 5), (200, 7)], [(300, 9)], ("/share", "8:17"))
    assert (list(second.recorded), second.before, second.scope) == ([], None, None)


def process_of(pid):
    return Process(pid, 1, 1, 0, 5, "S", "nqsdaemon")


class Starting(Script):
    """cjcpw says stopped until it is started."""

    started = False

    def run(self, name, programs, arguments, deadline, environment=None, user=""):
        self.asked.append(name)
        self.started = self.started or name == "cjcpw start"
        return Result(name, EXITED, 0 if self.started else 3)


def census_of(candidates=(), daemons=(), mere=()):
    census = Census()
    census.candidates = {pid: process_of(pid) for pid in candidates}
    census.daemons = {pid: process_of(pid) for pid in daemons}
    census.mere_holders = {pid: process_of(pid) for pid in mere}
    return census


def test_start_notes_itself_before_cjcpw_is_called(monkeypatch, log):
    """Killed after that, the next action still knows whose the daemons are."""
    runner, noted, looks = Starting(), [], []

    def take(look, *_):
        looks.append(look.before)
        return census_of([300, 301, 400], [400, 500, 600], [600]) if runner.started else census_of([301, 300])
    monkeypatch.setattr(ownership, "take", take)
    made = Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5))
    assert made.start(Deadline(5), lambda: noted.append((made.before, made.daemons, made.launched, runner.started)), True) is True
    assert noted == [([(300, 5), (301, 5)], [], False, False)] and made.launched
    assert looks[-1] == [(300, 5), (301, 5)], "the daemons are told by what was there before"
    assert made.daemons == [(400, 5), (500, 5)], "who merely holds the mount is none of them"
    assert made.before is None, "the start has finished"


def test_a_start_that_fails_stays_unfinished(monkeypatch, log):
    monkeypatch.setattr(ownership, "take", lambda *args: Census())
    runner, noted = Script(cjcpw_status=Result("cjcpw status", EXITED, 3), cjcpw_start=Result("cjcpw start", EXITED, 9)), []
    made = Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5))
    with pytest.raises(LayerError, match="exited 9"):
        made.start(Deadline(5), lambda: noted.append(1), True)
    assert made.before == [] and made.launched and noted == [1]


@pytest.mark.parametrize("disk_was_up", [True, False])
@pytest.mark.parametrize("answer, left, raises", [(0, "process", False), (3, "process", True), (3, "listener", True), (2, "process", True)])
def test_what_starts_nothing_notes_nothing(site, answer, left, raises, disk_was_up):
    """Whatever is seen of the site: it may run although its disk was not mounted, and is then not started a second time."""
    made = site(answered(EXITED, answer), left)
    if raises:
        with pytest.raises(LayerError):
            made.start(Deadline(5), lambda: pytest.fail("noted"), disk_was_up)
    else:
        assert made.start(Deadline(5), lambda: pytest.fail("noted"), disk_was_up) is False
    assert made.launched is False and made.before is None and "cjcpw start start" not in made.runner.asked


@pytest.mark.parametrize("before, after, raises", [([400], [], False), ([], [400], True), ([400], [400], True), ([], [], False)])
def test_a_start_judges_by_a_look_that_was_taken_after_status(monkeypatch, log, before, after, raises):
    """Daemons may have come or gone while status took its time."""
    runner = Starting()
    monkeypatch.setattr(ownership, "take", lambda *_: census_of([300] if runner.asked else [], after if runner.asked else before))
    made, noted = Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5)), []
    if raises:
        with pytest.raises(LayerError, match="stop the site"):
            made.start(Deadline(5), lambda: pytest.fail("noted"), True)
    else:
        assert made.start(Deadline(5), lambda: noted.append(made.before), True) is True and noted == [[(300, 5)]]
    assert runner.asked == ["cjcpw status"] if raises else ["cjcpw status", "cjcpw start", "cjcpw status"]


def test_a_status_that_cannot_be_ended_ends_a_start(site):
    """No other status call is made while it lives: nobody could see whether a start has worked."""
    made = site(answered(STUCK))
    with pytest.raises(LayerError, match="a file system does not answer"):
        made.start(Deadline(4), lambda: pytest.fail("noted"), True)
    assert made.runner.asked[-1] == "cjcpw status status"


def test_nothing_is_started_when_no_time_is_left(site):
    with pytest.raises(LayerError, match="no time left"):
        site().start(Deadline(0), lambda: pytest.fail("noted"), False)


def test_a_status_that_hangs_leaves_a_start_half_its_time(site):
    made = site(answered(TIMED_OUT))
    made.runner.answers["cjcpw_start"] = answered(EXITED, 9)
    with pytest.raises(LayerError, match="exited 9"):
        made.start(Deadline(4), lambda: None, True)
    assert made.runner.time_left[made.runner.asked.index("cjcpw status status")] <= 2


def test_a_resident_that_has_ended_when_its_site_runs_has_not_started(monkeypatch, log):
    runner = Script()
    monkeypatch.setattr(ownership, "take", lambda *_: census_of())
    made = Site(settings(port="1234", cjcpw_mode="resident"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5))

    def ended(deadline):
        made.resident = (1 << 30, 5)
    monkeypatch.setattr(made, "_start_resident", ended)
    with pytest.raises(LayerError, match="resident cjcpw"):
        made.start(Deadline(5), lambda: None, False)
    assert made.launched, "what it left is taken down"


def test_learning_ends_an_unfinished_start(monkeypatch, log):
    monkeypatch.setattr(ownership, "take", lambda *args: census_of([100, 101], [100, 101, 102], [102]))
    made = Site(settings(port="1234"), Script(), log, recorded(before=[(50, 5)]), lambda: ("/share", "8:17"), Deadline(5))
    assert made.before == [(50, 5)]
    made.learn_daemons()
    assert made.daemons == [(100, 5), (101, 5)] and made.before is None


def test_jobs_that_run_already_are_not_learnt(monkeypatch, log):
    census = census_of([100, 101], [100, 101])
    census.jobs = {101: process_of(101)}
    monkeypatch.setattr(ownership, "take", lambda *_: census)
    made = Site(settings(port="1234"), Script(), log, None, lambda: None, Deadline(5))
    made.learn_daemons()
    assert made.daemons == [(100, 5)]


def test_learning_without_time_to_look_at_all_leaves_the_start_unfinished(monkeypatch, log):
    def late(*args):
        raise TimeoutError(110, "no time left to look at all processes")
    runner = Script()
    monkeypatch.setattr(runner, "each", late)
    made = Site(settings(port="1234"), runner, log, recorded(before=[(50, 5)]), lambda: None, Deadline(5))
    try:
        made.learn_daemons()
    except (LayerError, OSError):
        pass  # as good, as long as nobody records it
    assert made.before == [(50, 5)]


def test_who_merely_holds_the_mount_does_not_keep_a_site_from_starting(monkeypatch, log):
    runner = Starting()
    monkeypatch.setattr(ownership, "take", lambda *_: census_of([], [600] if not runner.started else [400, 600], [600]))
    made = Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5))
    # what cjcpw calls stopped is FAILED while anything is left, and start goes on all the same
    assert made.start(Deadline(5), lambda: None, True) is True and made.daemons == [(400, 5)]
    monkeypatch.setattr(ownership, "take", lambda *_: census_of([], [500, 600], [600]))
    runner.started = False
    with pytest.raises(LayerError, match=r"stop the site - .*\[500\]"):
        Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5)).start(Deadline(5), lambda: None, True)


@pytest.mark.parametrize("census, good", [(census_of([], [400]), True), (census_of(), False), (census_of([400]), False)])
def test_a_running_site_has_a_process(monkeypatch, log, census, good):
    monkeypatch.setattr(ownership, "take", lambda *_: census)
    made = Site(settings(port="1234"), Script(), log, None, lambda: ("/share", "8:17"), Deadline(5))
    assert (made.check_service(Deadline(1)) == "") is good
    census.product.append(700)  # a daemon that has overwritten its environment
    assert made.check_service(Deadline(1)) == ""


@pytest.mark.parametrize("who, state, seen", [
    ("listener", "T", True), ("recorded", "T", True), ("resident", "T", True), ("of the resident", "T", True), ("recorded", "t", True),
    ("recorded", "S", False), ("listener", "D", False), ("job", "T", False), ("unknown", "T", False),
])
def test_a_daemon_stopped_by_a_signal_is_seen_and_a_job_may_be(monkeypatch, log, who, state, seen):
    parent = {"job": 100, "of the resident": 200}.get(who, 1)
    process, census = Process(101, parent, 101, 0, 5, state, "nqsd"), census_of([], [100, 200])
    census.daemons[101] = process
    if who == "listener":
        census.listeners[101] = process
    known = [(100, 5), *([] if who in ("unknown", "listener") else [(101, 5)])]
    record = recorded(daemons=known, resident=(101, 5) if who == "resident" else (200, 5))
    monkeypatch.setattr(ownership, "take", lambda *_: census)
    complaint = Site(settings(port="1234"), Script(), log, record, lambda: None, Deadline(5)).check_service(Deadline(1))
    assert ("nqsd[101]" in complaint and "send CONT" in complaint) if seen else complaint == ""


def test_a_running_site_of_which_nobody_is_found_is_warned_about(monkeypatch):
    monkeypatch.setattr(ownership, "take", lambda *_: census_of([], []))
    log = Words()
    Site(settings(port="1234"), Script(), log, None, lambda: None, Deadline(5)).learn_daemons()
    assert [level for level, text in log.said if "no process of site jobsiteA is found" in text] == ["warning"]


@pytest.mark.parametrize("code, remedy", [(126, "set `cjcpw`"), (127, "set `cjcpw`"), (2, "JobCenter's own log"), (255, "JobCenter's own log")])
def test_a_cjcpw_that_cannot_be_run_is_not_in_jobcenter_s_log(site, code, remedy):
    assert site(answered(EXITED, code)).state(True).reason.endswith(remedy)
    with pytest.raises(LayerError, match=remedy):
        site(answered(EXITED, code)).start(Deadline(0.1), lambda: None, False)


def test_every_address_must_take_connections(monkeypatch, log):
    monkeypatch.setattr("cjc_agent.tools.addresses.connect", lambda address, port, seconds: "refused" if address == "10.0.0.2" else "")
    monkeypatch.setattr(ownership, "take", lambda *_: census_of({7}, {7}))
    site = Site(settings(port="1234", vip="10.0.0.1,10.0.0.2"), Script(), log, None, lambda: None, Deadline(5))
    assert site.check_service(Deadline(5)).startswith("no TCP connection to 10.0.0.2 port 1234: refused")


@pytest.mark.parametrize("answers, resident", [({}, None), ({100: "yes"}, (100, 5)), ({100: None, 101: "yes"}, (101, 5)), ({100: None}, None)])
def test_the_resident_cjcpw_is_looked_for_in_a_child(monkeypatch, log, answers, resident):
    monkeypatch.setattr(ownership, "take", lambda *_: census_of([100, 101], [100, 101]))
    made = Site(settings(port="1234", cjcpw_mode="resident"), Script(each=answers), log, None, lambda: None, Deadline(5))
    made.learn_daemons()
    assert made.resident == resident


@pytest.mark.parametrize("disk_was_up, left, asked_before", [(True, "", True), (True, "inherited", True), (False, "", False), (False, "inherited", False)])
def test_on_a_disk_just_mounted_no_site_of_which_nothing_is_seen_is_asked_for(site, disk_was_up, left, asked_before):
    made = site(answered(EXITED, 3), left)
    with pytest.raises(LayerError, match="does not come up"):
        made.start(Deadline(0.1), lambda: None, disk_was_up)
    calls = [name for name in made.runner.asked if name.startswith("cjcpw")]
    assert (calls[0] == "cjcpw status status") is asked_before and "cjcpw start start" in calls[:2]


@pytest.mark.parametrize("begin", [lambda site: site.start(Deadline(5), lambda: None, True), lambda site: site.stop(True, Deadline(5))])
def test_leftovers_of_our_calls_are_ended_before_cjcpw_is_called(monkeypatch, log, sleeper, begin):
    """A stop left over would stop what the start starts."""
    leftover = sleeper()

    def take(*_):
        census = Census()
        if processes.alive(leftover):
            census.calls[leftover.pid] = leftover
        return census

    class Checking(Starting):
        def run(self, *arguments, **more):
            assert not processes.alive(leftover)
            return super().run(*arguments, **more)
    monkeypatch.setattr(ownership, "take", take)
    begin(Site(settings(port="1234"), Checking(), log, None, lambda: None, Deadline(5)))
    assert not processes.alive(leftover) and any("[%d]" % leftover.pid in text for level, text in log.said if level == "warning")


# -- stop --------------------------------------------------------------------------------------------------------------------------------


class Stopping(Script):
    """A site whose daemons (pid -> what ends them: cjcpw, TERM, KILL or nothing) are seen by the census until they have ended."""

    def __init__(self, monkeypatch, **daemons):
        super().__init__()
        self.daemons = {int(pid[1:]): end for pid, end in daemons.items()}
        monkeypatch.setattr(ownership, "take", self.take)
        monkeypatch.setattr(processes, "alive", lambda process: process.pid in self.daemons)
        monkeypatch.setattr(processes, "send", lambda process, number: self.end({15: "TERM", 9: "KILL", 19: "STOP"}[number], process.pid))

    def take(self, *_):
        self.asked.append("census")
        return census_of(self.daemons, self.daemons)

    def end(self, how, only=None):
        self.asked.append(how)
        for pid in [pid for pid, end in self.daemons.items() if end == how and only in (None, pid)]:
            del self.daemons[pid]

    def run(self, name, programs, arguments, deadline, environment=None, user=""):
        if arguments == ["stop"]:
            self.end("cjcpw")
            return Result(name, EXITED, 0)
        self.asked.append("status")
        return Result(name, EXITED, 0 if self.daemons else 3)


def stopped(monkeypatch, log, seconds=0.5, disk_up=True, **daemons):
    runner = Stopping(monkeypatch, **daemons)
    Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(5)).stop(disk_up, Deadline(seconds))
    return runner.asked


def test_a_stop_looks_before_and_after_cjcpw_and_asks_for_no_status_of_what_it_sees(monkeypatch, log):
    assert stopped(monkeypatch, log, p100="cjcpw", p101="cjcpw") == ["census", "cjcpw", "census"]


def test_daemons_that_take_their_time_to_end_after_cjcpw_stop_get_it(monkeypatch, log):
    runner = Stopping(monkeypatch, p100="time")
    look = runner.take
    monkeypatch.setattr(ownership, "take", lambda *_: (runner.asked.count("census") == 4 and runner.end("time")) or look())
    Site(settings(port="1234"), runner, log, None, lambda: ("/share", "8:17"), Deadline(100)).stop(True, Deadline(100))
    assert "TERM" not in runner.asked and "KILL" not in runner.asked


def test_where_nothing_is_seen_status_decides_whether_cjcpw_is_called(monkeypatch, log):
    assert stopped(monkeypatch, log) == ["census", "status", "census"]


def test_every_avenue_is_judged_by_a_look_that_was_taken_after_the_one_before(monkeypatch, log):
    asked = stopped(monkeypatch, log, p100="cjcpw", p101="TERM", p102="KILL")
    steps = [step for step, _ in itertools.groupby(asked)]
    assert steps == ["census", "cjcpw", "census", "TERM", "census", "STOP", "census", "KILL", "census"]


@pytest.mark.parametrize("daemon, told", [
    ("KILL", [("TERM", 100), ("STOP", 100), ("STOP", 101), ("KILL", 100), ("KILL", 101)]),
    ("TERM", [("TERM", 100), ("TERM", 101), ("STOP", 101), ("KILL", 101)]),
    ("nothing", [("TERM", 100), ("STOP", 100), ("STOP", 101), ("KILL", 100), ("KILL", 101)]),  # in D state: it must not save the job
])
def test_jobs_are_told_to_end_after_their_daemons(monkeypatch, log, daemon, told):
    """Also when the time for TERM ends while a daemon lives: it would note the job as failed."""
    runner, sent = Stopping(monkeypatch, p100=daemon, p101="KILL"), []

    def take(*_):
        census = census_of(runner.daemons, runner.daemons)
        census.jobs = {pid: process for pid, process in census.daemons.items() if pid == 101}
        return census
    monkeypatch.setattr(ownership, "take", take)
    names = {15: "TERM", 9: "KILL", 19: "STOP"}
    monkeypatch.setattr(processes, "send", lambda process, number: sent.append((names[number], process.pid)) or runner.end(*sent[-1]))
    monkeypatch.setattr(processes, "wait_gone", lambda *_: [])  # else its last look would end with the deadline
    with contextlib.suppress(LayerError):
        Site(settings(port="1234"), runner, log, None, lambda: None, Deadline(5)).stop(False, Deadline(2))
    assert sent == told


def test_without_the_disk_no_cjcpw_is_called(monkeypatch, log):
    assert stopped(monkeypatch, log, disk_up=False, p100="TERM") == ["census", "TERM", "census"]


@pytest.mark.parametrize("given, seconds", [("auto", 50), ("30s", 30), ("1000s", 80)])
def test_a_stop_by_cjcpw_leaves_time_for_all_that_comes_after_it(monkeypatch, log, given, seconds):
    runner = Stopping(monkeypatch, p100="cjcpw")
    run, left = runner.run, []
    runner.run = lambda name, programs, arguments, deadline, *more: left.append(deadline.left()) or run(name, programs, arguments, deadline)
    Site(settings(port="1234", stop_escalation=given), runner, log, None, lambda: ("/share", "8:17"), Deadline(100)).stop(True, Deadline(100))
    assert seconds - 10 < left[0] <= seconds


def test_what_cannot_be_ended_is_named_by_the_last_look(monkeypatch, log):
    with pytest.raises(LayerError, match=r"cannot be ended: nqsdaemon\[100\]"):
        stopped(monkeypatch, log, p100="nothing", p101="KILL")


# -- what a start needs ------------------------------------------------------------------------------------------------------------------


def look(home, **given):
    made = settings(nqs_home=str(home), **given)
    from cjc_agent.settings import values
    code, _, words = module._look(made, values.programs_of(made.cjcpw, made.nqs_home)).partition(" ")
    return int(code), words


def test_all_is_there(product, runner, log):
    assert look(product) == (0, "")
    assert Site(settings(nqs_home=str(product)), runner, log, None, lambda: None, Deadline(5)).host_complaint() == (0, "")


def test_cjcpw_missing_is_5(product):
    (product / "cjcpw").unlink()
    code, words = look(product)
    assert code == 5 and str(product / "cjcpw") in words and "install JobCenter" in words


@pytest.mark.parametrize("make", [lambda path: path.chmod(0o644), lambda path: (path.unlink(), path.mkdir())])
def test_cjcpw_not_executable_is_4(product, make):
    make(product / "cjcpw")
    code, words = look(product)
    assert code == 4 and str(product / "cjcpw") in words


def test_licence_is_5(product):
    assert look(product, licence_pattern="XYZ")[0] == 5
    (product / "license" / "jobcenter_key.dat").unlink()
    assert look(product)[0] == 5


def test_user_is_5(product):
    assert look(product, user="nobody")[0] == 0
    code, words = look(product, user="no-such-user")
    assert code == 5 and "no-such-user" in words


def test_a_product_folder_that_hangs_is_1(log):
    made = Site(settings(), Script(call=Result("look", TIMED_OUT)), log, None, lambda: None, Deadline(5))
    assert made.host_complaint()[0] == 1


@pytest.mark.parametrize("here, code, words", [("16.1-1", 0, ""), ("15.2-1", 5, "CJC210: JobCenter here is 15.2-1, `version` wants 16.1-1"), ("", 0, "")])
def test_another_version_is_5_and_an_unknown_one_a_warning(product, runner, log, monkeypatch, here, code, words):
    asked = []
    monkeypatch.setattr(packages, "owner", lambda path, *args: asked.append(path) or ("jobcenter", here))
    made = Site(settings(nqs_home=str(product), version="16.1-1"), runner, log, None, lambda: None, Deadline(5))
    found = made.host_complaint()
    assert found[0] == code and words in found[1] and asked == [str(product / "cjcpw")]
    assert ("cannot be told" in str(log.said)) is (here == "")


def test_a_package_manager_that_does_not_answer_does_not_keep_a_site_from_starting(product, runner, log, monkeypatch):
    def silent(*args):
        raise TimeoutError("rpm did not end within 10.0 s")
    monkeypatch.setattr(packages, "owner", silent)
    assert Site(settings(nqs_home=str(product), version="16.1-1"), runner, log, None, lambda: None, Deadline(5)).host_complaint() == (0, "")
    assert "rpm did not end" in str(log.said)


def test_without_a_wanted_version_no_package_manager_is_asked(product, runner, log, monkeypatch):
    monkeypatch.setattr(packages, "owner", lambda *args: pytest.fail("asked"))
    assert Site(settings(nqs_home=str(product)), runner, log, None, lambda: None, Deadline(5)).host_complaint() == (0, "")


# -- before a start: the site DB says whose it is, and at which port ------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["CJC302: /share/job_site is the site DB of jobsiteB", "CJC115: listen_port=1, but `port` is 2"])
def test_a_site_db_that_says_otherwise_is_not_started_on(site, said):
    made = site(answered(EXITED, 1))
    made.runner.answers["before_start"] = Result("look", EXITED, 0, said)
    with pytest.raises(LayerError, match=said.split(":")[0]):
        made.start(Deadline(4), lambda: pytest.fail("noted"), False)
    assert not made.launched and "cjcpw start start" not in made.runner.asked


@pytest.mark.parametrize("answer", [answered(TIMED_OUT), answered(STUCK, 9), answered(EXITED, 1)])
def test_a_site_db_that_cannot_be_read_is_jobcenter_s_to_judge(site, log, answer):
    made = site(answered(EXITED, 0))
    made.runner.answers["before_start"] = answer
    assert made.start(Deadline(4), lambda: None, False)
    assert made.launched and len(log.said) >= 1


# -- another life ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("known, living, another", [
    ([], {}, False), ([(100, 5)], {100: 5}, False), ([(100, 5), (101, 6)], {101: 6}, False),
    ([(100, 5)], {}, True), ([(100, 5)], {100: 7}, True), ([(100, 5), (101, 6)], {102: 5}, True)])
def test_another_life_is_one_in_which_no_daemon_known_from_the_record_lives(site, monkeypatch, known, living, another):
    monkeypatch.setattr(processes, "read", lambda pid: Process(pid, 1, pid, 0, living[pid], "S", "nqsdaemon") if pid in living else None)
    assert site(record=recorded(daemons=known)).is_another_life() is another


def test_a_dead_daemon_does_not_live(site, monkeypatch):
    monkeypatch.setattr(processes, "read", lambda pid: Process(pid, 1, pid, 0, 5, "Z", "nqsdaemon"))
    assert site(record=recorded(daemons=[(100, 5)])).is_another_life()
