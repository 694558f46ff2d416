"""CLUSTERPRO's scripts: start.sh and stop.sh of an exec resource, genw.sh of a custom monitor. CLP_* and a configuration file in, 0 or 1 out.

What CLUSTERPRO gives its scripts is known from public samples only (docs/clusterpro.md): every variable may be absent.
"""
from __future__ import annotations

import os
import time

from cjc_agent import actions
from cjc_agent.actions import FAILED, GOOD, STOPPED, Request, Verdict
from cjc_agent.frontends import origin
from cjc_agent.settings import conf_file, parameters
from cjc_agent.tools import log as logging
from cjc_agent.tools import record
from cjc_agent.tools.command import EXITED, Runner
from cjc_agent.tools.deadline import Deadline, budget
from cjc_agent.tools.startup import blind, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cjc_agent.settings.conf_file import Conf
    from cjc_agent.settings.parameters import Settings
    from cjc_agent.tools.lock import Holder
    from cjc_agent.tools.record import Record

VERBS = ("start", "stop", "monitor")
INSTALLED_AT = "/opt/nec/clusterpro"
LEVELS = {"INFO": "INFO", "WARNING": "WARN", "ERROR": "ERR"}  # ours -> clplogcmd's
LOOKS = 3  # at a site that a start or stop works on while we look


class Log(logging.Log):
    """Words go to standard error, and to CLUSTERPRO's alert log by clplogcmd; where that is not to be had, to syslog.

    `site`, `limit` (bytes of one message) and `patience` (seconds for one of them) are set when they are known. Each thing is said once.
    """

    def __init__(self, verb: str, folder: str) -> None:
        super().__init__("cjc-agent", {"HA_LOGFACILITY": "daemon"}, folder)
        self._verb = verb
        self.site, self.limit = "", 255
        self._said: set[str] = set()

    def _emit(self, level: str, text: str, on_stderr: bool = True) -> None:
        if text in self._said:
            return
        self._said.add(text)
        words = "cjc-agent %s%s: %s" % (self._verb, " " + self.site if self.site else "", logging.one_line(text))
        logging.write(2, "%s %s: %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), level, words))
        if level in LEVELS and not self._reaches_clusterpro(LEVELS[level], words):
            self._bounded("write to syslog", lambda: self._to_syslog(level, words))

    def _reaches_clusterpro(self, level: str, words: str) -> bool:
        if "clplogcmd" in self._deaf:
            return False
        runner = Runner(self._folder, "cjc-agent-log", lambda text: None)
        result = runner.run("clplogcmd", _clplogcmds(os.environ), ["-m", cut(words, self.limit), "-l", level], Deadline(self.patience))
        if result.outcome == EXITED and result.exit_code == 0:
            return True
        self._deaf.add("clplogcmd")
        return False


def _clplogcmds(environ: Mapping[str, str]) -> list[str]:
    """Where clplogcmd may be: below what CLUSTERPRO says, below where it is installed, and where samples call it."""
    given = environ.get("CLP_PATH", "")
    folders = [given.rstrip("/")] if given.startswith("/") else []
    return [folder + "/bin/clplogcmd" for folder in [*folders, INSTALLED_AT]] + ["/usr/sbin/clplogcmd"]


def cut(text: str, limit: int) -> str:
    """Given a message, return it in at most `limit` bytes of UTF-8, cut on a character boundary; "..." says that it was cut."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= limit else data[:limit - 3].decode("utf-8", "ignore") + "..."


def main(arguments: list[str]) -> int:
    """Given the words after `cjc-agent clusterpro` (one verb), do it and return 0 or 1: whatever happens, never a traceback or a wrong 0."""
    try:
        settle()
        return _main(arguments)
    except Exception as error:  # even what is needed to answer could not be had
        logging.write(2, "cjc-agent: %s: the script was not completed: look what this node lacks\n" % (error or type(error).__name__))
        return 1


def _main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in VERBS:
        said = logging.one_line(" ".join(arguments) or "nothing", 100)
        logging.write(2, "cjc-agent clusterpro: %s is not one of %s: call it from start.sh, stop.sh or genw.sh\n" % (said, ", ".join(VERBS)))
        return 1
    verb, folder, began = arguments[0], actions.state_folder(), time.monotonic()
    log = Log(verb, folder)
    try:
        verdict = _act(verb, folder, log)
    except Exception as error:
        verdict = Verdict(FAILED, logging.unexpected(verb, folder, error))
    if not verdict.good:
        log.error(verdict.reason)
        return 1
    if verdict.reason:
        log.info(verdict.reason)
    elif verb != "monitor":
        log.info("%s in %.1f s" % ({"start": "started", "stop": "stopped"}[verb], time.monotonic() - began))
    return 0


def _act(verb: str, folder: str, log: Log) -> Verdict:
    answer = _before_start(os.environ) if verb == "start" else None
    if answer:
        return answer
    complaint = "needs root: CLUSTERPRO runs its scripts as root" if os.geteuid() != 0 else blind()
    if complaint:
        return Verdict(FAILED, "agent: " + complaint)
    started = record.all_of_this_boot(folder)
    sites = {origin.origin(one)[1]: one.settings["site"] for one in started}
    conf = conf_file.choose(os.environ, sites, by_start=verb != "start")
    resource = "" if verb == "monitor" else _resource(os.environ)  # a monitor has a name of its own
    complaint = origin.compare(conf, resource, started, starting=verb == "start")
    if complaint and verb != "monitor":  # which touches nothing anyway
        return Verdict(FAILED, complaint)
    request = Request(conf.values, Deadline(0), log, folder, origin.instance_of(conf, resource, started), conf)
    found = actions.recorded(request) if request.problems else None
    settings = parameters.read(found.settings)[0] if found else request.settings
    _limit(verb, request, settings, log)
    if verb == "start":
        return actions.start(request)
    if request.problems and found is None:
        return _stop_unknown(request, conf, started) if verb == "stop" else Verdict(FAILED, request.complaints[0])
    return actions.stop(request) if verb == "stop" else _monitor(request, settings)


def _limit(verb: str, request: Request, settings: Settings, log: Log) -> None:
    """Set what the call's settings say of its time and its words. A timeout that the file gives counts also when something else in it is wrong."""
    name = verb + "_timeout"
    known = name not in request.problems and name in request.given
    seconds = getattr(request.settings if known else settings, name)
    log.site, log.limit, log.patience = settings.site, settings.log_limit, min(logging.PATIENCE, seconds / 20)
    # CLUSTERPRO's own timeout is not told to the script: `render` has made it from the same lines. A log that hangs costs twice our patience
    request.deadline = Deadline(budget(seconds) - min(2.0, seconds / 10))
    if settings.trace:
        log.trace_to(logging.trace_path(settings.site, verb))


def _resource(environ: Mapping[str, str]) -> str:
    name = environ.get("CLP_RESOURCENAME", "")
    return name if name.replace("-", "").replace("_", "").isalnum() else ""


def _before_start(environ: Mapping[str, str]) -> Verdict | None:
    """What start.sh answers before it looks at anything, None when it has to start."""
    event = environ.get("CLP_EVENT", "")
    if event == "RECOVER":  # the server came back; the group may run elsewhere
        return Verdict(GOOD, "CLP_EVENT=RECOVER: nothing to do, nothing was touched")
    if event not in ("START", "FAILOVER"):
        said = "CLP_EVENT=" + logging.one_line(event, 60) if event else "CLP_EVENT is not set"
        return Verdict(FAILED, "%s: not called by CLUSTERPRO, nothing was touched: by hand use cjc-agent start --conf FILE" % said)
    if environ.get("CLP_DISK") == "FAILURE":
        return Verdict(FAILED, "CLP_DISK=FAILURE: CLUSTERPRO's disk resource has failed, nothing was touched: repair that first")
    return None


# -- stop without knowing what ---------------------------------------------------------------------------------------------------------


def _stop_unknown(request: Request, conf: Conf, started: list[Record]) -> Verdict:
    """The configuration is not right, and no start has left a record: good only after seeing that nothing runs and nothing is mounted."""
    request.log.warning(request.complaints[0] + ": looking whether anything is left")
    requests = [request]
    if not conf.path and started:
        sites = ", ".join(one.settings["site"] for one in started)
        return Verdict(FAILED, "%s was started on this node, and whether it is this resource's is not known: cjc-agent stop --conf FILE" % sites)
    if not conf.path and not os.environ.get(conf_file.NAMED_BY):  # one of them is ours
        others = [conf_file.read(path) for path in conf_file.all_files()]
        requests = [Request(other.values, request.deadline, request.log, request.folder, other.path, other) for other in others] or requests
    for one in requests:
        left = _not_seen_stopped(one)
        if left:
            return Verdict(FAILED, left)
    return Verdict(GOOD, "nothing of %s runs or is mounted here: stopped" % " or ".join(one.settings.site for one in requests))


def _not_seen_stopped(request: Request) -> str:
    """Words for why a site was not seen to be stopped, "" when it was."""
    if not request.settings.site or not request.settings.site_db:
        return "which site this is, and so whether it is stopped, cannot be seen: correct the file, or look with ps and mount"
    work = actions.at_work(request)
    if work:
        return _words(work, request.settings.site)
    verdict = actions.monitor(request, 0, probing=True)
    if verdict.outcome == STOPPED:
        return ""
    said = verdict.outcome == FAILED and verdict.reason not in request.complaints  # else that it runs, with parameters that are wrong
    return verdict.reason if said else "site %s runs here" % request.settings.site


# -- monitor -----------------------------------------------------------------------------------------------------------------------------


def _monitor(request: Request, settings: Settings) -> Verdict:
    """Good or not: a site at which a start or stop is at work, younger than its own timeout, is not judged."""
    for words in request.complaints[:1]:
        more = len(request.complaints) - 1
        request.log.warning("%s%s: monitoring with the parameters that the site was started with" % (words, " (and %d more)" % more if more else ""))
    verdict = Verdict(FAILED)
    for _ in range(LOOKS):
        work = actions.at_work(request)
        if work:
            return _judge_work(work, settings)
        mark = actions.last_at_work(request)
        verdict = _look(request, settings)
        if verdict.good or (actions.last_at_work(request) == mark and not actions.at_work(request)):
            break  # otherwise a start or stop has begun since: what we have seen was its work
    return verdict


def _look(request: Request, settings: Settings) -> Verdict:
    """Judge a site as it was started: what has been written into its file since, for the next start, must not bring a healthy one down."""
    found = actions.recorded(request)
    if found:
        request = Request(found.settings, request.deadline, request.log, request.folder, found.instance)
    verdict = actions.monitor(request, settings.monitor_level, probing=found is None)
    if verdict.outcome != STOPPED:
        return verdict
    doubt = actions.doubtful_record(request)  # only a record tells the death of all daemons from a standby
    if doubt:
        return Verdict(FAILED, "record: %s - whether site %s was started here is not known" % (doubt, settings.site))
    if settings.monitor_expect == "active":
        return Verdict(FAILED, "site: %s does not run here, and monitor_expect=active: %s" % (settings.site, verdict.reason))
    return Verdict(GOOD)


def _judge_work(work: Holder, settings: Settings) -> Verdict:
    timeout = {"start": settings.start_timeout, "stop": settings.stop_timeout}.get(work.what, max(settings.start_timeout, settings.stop_timeout))
    if work.seconds <= timeout:
        return Verdict(GOOD, _words(work, settings.site) + ": not judged")
    return Verdict(FAILED, "%s, longer than its timeout of %.0f s: see what it waits for (/proc/%d/stack), end it" % (
        _words(work, settings.site), timeout, work.pid))


def _words(work: Holder, site: str) -> str:
    return "%s (pid %d) has been at work on site %s for %.0f s" % (work.what or "another action", work.pid, site, work.seconds)
