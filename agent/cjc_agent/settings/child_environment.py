"""The environment of JobCenter's own commands, and of nothing else: daemons and night jobs inherit it."""
from __future__ import annotations

import os

from cjc_agent.settings.parameters import Settings
from cjc_agent.tools import procfs
from cjc_agent.tools.command import PATH

LOCALE_FILES = ("/etc/locale.conf", "/etc/default/locale")  # RHEL and SLES; Debian
CALL_MARK = "CJC_AGENT_CALL"  # "1" in our own status and stop calls, which must never be taken for daemons


def make(settings: Settings, call: bool) -> dict[str, str]:
    """Given the settings, return a new environment with NQS_SITE. `call`: a status or stop call, not a start, whose children are the daemons."""
    environment = {"PATH": PATH}
    if settings.user in ("", "root"):  # another user's are looked up in the child
        environment.update(HOME="/root", USER="root", LOGNAME="root")
    environment.update(system_locale())
    if os.environ.get("TZ"):
        environment["TZ"] = os.environ["TZ"]
    for word in settings.environment:
        name, _, value = word.partition("=")
        environment[name] = value
    environment["NQS_SITE"] = settings.site
    if call:
        environment[CALL_MARK] = "1"
    return environment


def system_locale() -> dict[str, str]:
    """Return LANG and LC_* of the system (locale.conf(5)); the caller's are an accident of who called."""
    for path in LOCALE_FILES:
        try:
            return parse_locale(procfs.read(path).decode("utf-8", "replace"))
        except OSError:
            continue
    return {}


def parse_locale(text: str) -> dict[str, str]:
    """Given the text of a locale file, return its LANG and LC_* assignments."""
    found = {}
    for line in text.split("\n"):
        name, equals, value = line.strip().partition("=")
        value = value.strip().strip("\"'")
        if equals and value.isprintable() and name.isidentifier() and (name == "LANG" or name.startswith("LC_")):
            found[name] = value
    return found
