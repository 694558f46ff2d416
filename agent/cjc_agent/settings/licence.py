"""JobCenter's licence file (seed: license/jobcenter_key.dat, registered by jclicreg; must carry the CJC Option)."""
from __future__ import annotations

import errno

from cjc_agent.tools import procfs

LARGEST = 1 << 20  # bytes

MISSING, UNREADABLE, EMPTY, WITHOUT_OPTION = "CJC201", "CJC202", "CJC203", "CJC204"  # rules (operator/checks/product.py)
REMEDY = "register the CJC Option with jclicreg"


def path(nqs_home: str) -> str:
    """Return where the licence file lies."""
    return nqs_home + "/license/jobcenter_key.dat"


def judge(nqs_home: str, pattern: str) -> tuple[str, str]:
    """Return the id of the rule that the licence breaks and what is wrong, ("", "") for a good one. It reads product files: call it in a
    child that may be abandoned."""
    try:
        data = procfs.read(path(nqs_home))[:LARGEST]
    except OSError as error:
        return MISSING if error.errno in (errno.ENOENT, errno.ENOTDIR) else UNREADABLE, str(error.strerror)
    if not data.strip():
        return EMPTY, "is empty"
    if pattern.encode("utf-8", "surrogateescape") not in data:
        return WITHOUT_OPTION, "does not contain %r" % pattern
    return "", ""


def complaint(nqs_home: str, pattern: str) -> str:
    """Return what is wrong with the licence and what to do, with the rule's id; or "". As `judge`, in a child."""
    rule, words = judge(nqs_home, pattern)
    if not rule:
        return ""
    return "%s: licence %s%s %s: %s" % (rule, path(nqs_home), ":" if rule in (MISSING, UNREADABLE) else "", words, REMEDY)
