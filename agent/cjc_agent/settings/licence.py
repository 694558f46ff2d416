"""JobCenter's licence file (seed: license/jobcenter_key.dat, registered by jclicreg; must carry the CJC Option)."""
from __future__ import annotations

LARGEST = 1 << 20  # bytes


def path(nqs_home: str) -> str:
    """Return where the licence file lies."""
    return nqs_home + "/license/jobcenter_key.dat"


def complaint(nqs_home: str, pattern: str) -> str:
    """Return what is wrong with the licence and what to do, or "". It reads product files: call it in a child that may be abandoned."""
    where = path(nqs_home)
    try:
        with open(where, "rb") as file:
            carried = pattern.encode("utf-8", "surrogateescape") in file.read(LARGEST)
    except OSError as error:
        return "licence %s: %s: register the CJC Option with jclicreg" % (where, error.strerror)
    return "" if carried else "licence %s does not contain %r: register the CJC Option with jclicreg" % (where, pattern)
