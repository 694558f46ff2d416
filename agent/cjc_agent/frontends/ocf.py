"""The OCF protocol (OCF resource agent API 1.1): environment in, exit code, one ocf-exit-reason line and the cluster's log out."""
from __future__ import annotations

import os

from cjc_agent import actions
from cjc_agent.tools import log as logging
from cjc_agent.tools.deadline import Deadline, budget
from cjc_agent.tools.startup import blind, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cjc_agent.actions import Verdict
    from cjc_agent.tools.log import Log

PREFIX = "OCF_RESKEY_"

SUCCESS, GENERIC, ARGUMENTS, UNIMPLEMENTED, PERMISSION, INSTALLED, CONFIGURED, NOT_RUNNING, DEGRADED = 0, 1, 2, 3, 4, 5, 6, 7, 190
EXIT_CODES = {
    actions.GOOD: SUCCESS,
    actions.FAILED: GENERIC,
    actions.BAD_DIRECTORY: ARGUMENTS,
    actions.NOT_PERMITTED: PERMISSION,
    actions.NOT_INSTALLED: INSTALLED,
    actions.MISCONFIGURED: CONFIGURED,
    actions.STOPPED: NOT_RUNNING,
    actions.DEGRADED: DEGRADED,
}
ACTIONS = ("start", "stop", "monitor", "validate-all", "reload-agent")
CLONE = PREFIX + "CRM_meta_clone"
REFUSED_TO_A_CLONE = {"start": actions.MISCONFIGURED, "validate-all": actions.MISCONFIGURED, "reload-agent": actions.FAILED}


def main(arguments: list[str]) -> int:
    """Given the agent's arguments (one action), do it and return the OCF exit code.

    Whatever happens, the cluster gets one line and "failed", never a traceback or a wrong "stopped".
    """
    try:
        settle()
        return _main(arguments)
    except Exception as error:  # even what is needed to answer could not be had; nothing is imported here
        _exit_reason("agent: %s: the action was not completed: look what this node lacks" % (error or type(error).__name__))
        return GENERIC


def _main(arguments: list[str]) -> int:
    if arguments == ["meta-data"]:
        from cjc_agent.settings import metadata
        _print(metadata.xml())
        return SUCCESS
    if len(arguments) != 1 or arguments[0] not in ACTIONS:
        said = " ".join(arguments) or "nothing"
        _exit_reason("action: %s is not one of %s, meta-data: call the agent with exactly one" % (logging.one_line(said, 100), ", ".join(ACTIONS)))
        return UNIMPLEMENTED
    action, folder = arguments[0], actions.state_folder()
    log = logging.Log("jobcenter(%s)" % os.environ.get("OCF_RESOURCE_INSTANCE", "by hand"), dict(os.environ), folder)
    try:
        verdict = _act(action, folder, log)
    except Exception as error:
        verdict = actions.Verdict(actions.FAILED, logging.unexpected(action, folder, error))
    return _answer(action, verdict, log)


def _act(action: str, folder: str, log: Log) -> Verdict:
    environ = os.environ
    if not _is_root() and action != "validate-all":  # much would be hidden from it, and what is not seen would count as gone
        return actions.Verdict(actions.FAILED, "agent: %s needs root: call it as root" % action)
    blindness = blind()
    if blindness:
        return actions.Verdict(actions.FAILED, "agent: " + blindness)
    level = _check_level(environ.get("OCF_CHECK_LEVEL", ""), log)
    timeout = environ.get(PREFIX + "CRM_meta_timeout", "")
    seconds = int(timeout) / 1000 if timeout.isascii() and timeout.isdigit() and len(timeout) < 12 else 0
    if not seconds:  # called by hand
        from cjc_agent.settings import metadata
        seconds = metadata.default_timeout(action, level)
    given = {name[len(PREFIX):]: value for name, value in environ.items() if name.startswith(PREFIX)}
    request = actions.Request(given, Deadline(budget(seconds)), log, folder, environ.get("OCF_RESOURCE_INSTANCE", ""))
    if request.settings.trace or environ.get("OCF_TRACE_RA", "") in logging.TRUE_WORDS:
        log.trace_to(_trace_path(action))
    if CLONE in environ and action in REFUSED_TO_A_CLONE:
        return actions.Verdict(REFUSED_TO_A_CLONE[action], _clone_complaint(request.settings.site))
    if action == "monitor":
        probing = environ.get(PREFIX + "CRM_meta_interval", "0") in ("", "0")
        return actions.monitor(request, level, probing)
    if action == "validate-all":
        return actions.validate(request, level)
    return {"start": actions.start, "stop": actions.stop, "reload-agent": actions.reload}[action](request)


def _is_root() -> bool:
    return os.geteuid() == 0


def _clone_complaint(site: str) -> str:
    """Why a clone is refused: several nodes would mount the site's disk at once.

    Pacemaker gives every instance its number in OCF_RESKEY_CRM_meta_clone, in every call ("Pacemaker Explained", Clone Resources). Seen with
    2.1.5: anonymous, globally unique and promotable clones, a cloned group's members, also with clone-max=1; never a plain resource.
    stop and monitor must not mind: a running site may have been cloned, and an undone clone still has to be stopped.
    """
    return "clone: %s runs on one node at a time: remove the clone (pcs resource unclone, crm configure delete)" % ("site " + site if site else "a site")


def _check_level(text: str, log: Log) -> int:
    """The highest level we know that is not above the one asked for (OCF 1.1: an unknown level counts as the next lower known one)."""
    if text and not (text.isascii() and text.isdigit()):
        log.warning("OCF_CHECK_LEVEL %r is no number: taken as 0" % text)
        return 0
    digits = text.lstrip("0")[:3] or "0"  # more are above all that we know, and Python refuses to read thousands
    return max(known for known in (0, 10, 20) if known <= int(digits))


def _answer(action: str, verdict: Verdict, log: Log) -> int:
    code = EXIT_CODES[verdict.outcome]
    if code == SUCCESS:
        log.debug("%s: good" % action)
    elif code == NOT_RUNNING:
        log.debug("%s: not running: %s" % (action, verdict.reason))
    else:
        _exit_reason(verdict.reason)
        log.error("%s: %s" % (action, verdict.reason), on_stderr=False)
    return code


def _exit_reason(words: str) -> None:
    """The line that pcs and crm_mon show: ocf_exit_reason in resource-agents' ocf-shellfuncs."""
    prefix = os.environ.get("OCF_EXIT_REASON_PREFIX") or "ocf-exit-reason:"
    logging.write(2, "%s%s\n" % (logging.one_line(prefix, 100), logging.one_line(words)))


def _print(text: str) -> None:
    data = memoryview(text.encode("utf-8"))
    try:
        while data:
            data = data[os.write(1, data):]
    except BrokenPipeError:
        pass  # the reader has had enough


def _trace_path(action: str) -> str:
    given = os.environ.get("OCF_TRACE_FILE", "")
    return given if given.startswith("/") else logging.trace_path(os.environ.get("OCF_RESOURCE_INSTANCE", ""), action)
