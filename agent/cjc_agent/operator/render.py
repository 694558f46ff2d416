"""`cjc-agent render clusterpro`: the scripts of an exec resource and its custom monitor, and the commands that register them.

The names of commands and parameters are from public samples of CLUSTERPRO (docs/clusterpro.md says which).
"""
from __future__ import annotations

import glob
import math
import os
import re
import shlex

from cjc_agent.settings.parameters import Settings
from cjc_agent.tools import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CORE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEMPLATES = (CORE + "/clusterpro", os.path.dirname(CORE) + "/clusterpro")  # installed; in a checkout
CLUSTERPRO = "/opt/nec"  # what is below it is CLUSTERPRO's own
CONF_LINE, AGENT = "CJC_AGENT_CONF=", "/usr/sbin/cjc-agent"
LONGEST_TIMEOUT = 9999  # seconds, of an exec resource
MANAGER_SLACK = 180  # seconds: act/timeout and deact/timeout are that much longer than the scripts' own
REBOOT, NOTHING = 5, 1  # final actions: stop the cluster service and reboot the OS; none
INTERVAL, RETRIES = 30, 1  # of the monitor: seconds, and how often a bad answer is asked for again
NEW = ".new"  # a script beside its place, until all are written
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}")


class CannotRender(Exception):
    """Nothing was written; the text says what is wrong and what to do."""


class Plan:
    """What is to be written and registered for one site: `conf` is the absolute path of its configuration file on every server."""

    def __init__(self, conf: str, settings: Settings, group: str, resource: str, monitor: str) -> None:
        for what, name in (("group", group), ("resource", resource), ("monitor", monitor)):
            if not NAME.fullmatch(name):
                raise CannotRender("--%s %s: give letters, digits, - and _, beginning with a letter or digit, at most 31" % (what, name))
        self.conf, self.settings, self.group, self.resource, self.monitor = conf, settings, group, resource, monitor
        self.start, self.stop, self.look = (_seconds(name, getattr(settings, name)) for name in ("start_timeout", "stop_timeout", "monitor_timeout"))

    def scripts(self) -> dict[str, str]:
        """Return path (below the folder of clp.conf) -> text. Raise CannotRender."""
        folder = "scripts/%s/%s/" % (self.group, self.resource)
        return {folder + "start.sh": self._script("start.sh"), folder + "stop.sh": self._script("stop.sh"),
                "scripts/monitor.s/%s/genw.sh" % self.monitor: self._script("genw.sh")}

    def _script(self, name: str) -> str:
        text = _template(name).replace("AGENT=''", "AGENT=" + AGENT)  # from a checkout: on the servers it is installed
        line = next(line for line in text.split("\n") if line.startswith(CONF_LINE))
        return text.replace(line, CONF_LINE + shlex.quote(self.conf))

    def exec_parameters(self) -> list[tuple[str, str]]:
        """Return (path, value) of the exec resource: a start that fails goes to the other server, a stop that fails takes this one down."""
        return [("parameters/act/path", "start.sh"), ("parameters/deact/path", "stop.sh"),
                ("parameters/act/sync", "1"), ("parameters/deact/sync", "1"),
                ("parameters/timeout/start", str(self.start)), ("parameters/timeout/stop", str(self.stop)),
                ("act/timeout", str(MANAGER_SLACK + self.start)), ("deact/timeout", str(MANAGER_SLACK + self.stop)),
                ("act/retry", "0"), ("act/fo", "1"), ("deact/retry", "0"), ("deact/action", str(REBOOT))]

    def monitor_parameters(self) -> list[tuple[str, str]]:
        """Return (path, value) of the custom monitor: one restart in place, then one failover, then nothing more."""
        return [("parameters/path", "genw.sh"), ("parameters/sync", "1"), ("parameters/normalval", "0"),
                ("polling/interval", str(INTERVAL)), ("polling/timeout", str(self.look)), ("polling/reconfirmation", str(RETRIES)),
                ("polling/timing", "1"), ("target", self.resource), ("relation/type", "rsc"), ("relation/name", self.resource),
                ("emergency/threshold/restart", "1"), ("emergency/threshold/fo", "1"), ("emergency/action", str(NOTHING))]

    def clpcfset(self) -> list[str]:
        """Return the commands for CLUSTERPRO X 4 (clpcfset)."""
        return ["clpcfset add rsc %s exec %s" % (self.group, self.resource),
                *("clpcfset add rscparam exec %s %s %s" % (self.resource, path, value) for path, value in self.exec_parameters()),
                "clpcfset add mon genw %s" % self.monitor,
                *("clpcfset add monparam genw %s %s %s" % (self.monitor, path, value) for path, value in self.monitor_parameters())]

    def clpcfadm(self) -> list[str]:
        """Return the commands for CLUSTERPRO X 5.1 and later (clpcfadm.py)."""
        return ["clpcfadm.py add rsc %s exec %s" % (self.group, self.resource),
                *("clpcfadm.py mod -t resource/exec@%s/%s --set %s" % (self.resource, path, value) for path, value in self.exec_parameters()),
                "clpcfadm.py add mon genw %s" % self.monitor,
                *("clpcfadm.py mod -t monitor/genw@%s/%s --set %s%s" % (self.monitor, path, value, " --nocheck" if path.startswith("relation/") else "")
                  for path, value in self.monitor_parameters())]


def _seconds(name: str, value: float) -> int:
    seconds = math.ceil(value)
    if seconds > LONGEST_TIMEOUT:
        raise CannotRender("%s is %d s, CLUSTERPRO takes at most %d s: make it shorter" % (name, seconds, LONGEST_TIMEOUT))
    return seconds


def _template(name: str) -> str:
    for folder in TEMPLATES:
        try:
            with open("%s/%s" % (folder, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotRender("%s: %s" % (error.filename, error.strerror)) from error
    raise CannotRender("%s is not in %s: run make install" % (name, " or ".join(TEMPLATES)))


def write(scripts: dict[str, str], folder: str, products: Iterable[str], overwrite: bool) -> list[str]:
    """Write the scripts below `folder`, all or none; return their paths. `products`: folders that are not ours to write into.

    Raise CannotRender: also when a script is there that says something else, unless `overwrite`.
    """
    paths = {"%s/%s" % (os.path.abspath(folder), name): text for name, text in scripts.items()}
    for path, text in paths.items():
        _refuse_second(path, text, os.path.abspath(folder))
        _refuse_products(os.path.dirname(path), products)
        if os.path.lexists(path) and not (os.path.isfile(path) and not os.path.islink(path)):
            raise CannotRender("%s is no plain file: move it away" % path)
        if os.path.lexists(path) and not overwrite and _contents(path) != text:
            raise CannotRender("%s is there already and says something else: move it away, or --overwrite" % path)
    path = ""
    try:
        for path, text in paths.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write_new(path + NEW, text)
        for path in paths:
            os.rename(path + NEW, path)
    except OSError as error:
        for one in paths:
            if os.path.isfile(one + NEW):
                os.unlink(one + NEW)
        raise CannotRender("%s: %s" % (path, error.strerror)) from error
    return list(paths)


def _refuse_second(path: str, text: str, folder: str) -> None:
    """Raise CannotRender when the same configuration file is rendered for another resource already: two of them would fight for one site."""
    line = next((line for line in text.split("\n") if line.startswith(CONF_LINE)), "")
    for other in glob.glob("%s/scripts/*/*/%s" % (glob.escape(folder), os.path.basename(path))) if line else ():
        if other != path and os.path.isfile(other) and line in _contents(other).split("\n"):
            raise CannotRender("%s is made from the same file: a site has one resource: remove that one, or give another --conf" % other)


def _refuse_products(folder: str, products: Iterable[str]) -> None:
    """Raise CannotRender when a folder, as it really is, lies below a product's own."""
    for product in products:
        if mountinfo.is_below(os.path.realpath(folder), os.path.realpath(product)):
            raise CannotRender("--output: %s lies below %s, which is the product's own: give a folder of yours, and distribute it (clpcfctrl --push)" % (
                folder, product))


def _contents(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise CannotRender("%s: %s" % (path, error.strerror)) from error


def _write_new(path: str, text: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def words(plan: Plan, paths: list[str], folder: str) -> str:
    """Return for people what was written, and what they do next: all but the commands as comments of a shell."""
    conf = shlex.quote(plan.conf)
    return "\n".join([
        "# written:", *("#   " + path for path in paths), "#",
        "# 1. Every server needs cjc-agent (make install) and %s (root's, not writable by others). On each:" % conf,
        "#    cjc-agent validate --conf %s" % conf,
        "# 2. That folder also has to hold the cluster's clp.conf as it is (clpcfctrl --pull -x %s). In it, one of these two blocks:" % shlex.quote(folder),
        "#", "# CLUSTERPRO X 4 (clpcfset):", *plan.clpcfset(),
        "#", "# CLUSTERPRO X 5.1 and later (clpcfadm.py):", *plan.clpcfadm(), "#",
        "# 3. Distribute it, the cluster suspended or stopped as CLUSTERPRO asks for it:",
        "#    clpcfctrl --push -x %s" % shlex.quote(folder),
        "# The timeouts are made from %s: after a change of start_timeout, stop_timeout or monitor_timeout render again." % conf,
        *(["# The monitor looks only while the resource is active: monitor_expect = active in that file is the safer choice."]
          if plan.settings.monitor_expect == "auto" else [])])
