"""Whose site DB it is. JobCenter's own files say it in a way that is not public: so the agent notes it in a small file of its own, when it has
made the site DB (`cjc-agent init`) or has seen the site run on it (start).

These functions touch the shared disk: call them in a child that may be abandoned.
"""
from __future__ import annotations

import os

from cjc_agent.tools import statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

OTHER_SITE = "CJC302"  # rule (operator/checks/disk.py) that a start refuses, too
NOTE = ".cjc-agent-site"
LONGEST = 63  # characters of a site's name


def path(site_db: str) -> str:
    """Return where the note lies."""
    return "%s/%s" % (site_db, NOTE)


def owner(site_db: str) -> str:
    """Return the name of the site that a site DB was noted for, "" when none is, or somebody else may have noted it. Raise OSError."""
    try:
        descriptor = os.open(path(site_db), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    try:
        if statefile.writable_by_others(os.fstat(descriptor)):
            return ""
        return os.read(descriptor, 2 * LONGEST).decode("utf-8", "replace").strip()
    finally:
        os.close(descriptor)


def complaint(site_db: str, site: str) -> str:
    """Say that a site DB is another site's, "" when nothing speaks against it; with the rule's id. Raise OSError."""
    noted = owner(site_db)
    if noted in ("", site):
        return ""
    return "%s: %s is the site DB of %s: correct `site` or `site_db`, or if it was renamed: rm %s" % (OTHER_SITE, site_db, noted, path(site_db))


def note(site_db: str, site: str) -> str:
    """Note whose site DB it is, unless that is noted already. Raise OSError."""
    from cjc_agent.tools import procfs, replace  # in a child: a start does not wait for them
    if not owner(site_db):
        try:
            before: Optional[bytes] = procfs.read(path(site_db))
        except FileNotFoundError:
            before = None
        replace.replace(path(site_db), (site + "\n").encode(), before, new_mode=0o600)
    return ""
