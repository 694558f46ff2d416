"""What the unit tests share: bounded waiting, Python children that know the core, mountinfo lines, a runner that answers from a script."""
from __future__ import annotations

import os
import time
from pathlib import Path

from cjc_agent.settings import parameters
from cjc_agent.tools.command import EXITED, Result

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "agent"
IS_ROOT = os.geteuid() == 0
PATIENCE = 10.0  # seconds; a bound for conditions that normally hold at once
FIRST_THREAD_ENDS = """import ctypes, os, threading, time
threading.Thread(target=lambda: (time.sleep(0.2), print('ready', flush=True), time.sleep(1000))).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)  # exit(2): this thread alone
"""

GIVEN = {"site": "jobsiteA", "site_db": "/share/job_site"}
# design.md, written down literally: what a record has of a site with no parameter given
DEFAULTS = {
    "site": "", "site_db": "", "device": "", "directory": "", "fstype": "", "options": "", "run_fsck": "auto", "vip": "", "vip_wait": "10s", "port": "",
    "nqs_home": "/usr/lib/nqs", "nqs_spool": "/usr/spool/nqs", "cjcpw": "cjcpw", "start_args": "start", "stop_args": "stop", "status_args": "status",
    "cjcpw_mode": "command", "status_running": "0", "status_stopped": "1,3", "user": "root", "environment": "", "stop_escalation": "auto",
    "licence_pattern": "CJC", "version": "", "min_free_percent": "5", "min_free_mib": "512",
    "trace": "0", "start_timeout": "180s", "stop_timeout": "180s", "monitor_timeout": "30s", "monitor_level": "0",
    "monitor_expect": "auto", "log_limit": "255"}


def wait_until(condition, what="the condition", seconds=PATIENCE):
    """Poll until `condition()` is true and return its value; fail after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "%s did not come true within %.0f s" % (what, seconds)
        time.sleep(0.005)


def as_nobody(holds):
    """Assert that `holds()` is true in a child that is nobody (or whoever we are, when that is not root)."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            code = 0 if holds() else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def settings(**given):
    """Settings from parameter texts over GIVEN; there must be no problem with them."""
    made, problems = parameters.read({**GIVEN, **given})
    assert problems == {}
    return made


def mount_line(point, source="/dev/sdb1", device="8:17", fstype="ext4", options="rw,relatime", superblock="rw", root="/", number=100, parent=1):
    """One line of mountinfo."""
    return "%d %d %s %s %s %s shared:1 - %s %s %s" % (number, parent, device, root, point, options, fstype, source, superblock)


def mount_table(*lines):
    """The text of mountinfo after these mounts, made one after the other: each one's parent is the mount that its mount point was then seen on."""
    numbered = []
    seen = {"": 1}  # point -> id of what a path walk meets there
    for number, line in enumerate(lines, 20):
        words = line.split(" ")
        point = words[4].rstrip("/")
        parent = seen[max((known for known in seen if (point + "/").startswith(known + "/")), key=len)]
        numbered.append(" ".join([str(number), str(parent), *words[2:]]))
        seen = {known: seen[known] for known in seen if not (known + "/").startswith(point + "/")}
        seen[point] = number
    return "\n".join(numbered)


def read_when_whole(path):
    """Return a small file's text once it ends with a newline."""
    def text():
        try:
            read = Path(path).read_text()
        except FileNotFoundError:
            return ""
        return read if read.endswith("\n") else ""
    return wait_until(text, "%s to be written" % path)


class Script:
    """A runner that starts nothing: it notes what it is asked and answers with what the test has laid down (name -> Result)."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []
        self.time_left = []
        self.stuck = {}  # kind of work -> pid of a child abandoned at it

    def abandoned(self):
        return self.stuck

    def _answer(self, name, key, deadline):
        self.asked.append(name)
        self.time_left.append(deadline.left())
        return self.answers.get(key, Result(name, EXITED, 0))

    def run(self, name, programs, arguments, deadline, environment=None, user=""):
        return self._answer(" ".join([name, *arguments]), name.replace(" ", "_"), deadline)

    def tool(self, arguments, deadline, whole=False):
        return self._answer(" ".join(arguments), arguments[0], deadline)

    def call(self, name, function, deadline, user=""):
        return self._answer(name, "before_start" if name == "look into the site DB before the start" else "call", deadline)

    def each(self, name, items, function, deadline):
        """This machine's processes are not looked at: one that hangs would hang the test."""
        return {item: self.answers.get("each", {}).get(item, "") for item in items}


class Words:
    """A log that keeps what it is told: (level, text)."""

    def __init__(self):
        self.said = []

    def __getattr__(self, level):
        def say(text, on_stderr=True):
            self.said.append((level, text))
        return say
