"""Runs one fault at one moment on a real site, and holds every call of the agent against what must be seen and what must hold always."""
from __future__ import annotations

import os
import pathlib
import re
import time
from dataclasses import dataclass, field

from faults.fault import MOMENTS, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, See
from lab.site import Answer, Site, all_processes, command_of, environment_of, wait_until

LAYERS = ("disk", "vip", "site", "lock", "state folder", "parameter", "psutil", "clone", "agent")  # the first word of a reason
LEVELS = {RUNNING: 0, RUNNING_10: 10, RUNNING_20: 20}
LONGEST_REASON = 600  # characters
SHOWN_REASON = 128  # characters that crm_mon shows of it (Pacemaker 2.1.5, seen)
STATE_FOLDER = "/run/resource-agents"  # where it is outside of tests
NEXT = "; "  # before a second complaint
DETAIL = " - "  # what follows may be cut off: the last word of a tool, names of processes
LOG_LINE = re.compile(r"\w{3} \d\d \d\d:\d\d:\d\d  \S+: (DEBUG|INFO|WARNING|ERROR): [^\x00-\x1f\x7f]*")
TOOL = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "LANG=C.UTF-8"}  # the environment of the system tools that the agent calls
CORE = "/cjc-agent/__main__"  # in the command line of every process that is the agent, or a child of it that has not yet called exec


@dataclass
class Seen:
    """What one call answered, for the tables. `wrong`: what should have been otherwise."""

    fault: str
    moment: str
    code: int = -1
    reason: str = ""
    seconds: float = 0.0
    timeout: float = 0.0
    wrong: list[str] = field(default_factory=list)


def moments(fault: Fault) -> list[str]:
    """The moments at which the fault is played, in the order of a site's life."""
    return [moment for moment in MOMENTS if moment in fault.see]


def play(fault: Fault, moment: str, folder: pathlib.Path, again: bool = True) -> Seen:
    """Make a site, bring it to the moment, break it, call the agent, heal it, and see that it recovers. What was wrong is in the result.

    `again`: healed and stopped, the site is started and stopped once more.
    """
    seen = Seen(fault.title, moment, timeout=fault.see[moment].timeout)
    before = all_processes()
    site = fault.site(folder)
    try:
        site.parameters.update(fault.parameters)
        if moment not in (PROBE, START):
            site.start()
        _meet(fault, moment, site, seen)
        _recover(site, seen, again and fault.recovers)
    except AssertionError as error:
        seen.wrong.append(str(error).split("\n")[0] or "an assertion of the test failed")
    finally:
        site.close()
    seen.wrong += _left_on_the_node(before)
    return seen


def _left_on_the_node(before: dict[int, str], seconds: float = 10.0) -> list[str]:
    """Processes that were not there before, once those that are dying have had the time to."""
    end = time.monotonic() + seconds
    while True:
        left = sorted("%s (%d)" % (name, pid) for pid, name in all_processes().items() if pid not in before)
        if not left or time.monotonic() > end:
            return ["left on the node: %s" % ", ".join(left)] if left else []
        time.sleep(0.05)


def _meet(fault: Fault, moment: str, site: Site, seen: Seen) -> None:
    """The fault is there: call, and judge."""
    see = fault.see[moment]
    with fault.inject(site):
        answer = _call(site, moment, see)
        seen.code, seen.seconds, seen.reason = answer.code, answer.seconds, " | ".join(answer.reasons)
        seen.wrong += judge(site, see, answer)
        if answer.code == 0 and moment == STOP:
            seen.wrong += left_of(site)
        others = [child.pid for child in site.children]  # actions that the fault itself has begun
        stuck = {pid: words for pid, words in agents_left().items() if pid not in others}
        if stuck:
            seen.wrong += _not_piled_up(site, moment, see, stuck)
        see.then(site)


def _call(site: Site, moment: str, see: See) -> Answer:
    environment = {"OCF_RESKEY_CRM_meta_timeout": str(int(see.timeout * 1000))}
    if moment in (START, STOP):
        return site.call(moment, **environment)
    if moment == PROBE:
        environment["OCF_RESKEY_CRM_meta_interval"] = "0"
    return site.call("monitor", OCF_CHECK_LEVEL=str(LEVELS.get(moment, 0)), **environment)


def _recover(site: Site, seen: Seen, again: bool) -> None:
    """Healed: stop leaves nothing, and the site can live again."""
    wait_until(lambda: not agents_left())
    answer = site.call("stop")
    if answer.code != 0:
        seen.wrong.append("healed, but stop says %r" % answer)
    seen.wrong += ["healed, stopped, but " + words for words in left_of(site)]
    if again and not seen.wrong:
        for action, code in (("start", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)):
            answer = site.call(action)
            if answer.code != code:
                seen.wrong.append("healed, but %s says %r" % (action, answer))
                return


# -- what must hold always ----------------------------------------------------------------------------------------------------------

def judge(site: Site, see: See, answer: Answer) -> list[str]:
    """Given what must be seen and an answer, return what is wrong with it, in words."""
    wrong = []
    if answer.code not in see.codes:
        wrong.append("said %d, must say %s" % (answer.code, " or ".join(map(str, see.codes))))
    if answer.seconds >= see.timeout:
        wrong.append("took %.1f s, the cluster's timeout is %.1f s" % (answer.seconds, see.timeout))
    if answer.code not in (0, 7):
        wrong += _judge_reason(site, see, answer)
    said = answer.out + answer.said + site.log.read_text(errors="replace") if site.log.exists() else answer.out + answer.said
    wrong += ["%r was said" % text for text in (*see.never, "Traceback") if text in said]
    wrong += ["an unexpected error was caught: %s" % path.read_text() for path in site.state.glob("cjc-agent-unexpected.*")]
    if site.log.exists():
        wrong += ["log line %r" % line for line in site.log.read_text(errors="replace").splitlines() if not LOG_LINE.fullmatch(line)]
    return wrong


def _judge_reason(site: Site, see: See, answer: Answer) -> list[str]:
    if len(answer.reasons) != 1:
        return ["one reason must be given: %r" % answer.said]
    reason = answer.reasons[0]
    wrong = ["the reason does not say %r" % text for text in (word.format(**names(site)) for word in see.words) if text not in reason]
    ours = reason.partition(DETAIL)[0].partition(NEXT)[0].replace(str(site.state), STATE_FOLDER)
    if len(ours) > SHOWN_REASON:
        wrong.append("crm_mon would cut off what the agent itself says: %r" % ours[SHOWN_REASON:])
    if not reason.split(": ")[0].startswith(LAYERS) or reason.count(": ") < 2:
        wrong.append("the reason does not name layer, object and remedy")
    if not reason.isprintable() or len(reason) > LONGEST_REASON:
        wrong.append("the reason is no printable line of at most %d characters" % LONGEST_REASON)
    return wrong


def names(site: Site) -> dict[str, str]:
    """What the placeholders in a record's texts stand for."""
    return {"site": site.name, "directory": str(site.directory), "device": site.disk.path, "site_db": str(site.site_db), "vip": site.vip}


def left_of(site: Site) -> list[str]:
    """What is left of a site that was stopped, by our own look; nobody is asked."""
    left = []
    if device_is_mounted(site):
        left.append("its device is still mounted")
    elif not can_be_claimed(site):
        left.append("its device is still in use")
    processes = {pid: name for pid, name in site.processes().items() if "CJC_AGENT_CALL=1" not in environment_of(pid)}  # those are killed for good
    if processes:
        left.append("processes are left: %s" % processes)
    if list(site.state.glob("cjc-*.json")) and os.access(site.state, os.W_OK):  # from a read-only folder nothing can be removed
        left.append("its record is left")
    return left


def device_is_mounted(site: Site) -> bool:
    """Whether our mount namespace has the site's device mounted, wherever."""
    try:
        number = os.stat(site.disk.path).st_rdev
    except OSError:
        return False
    wanted = " %d:%d " % (os.major(number), os.minor(number))
    return any(wanted in line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def can_be_claimed(site: Site) -> bool:
    """Whether an exclusive open of the disk works: no mount namespace has it mounted. The kernel lets go of a mount a moment after umount."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if site.disk.can_be_claimed():
            return True
        time.sleep(0.05)
    return False


def agents_left() -> dict[int, str]:
    """pid -> command line of processes that are the agent or its children: after a call has returned, only abandoned ones."""
    found = {}
    for pid in all_processes():
        words, environment = command_of(pid), environment_of(pid)
        if CORE in words or "CJC_AGENT_CALL=1" in environment or {word for word in environment if word} == TOOL:
            found[pid] = words
    return found


def _not_piled_up(site: Site, moment: str, see: See, stuck: dict[int, str]) -> list[str]:
    """Children were abandoned: each must be noted, of one kind of work at most one, and the same call again must answer the same."""
    wrong = _not_noted(site, stuck)
    for _ in range(2):
        again = _call(site, moment, see)
        wrong += ["called again: " + words for words in judge(site, see, again)]
        wrong += ["called again: " + words for words in _not_noted(site, agents_left())]
    return wrong


def _not_noted(site: Site, stuck: dict[int, str]) -> list[str]:
    """The notes keep one child of each kind of work: with a second one of a kind, the first would lose its note."""
    noted = {int(line.split()[0]) for path in site.state.glob("*.abandoned") for line in path.read_text().splitlines()}
    return ["pid %d (%s) was left and not noted" % (pid, words) for pid, words in stuck.items() if pid not in noted]
