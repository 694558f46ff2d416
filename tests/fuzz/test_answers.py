"""What commands print, what the cluster hands over, and what we say: words that end in a log, on a terminal or in a decision."""
from __future__ import annotations

import json
import os
import re
import syslog
import xml.etree.ElementTree as ElementTree

from cjc_agent.actions import GOOD, Verdict
from cjc_agent.frontends import cli, clusterpro, ocf
from cjc_agent.layers.site import Site
from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, State
from cjc_agent.operator import status
from cjc_agent.settings import metadata
from cjc_agent.tools import blockdevice, command, deadline
from cjc_agent.tools import log as logging
from cjc_agent.tools.command import EXITED, SIGNALLED, STUCK, TIMED_OUT, UNSTARTED, Result
from fuzz import specimens
from fuzz.engine import fuzz, is_one_line
from unit.helpers import Words, settings
from unit.operator import test_status

OUTCOMES = [EXITED, SIGNALLED, TIMED_OUT, STUCK, UNSTARTED]
HOSTILE = ["disk: /share should carry /dev/sdb1: unmount it", "jcsim[7]", "サイト"]


def answered(recipe):
    """A command's end: how, with which code, and what it has printed, which may be long and have a hole in it."""
    printed = recipe.mutated([*specimens.STATUS, *specimens.BLKID]) * recipe.pick([1, 1, 1, 40, 3000])
    return recipe.pick(OUTCOMES), recipe.number(256), printed, recipe.pick([0, 0, 9000])


def result_of(drawn):
    """The Result, as the runner makes it from what a command has left in its memory file."""
    outcome, code, printed, hole = drawn
    descriptor = command._memory_file()
    try:
        os.pwrite(descriptor, printed[:200000], hole)
        command._seal(descriptor)
        return Result("cjcpw status", outcome, code, command._read_back(descriptor, whole=False))
    finally:
        os.close(descriptor)


def check_output(drawn):
    result = result_of(drawn)
    assert len(result.output) <= 2 * command.SHOWN_OUTPUT + 10 and "\0" not in result.output
    assert "\n" not in result.words() and is_one_line(logging.one_line(result.words()))
    assert result.words().startswith("cjcpw status ")
    assert result.ok == (drawn[0] == EXITED and drawn[1] == 0) and (result.exit_code is None) == (drawn[0] != EXITED)


    site = Site(settings(), Answers(result), Words(), None, lambda: None, deadline.Deadline(1))
    site._by_evidence = lambda: State(STOPPED, "nothing is left")
    state = site.state(disk_up=True)
    assert state.status == (RUNNING if result.exit_code == 0 else STOPPED if result.exit_code in (1, 3) else FAILED), "whatever it prints"
    assert is_one_line(logging.one_line(state.reason))


class Answers:
    """A runner whose every command answers the same."""

    def __init__(self, result):
        self.result = result

    def run(self, *_, **__):
        return self.result

    def tool(self, arguments, limit):
        return self.result


def test_output():
    fuzz("cjcpw's output", answered, check_output)


def check_blkid(drawn):
    runner = Answers(result_of(drawn))
    try:
        path = blockdevice.resolve("LABEL=share", runner, deadline.Deadline(1))
        assert path.startswith("/dev/") and runner.result.ok
        blockdevice.number(path)
    except blockdevice.Unresolved as error:
        assert is_one_line(logging.one_line(str(error))) and isinstance(error.absent, bool)
    complaint = blockdevice.check_file_system("/dev/sdb1", "ext4", "auto", runner, deadline.Deadline(1))
    assert (complaint == "") == (runner.result.exit_code in (0, 1))


def test_blkid_and_fsck():
    fuzz("blkid's output", answered, check_blkid)


# -- what the cluster hands over -----------------------------------------------------------------------------------------------------


def check_level(text):
    words = Words()
    level = ocf._check_level(text, words)
    if re.fullmatch("[0-9]+", text):
        significant = text.lstrip("0")
        assert level == (20 if len(significant) > 2 else max(known for known in (0, 10, 20) if known <= int(significant or 0)))
    else:
        assert level == 0 and (text == "" or len(words.said) == 1)


def test_check_level():
    fuzz("OCF_CHECK_LEVEL", lambda recipe: recipe.text(["0", "10", "20", "15", "007", ""]) + recipe.text(["", "0"]), check_level)


def times(recipe):
    """Timeouts in seconds, from nothing to years, and shares of them."""
    return recipe.number(1 << 16) * 10.0 ** (recipe.number(12) - 6), recipe.number(256) / 255, recipe.number(1 << 16) * 10.0 ** (recipe.number(12) - 6)


def check_times(drawn):
    timeout, fraction, other = drawn
    budget = deadline.budget(timeout)
    assert timeout / 2 <= budget <= timeout and timeout - budget <= 5 + timeout * 1e-9
    assert timeout < 2 or timeout - budget >= 0.999
    whole = deadline.Deadline(budget)
    for part in (whole.part(other), whole.share(fraction), whole.part(-other)):
        assert part.total() <= budget + 1e-6 and 0 <= part.left() <= whole.left()
    assert metadata.default_timeout("start") == 180.0


def test_deadlines(monkeypatch):
    monkeypatch.setattr(deadline, "monotonic", lambda: 4711.5)
    fuzz("timeouts", times, check_times)


def test_timeouts_of_the_cluster(monkeypatch):
    """CRM_meta_timeout and CRM_meta_interval, as `_act` reads them."""
    seen = {}

    def monitor(request, level, probing):
        seen.update(total=request.deadline.total(), probing=probing)
        return Verdict(GOOD)

    monkeypatch.setattr(ocf.actions, "monitor", monitor)

    def check(drawn):
        timeout, interval = drawn
        monkeypatch.setattr(os, "environ", {"OCF_RESKEY_CRM_meta_timeout": timeout, "OCF_RESKEY_CRM_meta_interval": interval})
        assert ocf._act("monitor", "/nonexistent", Words()).good
        milliseconds = int(timeout) if re.fullmatch("[0-9]{1,11}", timeout) else 0
        assert abs(seen["total"] - deadline.budget(milliseconds / 1000 or 30.0)) <= 1e-6 * max(1, milliseconds)
        assert seen["probing"] == (interval in ("", "0"))

    fuzz("CRM_meta_timeout", lambda recipe: (recipe.text(["30000", "180000", ""]), recipe.text(["0", "10000"])), check)


# -- what we say ---------------------------------------------------------------------------------------------------------------------


def check_words(text):
    said = logging.one_line(text)
    assert is_one_line(said) and (said == text or not text.isprintable() or len(text) > 2000)


def test_one_line():
    fuzz("one_line", lambda recipe: recipe.text(HOSTILE), check_words)


def check_cut(drawn):
    text, limit = drawn
    said = clusterpro.cut(logging.one_line(text), limit)
    assert is_one_line(said) and len(said.encode()) <= limit, "a surrogate would not encode"
    assert said == logging.one_line(text) or (said.endswith("...") and logging.one_line(text).startswith(said[:-3]))


def test_a_message_for_clplogcmd():
    fuzz("message for clplogcmd", lambda recipe: (recipe.text(HOSTILE) * recipe.pick([1, 1, 20]), 40 + recipe.number(300)), check_cut)


NAMES = ["HA_LOGTAG", "HA_LOGFACILITY", "HA_debug", "HA_DEBUGLOG"]
VALUES = ["daemon", "none", "local7", "mask", "upto", "pid", "1", "/no/such/log", "info", "syslog", "ODELAY", ""]


def test_log(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(logging, "write", lambda descriptor, line: written.append(line))
    monkeypatch.setattr(logging.Log, "_bounded", lambda self, name, write: write())  # in a child we would not see it
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: written.append("%s\n" % text) if 0 <= priority < 8 else None)

    def make(recipe):
        environ = {recipe.pick(NAMES): recipe.text(VALUES) for _ in range(recipe.number(4))}
        return dict(environ, HA_LOGFILE=str(tmp_path / "log")) if recipe.number(2) else environ, recipe.text(HOSTILE), recipe.text(HOSTILE)

    def check(drawn):
        environ, instance, text = drawn
        del written[:]
        log = logging.Log("jobcenter(%s)" % instance, environ)
        for say in (log.debug, log.info, log.warning, log.error):
            say(text)
        assert 3 <= len(written) <= 8
        assert all(line.endswith("\n") and is_one_line(line[:-1], 2300) for line in written)
        syslog.closelog()

    fuzz("HA_* and log lines", make, check)


def test_trace_file(monkeypatch):
    def check(instance):
        monkeypatch.setenv("OCF_RESOURCE_INSTANCE", instance)
        folder, name = os.path.split(ocf._trace_path("start"))
        assert folder == logging.TRACE_FOLDER and is_one_line(name, 1 << 20) and ".start.20" in name

    fuzz("trace file's name", lambda recipe: recipe.text(["rsc", "grp:0", "../../etc/x"]), check)


def check_xml(text):
    found = ElementTree.fromstring('<a b="%s">%s</a>' % (metadata._escaped(text), metadata._escaped(text)))
    assert found.text == text and found.get("b") == text


def test_meta_data():
    fuzz("meta-data's texts", lambda recipe: "".join(c for c in recipe.text(["a < b & c", '"x" > y', "]]>", "日本"]) if c.isprintable()) + "x", check_xml)


def test_command_line_answers(capfd):
    def make(recipe):
        return [recipe.text(HOSTILE) for _ in range(3)]

    def check(texts):
        reason, word, complaint = texts
        print(status.text(test_status.seen("x" + word)))
        cli._answer("monitor", "a", Verdict(FAILED, reason), as_json=False)
        cli.complain(complaint)
        cli._answer("monitor", "a", Verdict(FAILED, reason), as_json=True)
        out, err = capfd.readouterr()
        lines = out.split("\n")
        assert len(lines) == test_status.LINES + 3 and err.count("\n") == 1
        assert all(is_one_line(line, 1 << 20) for line in [*lines, err[:-1]])
        assert json.loads(lines[-2])["reason"] == reason

    fuzz("the command's answers", make, check)
