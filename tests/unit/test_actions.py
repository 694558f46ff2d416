from __future__ import annotations

import errno
import itertools
import os
from types import SimpleNamespace

import pytest

from cjc_agent import actions
from cjc_agent.actions import BAD_DIRECTORY, DEGRADED, FAILED, GOOD, MISCONFIGURED, NOT_INSTALLED, NOT_PERMITTED, STOPPED, Request, Verdict
from cjc_agent.layers import blockdisk, disk
from cjc_agent.layers import state as layer_state
from cjc_agent.layers.state import LayerError, State
from cjc_agent.settings import conf_file
from cjc_agent.tools import history, processes, procfs, record
from cjc_agent.tools.command import EXITED, STUCK, TIMED_OUT, Result
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.history import Clock
from cjc_agent.tools.lock import Busy, Lock
from cjc_agent.tools.record import Record
from unit.helpers import DEFAULTS, GIVEN, Script, Words

R, S, F = layer_state.RUNNING, layer_state.STOPPED, layer_state.FAILED


class StubSite:
    def __init__(self, status, complaint="", calls=None):
        self.status, self.complaint, self.calls = status, complaint, calls if calls is not None else []
        self.launched, self.found, self.daemons, self.resident, self.before = False, False, [], None, None
        self.start_error = self.stop_error = None
        self.evidence = ""
        self.another_life = False

    def is_another_life(self):
        return self.another_life

    def state(self, disk_up, probing=False):
        self.calls.append(("state", disk_up, probing))
        return State(self.status, "site reason")

    def check_service(self, deadline):
        return self.complaint

    def note_owner(self, deadline):
        self.calls.append("owner noted")

    def start(self, deadline, note, disk_was_up):
        self.calls.append(("disk was up", disk_was_up))
        self.before = [(300, 9)]
        note()
        self.calls.append("site start")
        self.launched = True
        if self.start_error:
            raise self.start_error
        self.status, self.before = R, None
        return True

    def stop(self, disk_up, deadline):
        self.calls.append("site stop")
        if self.stop_error:
            raise self.stop_error
        self.status = S

    def census(self):
        self.calls.append("census")
        return SimpleNamespace(evidence=lambda: self.evidence)

    def left_after_stop(self):
        return self.census().evidence()


class StubDisk:
    def __init__(self, status, exclusive=True, calls=None):
        self.status, self.exclusive, self.calls = status, exclusive, calls if calls is not None else []
        self.launched, self.found, self.resolved, self.words_left = False, False, {}, ""
        self.start_error = self.stop_error = None

    def state(self):
        return State(self.status, "disk reason")

    def start(self, deadline):
        self.calls.append("disk start")
        if self.start_error:
            raise self.start_error
        self.launched = self.status != R
        self.status = R

    def before_stop(self, deadline):
        self.calls.append("disk before stop")

    def stop(self, deadline):
        self.calls.append("disk stop")
        if self.stop_error:
            raise self.stop_error
        if self.exclusive:
            self.status = S

    def left(self):
        self.calls.append("disk left")
        return self.words_left


class StubVip:
    def __init__(self, status, calls=None):
        self.status, self.calls = status, calls if calls is not None else []

    def state(self):
        return State(self.status, "vip reason")

    def wait(self, deadline):
        self.calls.append("vip wait")
        if self.status != R:
            raise LayerError("vip reason")


def stack_of(disk=R, vip=R, site=R, exclusive=True, recorded=True, problems=None, complaint="", write=None, tmp_path="/nonexistent", before=None):
    calls = []
    made = SimpleNamespace(
        disk=StubDisk(disk, exclusive, calls), vip=StubVip(vip, calls), site=StubSite(site, complaint, calls),
        record=SimpleNamespace(before=before) if recorded else None, problems=problems or {},
        settings=SimpleNamespace(site="jobsiteA", site_db="/share/job_site", vip_wait=0.0, user="nqs"), deadline=Deadline(5),
        runner=Script(call=write or Result("write test", EXITED, 0)), log=Words(), folder=str(tmp_path), calls=calls)
    made.adopt = lambda: calls.append("adopt")

    def write_record():
        calls.append("record")
        made.record = SimpleNamespace(before=made.site.before)
    made.write_record = write_record
    return made


# -- monitor: the truth table ------------------------------------------------------------------------------------------------------------


def by_the_design(disk, vip, site, exclusive, recorded):
    """design.md: all RUNNING -> good; nothing of ours left -> stopped; anything else -> failed. In doubt failed."""
    if disk == R and site == R:
        return GOOD if vip == R else FAILED
    nothing_left = site == S and (disk == S or (disk == R and not exclusive))
    return STOPPED if nothing_left and not recorded else FAILED


# without its disk a site is never RUNNING: cjcpw is not called
TRUTH = [row for row in itertools.product((R, S, F), (R, S, F), (R, S, F), (True, False), (True, False)) if row[2] != R or row[0] == R]


@pytest.mark.parametrize("disk, vip, site, exclusive, recorded", TRUTH)
@pytest.mark.parametrize("level", [0, 10, 20])
def test_monitor_truth_table(disk, vip, site, exclusive, recorded, level):
    stack = stack_of(disk, vip, site, exclusive, recorded)
    verdict = actions._monitor(stack, level, False)
    assert verdict.outcome == by_the_design(disk, vip, site, exclusive, recorded)
    if verdict.outcome == FAILED:
        assert verdict.reason.split(":")[0] in ("disk", "vip", "site") and "\n" not in verdict.reason
    assert ("adopt" in stack.calls) is (verdict.outcome == GOOD and not recorded)
    assert bool(stack.runner.asked) is (verdict.outcome == GOOD and level == 20 or disk == R and site == F)


@pytest.mark.parametrize("disk, said, words", [
    (R, "EIO Input/output error", "disk: /share/job_site cannot be read"), (R, "ENOENT No such file or directory", "site: "), (F, "EIO ", "disk: "),
    (S, "EIO ", "disk: "),
])
def test_a_site_that_is_not_well_because_of_its_disk(disk, said, words):
    stack = stack_of(disk, R, F, True, True)
    stack.runner = Script(call=Result("look", EXITED, 1, said))
    assert actions._monitor(stack, 0, False).reason.startswith(words)
    assert bool(stack.runner.asked) is (disk == R), "nobody looks below a mount that is not there"


@pytest.mark.parametrize("before, adopted", [(None, False), ([], True), ([(300, 9)], True)])
def test_a_start_that_has_not_finished_is_finished_by_the_monitor_that_sees_the_site_run(before, adopted):
    stack = stack_of(before=before)
    assert actions._monitor(stack, 0, False).good and ("adopt" in stack.calls) is adopted
    for more in ({"vip": S}, {"site": S}, {"site": F}, {"disk": S, "site": S}):
        stack = stack_of(before=[], **more)
        assert actions._monitor(stack, 0, False).outcome == FAILED and "adopt" not in stack.calls


def test_a_site_that_was_started_again_by_hand_is_adopted_anew():
    stack = stack_of(recorded=True)
    stack.site.another_life = True
    assert actions._monitor(stack, 0, False).good and "adopt" in stack.calls


def test_a_recorded_site_whose_disk_is_not_there_names_the_disk():
    verdict = actions._monitor(stack_of(disk=S, site=S), 0, False)
    assert verdict.outcome == FAILED and verdict.reason.startswith("disk: disk reason") and "jobsiteA" in verdict.reason


def test_while_the_disk_is_not_running_the_site_is_told():
    stack = stack_of(disk=S, site=S, recorded=False)
    actions._monitor(stack, 0, True)
    assert stack.calls == [("state", False, True)]


@pytest.mark.parametrize("level, outcome", [(0, GOOD), (10, FAILED), (20, FAILED)])
def test_a_service_that_does_not_answer_fails_from_level_10(level, outcome):
    verdict = actions._monitor(stack_of(complaint="no TCP connection"), level, False)
    assert verdict.outcome == outcome and (outcome == GOOD or verdict.reason == "site: no TCP connection")


@pytest.mark.parametrize("result, outcome", [
    (Result("w", EXITED, 0, ""), GOOD),
    (Result("w", EXITED, 1, "ENOSPC No space left on device: /x"), DEGRADED), (Result("w", EXITED, 1, "EDQUOT x"), DEGRADED),
    (Result("w", EXITED, 1, "EIO Input/output error"), FAILED), (Result("w", EXITED, 1, "EROFS x"), FAILED), (Result("w", TIMED_OUT), FAILED),
    (Result("w", STUCK, 9), FAILED), (Result("w", EXITED, 70), FAILED),
])
def test_write_test_at_level_20(result, outcome):
    verdict = actions._monitor(stack_of(write=result), 20, False)
    assert verdict.outcome == outcome and (outcome == GOOD or verdict.reason.startswith("disk: /share/job_site"))


@pytest.mark.parametrize("read, outcome", [("EIO Input/output error", FAILED), ("EACCES x", DEGRADED), ("", DEGRADED)])
def test_a_disk_that_is_lost_is_not_full(read, outcome):
    stack = stack_of()
    answers = {"write test": "ENOSPC No space left on device", "look into the site DB": read}
    stack.runner.call = lambda name, function, deadline, user="": Result(name, EXITED, 1 if answers[name] else 0, answers[name])
    assert actions._monitor(stack, 20, False).outcome == outcome


def test_the_write_test_is_the_user_s():
    """As root it would work on what the site cannot write, and fail on an export that takes nothing from root."""
    stack = stack_of()
    seen = []
    stack.runner.call = lambda name, function, deadline, user="": seen.append((name, user)) or Result(name, EXITED, 0)
    assert actions._monitor(stack, 20, False).good and seen == [("write test", "nqs")]


def test_a_bad_parameter_of_a_running_site_is_a_failure_and_of_a_stopped_one_is_not():
    problems = {"port": "parameter port: is wrong"}
    verdict = actions._monitor(stack_of(recorded=False, problems=problems), 0, True)
    assert verdict.outcome == FAILED and verdict.reason == "parameter port: is wrong"
    assert actions._monitor(stack_of(problems=problems), 0, True).good, "with a record it is monitored as it was started"
    assert actions._monitor(stack_of(disk=S, site=S, recorded=False, problems=problems), 0, True).outcome == STOPPED


def test_write_test_itself(tmp_path):
    left = tmp_path / (".cjc-agent-check-%s" % os.uname().nodename)
    left.write_text("left by a check that was killed")
    assert actions.write_test(str(tmp_path)) == "" and os.listdir(tmp_path) == []
    left.symlink_to(tmp_path / "target")
    actions.write_test(str(tmp_path))
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        actions.write_test(str(tmp_path / "none"))


def test_write_test_goes_to_the_disk_and_back(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.pread(descriptor, 100, 0)))
    assert actions.write_test(str(tmp_path)) == "" and len(synced) == 1 and len(synced[0]) == 64
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, length, offset)[:-1] + b"!!")
    with pytest.raises(OSError, match="read back something else"):
        actions.write_test(str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["file", "link"])
def test_write_test_never_writes_into_what_somebody_lays_in_its_way(tmp_path, monkeypatch, target):
    victim = tmp_path / "victim"
    victim.write_text("x" * 64)
    monkeypatch.setattr(actions.statefile, "remove", lambda path: (os.link if target == "file" else os.symlink)(victim, path))  # just after
    with pytest.raises(FileExistsError):
        actions.write_test(str(tmp_path))
    assert victim.read_text() == "x" * 64


def test_write_test_on_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError):
        actions.write_test(str(tmp_path))
    assert os.listdir(tmp_path) == []


# -- start and stop ----------------------------------------------------------------------------------------------------------------------


def test_start_climbs():
    stack = stack_of(disk=S, site=S, recorded=False)
    assert actions._start(stack, Clock("start")).good
    assert [call for call in stack.calls if isinstance(call, str)] == ["disk start", "vip wait", "record", "site start", "record", "owner noted"]
    assert stack.record.before is None and ("state", True, False) not in stack.calls, "status has been asked once, by the site's own start"


def test_the_wait_for_an_address_leaves_time_for_the_site():
    stack = stack_of(disk=S, site=S, recorded=False)
    stack.settings.vip_wait, waits = 1000.0, []
    stack.vip.wait = lambda deadline: waits.append(deadline.total())
    assert actions._start(stack, Clock("start")).good and 0 < waits[0] <= stack.deadline.total() / 4


@pytest.mark.parametrize("disk", [S, R])
def test_the_site_s_start_is_told_whether_the_disk_was_up(disk):
    stack = stack_of(disk=disk, site=S, recorded=False)
    assert actions._start(stack, Clock("start")).good and ("disk was up", disk == R) in stack.calls


@pytest.mark.parametrize("where, taken_down", [("disk", []), ("vip", ["disk stop"]), ("site", ["site stop", "disk stop"])])
def test_a_failed_start_takes_down_what_it_brought_up(where, taken_down):
    stack = stack_of(disk=S, site=S, vip=S if where == "vip" else R, recorded=False)
    if where != "vip":
        getattr(stack, where).start_error = LayerError("does not come up")
    verdict = actions._start(stack, Clock("start"))
    assert verdict.outcome == FAILED and verdict.reason.startswith(where + ": ")
    assert [call for call in stack.calls if call in ("disk stop", "site stop")] == taken_down


def test_a_failed_start_leaves_what_was_there_before():
    stack = stack_of(disk=R, site=S, vip=S)
    actions._start(stack, Clock("start"))
    assert "disk stop" not in stack.calls and "site stop" not in stack.calls


def test_a_site_that_cannot_be_ended_keeps_its_disk():
    stack = stack_of(disk=S, site=S)
    stack.site.start_error, stack.site.stop_error = LayerError("no"), LayerError("cannot be ended: x[5]")
    verdict = actions._start(stack, Clock("start"))
    assert "left as it is: cannot be ended: x[5]" in verdict.reason and "disk stop" not in stack.calls


@pytest.mark.parametrize("layer, status", [("disk", F), ("disk", S), ("vip", S), ("vip", F)])
def test_start_is_good_only_when_monitor_would_say_so(layer, status):
    """The site itself has been heard to run by the end of its start; meanwhile the layers below it may have gone."""
    stack = stack_of(disk=S, site=S)
    start = stack.site.start

    def and_then(deadline, note, disk_was_up):
        getattr(stack, layer).status = status
        return start(deadline, note, disk_was_up)
    stack.site.start = and_then
    verdict = actions._start(stack, Clock("start"))
    assert verdict.outcome == FAILED and verdict.reason.startswith("%s: " % layer) and "after the start" in verdict.reason and "site stop" in stack.calls


def test_a_start_that_finds_the_site_running_adopts_it():
    stack = stack_of(recorded=False)
    stack.site.start = lambda deadline, note, disk_was_up: False
    stack.is_told_otherwise = lambda: False
    assert actions._start(stack, Clock("start")).good and "adopt" in stack.calls


def test_a_start_on_a_running_site_takes_new_parameters_over(request_of, state_folder):
    """Under CLUSTERPRO nothing else does, and the monitor judges by the record."""
    found = saved(state_folder)
    for given, told in (({}, True), ({"port": "1111"}, True)):  # the saved one lacks the defaults
        request = request_of(**given)
        assert actions.Stack(request, request.settings, found).is_told_otherwise() is told
    same = saved(state_folder, settings=request_of().settings.texts)
    request = request_of()
    assert actions.Stack(request, request.settings, same).is_told_otherwise() is False
    assert actions.Stack(request, request.settings, None).is_told_otherwise() is False


def test_stop_descends(tmp_path):
    stack = stack_of(tmp_path=tmp_path)
    assert actions._stop(stack, Clock("stop")).good
    assert [call for call in stack.calls if isinstance(call, str)] == [
        "disk before stop", "site stop", "disk stop", "disk left", "census"]  # what is left is seen last


@pytest.mark.parametrize("errors, words", [
    (("site",), ["site: s"]), (("disk",), ["disk: d"]), (("site", "disk"), ["disk: d", "site: s"]),
])
def test_stop_goes_on_after_a_failure_and_names_everything(errors, words):
    stack = stack_of()
    stack.site.stop_error = LayerError("s") if "site" in errors else None
    stack.disk.stop_error = LayerError("d") if "disk" in errors else None
    stack.site.evidence = "processes left: x[5]" if "site" in errors else ""
    verdict = actions._stop(stack, Clock("stop"))
    assert verdict.outcome == FAILED and "disk stop" in stack.calls and verdict.reason == "; ".join(words)


def test_stop_goes_on_after_an_os_error_of_the_site():
    stack = stack_of()
    stack.site.stop_error = OSError(errno.EMFILE, "Too many open files")
    stack.site.evidence = "processes left: x[5]"
    verdict = actions._stop(stack, Clock("stop"))
    assert verdict.outcome == FAILED and "disk stop" in stack.calls and "site: " in verdict.reason


@pytest.mark.parametrize("error", [LayerError("cannot be ended: x[5]"), OSError(errno.EMFILE, "Too many open files")])
def test_what_the_site_complained_of_and_is_gone_at_the_end_is_only_logged(state_folder, error):
    """Who could not be ended before the umount may have gone since: the verdict is what is left at the end."""
    saved(state_folder)
    stack = stack_of(tmp_path=state_folder)
    stack.site.stop_error = error
    assert actions._stop(stack, Clock("stop")).good
    assert [text for level, text in stack.log.said if level == "warning"] == ["site: %s: gone since" % procfs.words(error)]
    assert record.load(str(state_folder), "jobsiteA") is None


@pytest.mark.parametrize("status, exclusive", [(S, True), (R, True), (F, True), (R, False)])
@pytest.mark.parametrize("left", ["", "/dev/sdb1 (ext4) on /share is still mounted"])
@pytest.mark.parametrize("evidence", ["", "processes left: x[5]"])
def test_stop_says_good_only_after_seeing_it(state_folder, status, exclusive, left, evidence):
    """What is mounted and is not ours is none of stop's business, whatever the disk's state makes of it."""
    saved(state_folder)
    stack = stack_of(tmp_path=state_folder, exclusive=exclusive)
    stack.disk.stop = lambda deadline: setattr(stack.disk, "status", status)
    stack.disk.words_left, stack.site.evidence = left, evidence
    verdict = actions._stop(stack, Clock("stop"))
    assert verdict.good is (not left and not evidence)
    assert verdict.reason == "; ".join(["disk: " + left] * bool(left) + ["site: " + evidence] * bool(evidence))
    assert (record.load(str(state_folder), "jobsiteA") is None) is verdict.good, "the record goes with the last of it"


# -- whole actions -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def request_of(state_folder, log):
    def make(seconds=5, instance="jc", **given):
        return Request({**GIVEN, **given}, Deadline(seconds), log, str(state_folder), instance)
    return make


def saved(state_folder, **more):
    values = {"settings": dict(GIVEN), "instance": "jc", "boot": processes.boot_id(), "disk": {}, "port": 20816, "daemons": [], "resident": None}
    made = Record(**{**values, **more})
    record.save(str(state_folder), made)
    return made


@pytest.mark.parametrize("given, outcome", [({}, GOOD), ({"site": ""}, MISCONFIGURED), ({"port": "x"}, MISCONFIGURED), ({"device": "/dev/x"}, MISCONFIGURED)])
def test_validate_level_0(request_of, given, outcome):
    verdict = actions.validate(request_of(**given), 0)
    assert verdict.outcome == outcome and verdict.reason.startswith("parameter" if outcome != GOOD else "")


def test_validate_without_psutil(request_of, monkeypatch):
    monkeypatch.setattr(processes, "has_psutil", lambda: False)
    assert actions.validate(request_of(), 0).outcome == NOT_INSTALLED
    assert actions.start(request_of()).outcome == NOT_INSTALLED


def test_validate_level_10(request_of, product, tmp_path):
    mount_point = tmp_path.resolve() / "share"
    mount_point.mkdir()
    given = {"nqs_home": str(product), "directory": str(mount_point), "site_db": str(mount_point / "job_site")}

    def outcome(**more):
        return actions.validate(request_of(**{**given, **more}), 10).outcome
    assert outcome() == GOOD
    assert outcome(directory=str(tmp_path / "none"), site_db=str(tmp_path / "none" / "db")) == BAD_DIRECTORY
    (tmp_path / "link").symlink_to(mount_point)
    assert outcome(directory=str(tmp_path / "link"), site_db=str(tmp_path / "link" / "db")) == BAD_DIRECTORY
    (mount_point / "job_site").mkdir()
    for site_db, seen in ((mount_point / "job_site", GOOD), (tmp_path / "link" / "job_site", BAD_DIRECTORY), (mount_point / "not yet", GOOD)):
        assert outcome(directory="", site_db=str(site_db)) == seen
    through_link = {**given, "directory": "", "site_db": str(tmp_path / "link" / "job_site")}
    assert actions.validate(request_of(**through_link), 10).reason == "disk: CJC315: site_db %s/link/job_site is reached through a symbolic link: write %s" % (
        tmp_path, mount_point / "job_site")
    assert outcome(user="no-such-user") == outcome(licence_pattern="XYZ") == NOT_INSTALLED
    (product / "cjcpw").chmod(0o644)
    assert outcome() == NOT_PERMITTED
    (product / "cjcpw").unlink()
    assert outcome() == NOT_INSTALLED and actions.validate(request_of(**given), 0).good


def test_start_waits_for_the_lock_within_its_time(request_of, state_folder, monkeypatch, start_python):
    monkeypatch.setattr(actions, "validate", lambda request, level: Verdict(GOOD))
    from unit.tools.test_lock import HOLD
    holder = start_python(HOLD, str(state_folder / "cjc-jobsiteA.lock"), "stop")
    for action in (actions.start, actions.stop):
        verdict = action(request_of(seconds=0.2))
        assert verdict.outcome == FAILED and "stop (pid %d)" % holder.pid in verdict.reason


@pytest.mark.parametrize("who", [{"site": ""}, {"site": "", "site_db": ""}, {"site": "bad name"}])
def test_a_stop_without_a_usable_site_goes_by_the_record(request_of, state_folder, monkeypatch, who):
    seen = []
    saved(state_folder)
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: seen.append(stack) or Verdict(GOOD))
    actions.stop(request_of(**who))
    assert seen[0].settings.site == "jobsiteA" and seen[0].record is not None


def test_stop_acts_on_the_records_settings(request_of, state_folder, monkeypatch):
    seen = []
    saved(state_folder, settings={**GIVEN, "port": "1111"})
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: seen.append(stack) or Verdict(GOOD))
    actions.stop(request_of(port="2222"))
    assert seen[0].settings.port == 1111


def test_a_lock_that_cannot_be_had_does_not_stand_in_the_way_of_stop(request_of, monkeypatch, log):
    def refuse(self, what, deadline):
        raise OSError(30, "Read-only file system", "/run/x.lock")
    monkeypatch.setattr(Lock, "take", refuse)
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: Verdict(GOOD))
    assert actions.stop(request_of()).good and any("stopping without it" in text for _, text in log.said)
    monkeypatch.setattr(actions, "validate", lambda request, level: Verdict(GOOD))
    assert actions.start(request_of()).outcome == FAILED


def test_stop_sees_the_record_of_the_start_it_waited_for(request_of, state_folder, monkeypatch):
    seen = []
    monkeypatch.setattr(Lock, "take", lambda self, what, deadline: saved(state_folder, resident=(4242, 7)))  # the start ends now
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: seen.append(stack.record) or Verdict(GOOD))
    actions.stop(request_of())
    assert seen[0] is not None and seen[0].resident == (4242, 7)


def test_an_os_error_in_a_layer_is_no_trouble_of_the_lock(request_of, monkeypatch):
    monkeypatch.setattr(actions, "validate", lambda request, level: Verdict(GOOD))
    stack = stack_of(disk=S, site=S, recorded=False)
    stack.site.start_error = OSError(errno.EBUSY, "Device or resource busy")
    monkeypatch.setattr(actions, "Stack", lambda *args: stack)
    verdict = actions.start(request_of())
    assert verdict.outcome == FAILED
    assert not verdict.reason.startswith("lock:") and "disk stop" in stack.calls


# -- monitor with a slip of the pen ------------------------------------------------------------------------------------------------------


@pytest.fixture
def monitored(request_of, monkeypatch):
    """The stack that a monitor looks at."""
    def look(**given):
        seen = []
        monkeypatch.setattr(actions, "_monitor", lambda stack, level, probing: seen.append(stack) or Verdict(GOOD))
        actions.monitor(request_of(**given), 0, False)
        return seen[0]
    return look


def test_a_bad_parameter_is_monitored_as_it_was_started(monitored, state_folder, log):
    saved(state_folder, settings={**GIVEN, "port": "1111", "status_running": "0,5", "vip": "10.0.0.9"})
    stack = monitored(port="x", status_running="y", vip="10.0.0.1", user="z z")
    assert (stack.settings.port, stack.settings.status_running, stack.settings.vip) == (1111, (0, 5), ("10.0.0.9",))
    assert stack.settings.user == "root", "what the record does not have was the default"
    warnings = [text for level, text in log.said if level == "warning"]
    assert len(warnings) == 3 and all("that the site was started with" in text for text in warnings)
    assert any("parameter port" in text for text in warnings)


def test_a_bad_device_or_directory_is_taken_from_the_record(monitored, state_folder):
    block = {"device": "/dev/sdb1", "directory": "/share"}
    saved(state_folder, settings={**GIVEN, **block})
    for given in ({**block, "device": "sdb1"}, {**block, "directory": "share"}, {"device": "/dev/sdb1"}):
        stack = monitored(**given)
        assert type(stack.disk) is blockdisk.BlockDisk and (stack.settings.device, stack.settings.directory) == ("/dev/sdb1", "/share")


@pytest.mark.parametrize("given", [{"device": "sdb1", "directory": "/share"}, {"device": "/dev/sdb1", "directory": "share"}, {"device": "/dev/sdb1"}])
def test_a_bad_device_or_directory_without_a_record_is_no_disk_of_the_clusters(monitored, request_of, monkeypatch, given):
    assert type(monitored(**given).disk) is disk.UnknownDisk
    seen = []
    monkeypatch.setattr(actions, "_stop", lambda stack, clock: seen.append(stack) or Verdict(GOOD))
    actions.stop(request_of(**given))
    assert type(seen[0].disk) is disk.UnknownDisk


def test_without_problems_the_record_changes_nothing(monitored, state_folder, log):
    saved(state_folder, settings={**GIVEN, "port": "1111"})
    assert monitored(port="2222").settings.port == 2222 and monitored().settings.port == 0 and log.said == []


def test_a_contradiction_is_monitored_as_it_was_started(monitored, state_folder):
    saved(state_folder)
    stack = monitored(status_running="0,1")
    assert not set(stack.settings.status_running) & set(stack.settings.status_stopped)


# -- a configuration file that is not right ----------------------------------------------------------------------------------------------


@pytest.fixture
def from_file(state_folder, log):
    """A request with what a file of these lines says."""
    def make(*lines):
        conf = conf_file.parse("\n".join(lines).encode(), "/etc/x.conf")
        return Request(conf.values, Deadline(5), log, str(state_folder), conf.path, conf)
    return make


def test_complaints_name_file_and_line(from_file):
    request = from_file("site = a", "port = x")
    assert request.complaints == ["/etc/x.conf: parameter site_db: is not given: set it",
                                  "/etc/x.conf line 2: parameter port: 'x' is no TCP port: give a number from 1 to 65535"]
    assert actions.start(request).outcome == actions.MISCONFIGURED


def test_what_cannot_be_read_may_have_been_the_disk(from_file):
    request = from_file("site = a", "site_db = /share/a", "devise = /dev/sdb1")
    assert request.problems.keys() == {"line", "device", "directory"} and len(request.complaints) == 1
    assert type(actions.Stack(request, request.settings, None).disk) is disk.UnknownDisk
    known = from_file("site = a", "site_db = /share/a", "device = /dev/sdb1", "directory = /share", "x")
    assert type(actions.Stack(known, known.settings, None).disk) is blockdisk.BlockDisk


def test_an_option_that_wins_over_the_file_is_not_in_the_file(state_folder, log):
    conf = conf_file.parse(b"site = a\nport = 1", "/etc/x.conf")
    request = Request({**conf.values, "site_db": "/x", "port": "y"}, Deadline(5), log, str(state_folder), "", conf)
    assert request.complaints == ["parameter port: 'y' is no TCP port: give a number from 1 to 65535"]


def test_the_record_of_a_resource_whose_file_has_gone(from_file, state_folder):
    saved(state_folder, instance="/etc/x.conf")
    assert actions.recorded(from_file()).settings["site"] == "jobsiteA"
    saved(state_folder, instance="/etc/y.conf")
    assert actions.recorded(from_file()) is None


# -- adoption ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def adopting(request_of, monkeypatch):
    def make(status=R, **given):
        request = request_of(**given)
        stack = actions.Stack(request, request.settings, None)
        monkeypatch.setattr(stack.site, "learn_daemons", lambda: setattr(stack.site, "daemons", [(100, 5)]))
        monkeypatch.setattr(stack.site, "state", lambda disk_up, probing=False: State(status, ""))
        return stack
    return make


@pytest.mark.parametrize("status, adopted", [(R, True), (S, False), (F, False)])
def test_adopted_is_what_runs_at_the_very_end(adopting, state_folder, status, adopted):
    adopting(status, port="1234").adopt()
    found = record.load(str(state_folder), "jobsiteA")
    assert (found is not None and found.daemons == [(100, 5)] and found.before is None) if adopted else found is None


def test_nothing_is_adopted_while_a_start_or_stop_is_at_work(adopting, state_folder, start_python):
    from unit.tools.test_lock import HOLD
    holder = start_python(HOLD, str(state_folder / "cjc-jobsiteA.lock"), "stop")
    adopting(port="1234").adopt()
    assert record.load(str(state_folder), "jobsiteA") is None
    holder.kill()
    holder.wait()
    adopting(port="1234").adopt()
    assert record.load(str(state_folder), "jobsiteA") is not None


def test_a_start_that_adopts_keeps_its_lock(adopting, state_folder, request_of, monkeypatch):
    """Closing any descriptor of the lock file would give a POSIX lock back: our own is not looked at."""
    monkeypatch.setattr(actions, "validate", lambda request, level: Verdict(GOOD))
    monkeypatch.setattr(Lock, "is_held", lambda self: pytest.fail("looked at its own lock"))
    seen = []

    def adopt(stack, clock):
        monkeypatch.setattr(stack.site, "learn_daemons", lambda: None)
        monkeypatch.setattr(stack.site, "state", lambda disk_up, probing=False: State(R, ""))
        stack.adopt()
        seen.append(record.load(str(state_folder), "jobsiteA"))
        return Verdict(GOOD)
    monkeypatch.setattr(actions, "_start", adopt)
    assert actions.start(request_of(port="1234")).good and seen[0] is not None


def test_busy_is_named(request_of, monkeypatch):
    def busy(self, what, deadline):
        raise Busy("start (pid 5) works on this site")
    monkeypatch.setattr(Lock, "take", busy)
    assert actions.stop(request_of()).reason == "lock: start (pid 5) works on this site: wait for it to end"


@pytest.mark.parametrize("how", ["torn", "other boot", "none"])
def test_a_record_that_says_nothing_counts_as_none(request_of, state_folder, log, how):
    if how == "torn":
        (state_folder / "cjc-jobsiteA.json").write_bytes(b"{")
        (state_folder / "cjc-jobsiteA.json").chmod(0o600)
    if how == "other boot":
        saved(state_folder, boot="x")
    assert actions.load_record(request_of(), "jobsiteA") is None
    assert bool(log.said) is (how == "torn")


def test_the_record_keeps_the_effective_settings_and_the_layers_findings(request_of, state_folder):
    request = request_of(port="1234", vip="10.0.0.1")
    stack = actions.Stack(request, request.settings, None)
    stack.site.daemons, stack.site.resident, stack.site.before = [(100, 5)], (200, 7), [(300, 9)]
    stack.write_record()
    loaded = record.load(str(state_folder), "jobsiteA")
    assert (loaded.settings, loaded.instance, loaded.port, loaded.daemons) == (
        {**DEFAULTS, **GIVEN, "port": "1234", "vip": "10.0.0.1"}, "jc", 1234, [(100, 5)])
    assert (loaded.resident, loaded.before, loaded.boot) == ((200, 7), [(300, 9)], processes.boot_id())


def test_reload_takes_the_lock(request_of, state_folder, monkeypatch, start_python):
    from unit.tools.test_lock import HOLD
    monkeypatch.setattr(actions, "monitor", lambda request, level, probing: Verdict(GOOD))
    saved(state_folder, port=1111)
    holder = start_python(HOLD, str(state_folder / "cjc-jobsiteA.lock"), "stop")
    verdict = actions.reload(request_of(seconds=0.2, port="2222"))
    assert verdict.outcome == FAILED and "stop (pid %d)" % holder.pid in verdict.reason
    assert record.load(str(state_folder), "jobsiteA").port == 1111
    holder.kill()
    holder.wait()
    assert actions.reload(request_of(port="2222")).good
    start_python(HOLD, str(state_folder / "cjc-jobsiteA.lock"), "stop")  # would wait 5 s and fail if it were not given back


def test_reload_keeps_an_unfinished_start_unfinished(request_of, state_folder, monkeypatch):
    monkeypatch.setattr(actions, "monitor", lambda request, level, probing: Verdict(GOOD))
    saved(state_folder, before=[(300, 9)])
    assert actions.reload(request_of(port="2222")).good and record.load(str(state_folder), "jobsiteA").before == [(300, 9)]


def test_reload(request_of, state_folder, monkeypatch):
    monkeypatch.setattr(actions, "monitor", lambda request, level, probing: Verdict(GOOD))
    saved(state_folder, daemons=[(100, 5)], port=1111)
    assert actions.reload(request_of(port="2222")).good
    loaded = record.load(str(state_folder), "jobsiteA")
    assert (loaded.port, loaded.settings["port"], loaded.daemons) == (2222, "2222", [(100, 5)])
    assert actions.reload(request_of(port="x")).outcome == FAILED, "0 or 1, never 6"
    for outcome in (STOPPED, FAILED, DEGRADED):
        monkeypatch.setattr(actions, "monitor", lambda request, level, probing, o=outcome: Verdict(o, "r"))  # noqa: B023
        verdict = actions.reload(request_of())
        assert verdict.outcome == FAILED and verdict.reason.startswith("site: jobsiteA does not run here" if outcome == STOPPED else "r")


# -- the history -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def on(monkeypatch, request_of):
    """Do an action on a stack of stubs."""
    def act(action, stack, **given):
        monkeypatch.setattr(actions, "validate", lambda request, level: Verdict(GOOD))
        monkeypatch.setattr(actions, "Stack", lambda *args: stack)
        return action(request_of(**given))
    return act


@pytest.fixture
def noted(state_folder):
    """What the history says: (action, outcome, names of the steps, idle) of each entry."""
    def look():
        return [(entry.action, entry.outcome, " ".join(name for name, _ in entry.steps), entry.idle) for entry in history.load(str(state_folder), "jobsiteA")]
    return look


def test_a_start_and_a_stop_are_noted_with_their_steps(on, noted):
    assert on(actions.start, stack_of(disk=S, site=S, recorded=False)).good
    stack = stack_of()
    stack.site.found = True
    assert on(actions.stop, stack).good
    assert noted() == [("start", GOOD, "check lock disk vip site", False), ("stop", GOOD, "lock site disk", False)]


@pytest.mark.parametrize("where, steps", [("disk", "check lock disk take down"), ("vip", "check lock disk vip take down"),
                                          ("site", "check lock disk vip site take down")])
def test_a_failed_start_is_noted_with_its_reason(on, noted, state_folder, where, steps):
    stack = stack_of(disk=S, site=S, vip=S if where == "vip" else R, recorded=False)
    if where != "vip":
        getattr(stack, where).start_error = LayerError("does not come up")
    verdict = on(actions.start, stack)
    assert noted() == [("start", FAILED, steps, False)] and history.load(str(state_folder), "jobsiteA")[0].reason == verdict.reason


def test_a_start_of_a_running_site_is_idle(on, noted):
    stack = stack_of()
    stack.site.start, stack.is_told_otherwise = lambda deadline, note, disk_was_up: False, lambda: False
    assert on(actions.start, stack).good and noted() == [("start", GOOD, "check lock disk vip site", True)]


def test_a_refused_start_is_noted(request_of, noted, state_folder):
    assert actions.start(request_of(port="x")).outcome == MISCONFIGURED
    assert actions.start(request_of(site="bad name")).outcome == MISCONFIGURED, "nobody could look for it"
    assert noted() == [("start", MISCONFIGURED, "check", False)] and "parameter port" in history.load(str(state_folder), "jobsiteA")[0].reason
    assert os.listdir(state_folder) == ["cjc-jobsiteA.history"]


def test_an_action_that_waited_for_the_lock_in_vain_is_noted(on, noted, monkeypatch):
    def busy(self, what, deadline):
        raise Busy("start (pid 5) works on this site")
    monkeypatch.setattr(Lock, "take", busy)
    for action in (actions.start, actions.stop):
        assert not on(action, stack_of()).good
    assert noted() == [("start", FAILED, "check lock", False), ("stop", FAILED, "lock", False)]


@pytest.mark.parametrize("was_here, expected", [
    ("", []), ("record", [("stop", GOOD, "lock site disk", True)]), ("disk", [("stop", GOOD, "lock site disk", True)]),
    ("site", [("stop", GOOD, "lock site disk", False)]), ("left", [("stop", FAILED, "lock site disk", True)]),
])
def test_a_stop_of_what_was_never_here_is_not_noted(on, noted, state_folder, was_here, expected):
    stack = stack_of(disk=S, site=S, recorded=False)
    if was_here == "record":
        saved(state_folder)
    elif was_here == "left":
        stack.disk.words_left = "/dev/sdb1 is still mounted"
    elif was_here:
        getattr(stack, was_here).found = True
    on(actions.stop, stack)
    assert noted() == expected


def test_a_history_that_cannot_be_written_changes_no_answer(on, monkeypatch, log):
    monkeypatch.setattr(history.statefile, "write", lambda path, data: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    stack = stack_of()
    stack.site.found = True
    assert on(actions.start, stack_of(disk=S, site=S, recorded=False)).good and on(actions.stop, stack).good
    assert [level for level, _ in log.said] == ["debug", "debug"] and all("Read-only file system" in text for _, text in log.said)
