"""JobCenter's daemon.conf (seed): `key=value` lines, `#` begins a comment, also behind a value.

These functions read files that may lie on the shared disk: call them in a child that may be abandoned.
"""
from __future__ import annotations

from cjc_agent.settings import values
from cjc_agent.settings.parameters import DEFAULT_PORT


def parse(text: str) -> dict[str, tuple[str, int]]:
    """Given a file's text, return key -> (value, line number); the last of equal keys wins, other lines are left out."""
    found = {}
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, value = line.split("#", 1)[0].partition("=")
        if equals and key.strip():
            found[key.strip()] = (value.strip(), number)
    return found


def read(path: str) -> dict[str, tuple[str, int]]:
    """Read one file, in whatever encoding its comments are; an absent file has no keys. Raise OSError for any other trouble."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse(file.read(1 << 20))
    except FileNotFoundError:
        return {}


def listen_port(nqs_home: str, site_db: str) -> int:
    """Return the cluster site's TCP port: the site's own file wins over the common one (seed), else 20816. `site_db` "": not mounted."""
    paths = [nqs_home + "/rc/daemon.conf"]
    if site_db:
        paths.insert(0, site_db + "/nqs/daemon.conf")
    for path in paths:
        try:
            return values.port(read(path).get("listen_port", ("", 0))[0])
        except ValueError:
            continue
    return DEFAULT_PORT
