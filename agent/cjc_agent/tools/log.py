"""Logging as the cluster wants it (the behaviour of ocf_log in resource-agents' ocf-shellfuncs), and the trace file.

Every text passes `one_line`, so that no value, however hostile, can forge a second line or move a terminal's cursor.
"""
from __future__ import annotations

import os
import time

from cjc_agent.tools import statefile

TRACE_FOLDER = "/var/lib/heartbeat/trace_ra/jobcenter"  # where ocf_default_trace_dest puts the traces of other agents
TRUE_WORDS = ("yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON")  # ocf_is_true
LONGEST_LINE = 2000  # characters
PATIENCE = 1.0  # seconds for one line to reach a log; then that log is left out for the rest of this call
FACILITIES = ("auth", "authpriv", "cron", "daemon", "kern", "lpr", "mail", "news", "syslog", "user", "uucp", *("local%d" % number for number in range(8)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Given any text, return it as one printable line: control characters as \\xNN, surrogates as ?, cut at `longest` characters."""
    if not text.isprintable():  # false for newlines, escapes, bidi controls and lone surrogates alike
        text = "".join(c if c.isprintable() else "?" if "\ud800" <= c <= "\udfff" else "\\x%02x" % ord(c) for c in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def trace_path(name: str, action: str) -> str:
    """Given a resource's name and an action, return where this call's trace belongs; the name may be anything, also nothing."""
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name or str(os.getpid()))
    return "%s/%s.%s.%s" % (TRACE_FOLDER, safe, action, time.strftime("%Y-%m-%d.%H:%M:%S"))


def unexpected(action: str, folder: str, error: Exception) -> str:
    """Write the traceback of an exception that nobody expected into the state folder; return the one line that says where. A node that lacks
    memory or descriptors is no matter for a report."""
    from cjc_agent.tools import procfs
    if procfs.words(error).endswith(procfs.LACKS):
        return "agent: " + procfs.words(error)
    import traceback
    path = "%s/cjc-agent-unexpected.%s" % (folder, action)
    words = "agent: unexpected %s: %s" % (type(error).__name__, error)
    try:
        statefile.write(path, traceback.format_exc().encode("utf-8", "replace"))
    except OSError:
        return words + ": report it"
    return "%s: report it with %s" % (words, path)


class Log:
    """Where words go. `tag` names the agent and the instance; `environ` carries the cluster's HA_* settings; `folder` is the state folder."""

    def __init__(self, tag: str, environ: dict[str, str], folder: str = "/run/resource-agents") -> None:
        self._folder = folder
        self._deaf: set[str] = set()  # logs that did not take a line in time
        self._tag = one_line(environ.get("HA_LOGTAG") or "%s[%d]" % (tag, os.getpid()), 200)
        facility = environ.get("HA_LOGFACILITY", "")
        self._facility = "" if facility == "none" else facility
        self._file = environ.get("HA_LOGFILE", "")
        self._debug_file = environ.get("HA_DEBUGLOG", "")
        self._debugging = environ.get("HA_debug", "") not in ("", "0")
        self._trace = -1
        self._began = time.monotonic()

    def debug(self, text: str) -> None:
        """For the developer: only where the cluster asks for debug output."""
        self.trace(text)
        if self._debugging:
            self._emit("DEBUG", text)

    def info(self, text: str) -> None:
        """For the operator's record."""
        self.trace(text)
        self._emit("INFO", text)

    def warning(self, text: str) -> None:
        """Something the operator should look at in daylight."""
        self.trace(text)
        self._emit("WARNING", text)

    def error(self, text: str, on_stderr: bool = True) -> None:
        """Why an action failed. `on_stderr` false: whoever calls has said it there already."""
        self.trace(text)
        self._emit("ERROR", text, on_stderr)

    def trace(self, text: str) -> None:
        """One line into the trace file, when there is one."""
        if self._trace >= 0:
            write(self._trace, "%8.3f %s\n" % (time.monotonic() - self._began, one_line(text)))

    def trace_to(self, path: str) -> None:
        """Open the trace file (made with mode 0600; never somebody else's). One that cannot be opened, or could hang, is only warned about."""
        from cjc_agent.tools import mountinfo
        if mountinfo.on_network(path):
            self.warning("trace file %s: on a network file system, which could hang: this call is not traced" % path)
            return
        try:
            self._trace = statefile.append_to(path)
        except OSError as error:
            self.warning("trace file %s: %s: this call is not traced" % (error.filename or path, error.strerror))

    def _emit(self, level: str, text: str, on_stderr: bool = True) -> None:
        text = "%s: %s" % (level, one_line(text))
        if os.isatty(0):
            if on_stderr:
                write(2, "%s: %s\n" % (self._tag, text))
            return
        now = time.strftime("%b %d %T ")
        path = self._debug_file if level == "DEBUG" and self._debug_file else self._file
        if self._facility:
            self._bounded("write to syslog", lambda: self._to_syslog(level, text))
        if path:
            self._bounded("write to the log file", lambda: self._append(path, "%s %s: %s\n" % (now, self._tag, text)))
        if not self._facility and not path and on_stderr:
            write(2, now + text + "\n")

    def _bounded(self, name: str, write: Callable[[], None]) -> None:
        """Write in a child that may be abandoned: a log file on a dead server, or a syslog daemon whose queue is full, would hang us, too."""
        from cjc_agent.tools.command import UNSTARTED, Runner  # only when something is said
        from cjc_agent.tools.deadline import Deadline
        if name in self._deaf:
            return

        def work() -> str:
            write()
            return ""

        result = Runner(self._folder, "cjc-agent-log", lambda text: None).call(name, work, Deadline(PATIENCE))
        if result.outcome == UNSTARTED:  # no child can be had: better an unlikely hang than no words
            write()
        elif not result.ok:
            self._deaf.add(name)

    def _to_syslog(self, level: str, text: str) -> None:
        try:
            import syslog  # only when something is said: a healthy monitor is silent
        except (ImportError, OSError):  # no descriptor left: it must not change what the action answers
            return
        known = self._facility.lower() in FACILITIES  # the module's other names are levels, options and functions
        facility = getattr(syslog, "LOG_" + self._facility.upper(), syslog.LOG_DAEMON) if known else syslog.LOG_DAEMON
        name = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARNING", "ERROR": "ERR"}[level]
        syslog.openlog(self._tag, 0, facility)
        syslog.syslog(getattr(syslog, "LOG_" + name), text)

    @staticmethod
    def _append(path: str, line: str) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        except OSError:
            return  # a log that cannot be written must not change what the action answers
        write(descriptor, line)
        os.close(descriptor)


def write(descriptor: int, line: str) -> None:
    """Write a line in one piece; one that nobody reads is lost: it must not change what the action answers."""
    try:
        os.write(descriptor, line.encode("utf-8", "replace"))
    except OSError:
        pass
