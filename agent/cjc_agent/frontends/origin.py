"""Which configuration file, and which resource, a site on this node was started from: so that no script acts on another one's site.

A record's `instance` is "RESOURCE@PATH", or the path alone where CLUSTERPRO has not told the resource's name, or somebody started by hand.
"""
from __future__ import annotations

import os

from cjc_agent.settings import conf_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cjc_agent.settings.conf_file import Conf
    from cjc_agent.tools.record import Record

DISK = ("device", "directory", "site_db")


def origin(one: Record) -> tuple[str, str]:
    """Return the (resource, configuration file) that a site was started by; ("", "") for one of Pacemaker's."""
    name, slash, rest = one.instance.partition("/")
    return (name.rstrip("@"), slash + rest) if slash else ("", "")


def instance_of(conf: Conf, resource: str, started: list[Record]) -> str:
    """Return what a record of this file's site is to be known by: as it is, where there is one."""
    mine = _mine(conf, started)
    if mine:
        return mine.instance
    return "%s@%s" % (resource, conf.path) if resource else conf.path


def compare(conf: Conf, resource: str, started: list[Record], starting: bool) -> str:
    """Compare a file with the sites that were started on this node; return why nothing must be touched, "" when nothing speaks against it.

    A file that tells of another site, or, when `starting`, of another disk, than when its site was started gets an error: then what it says no
    longer counts.
    """
    mine = _mine(conf, started)
    if mine:
        for name in ("site", *DISK) if starting and not conf.errors else ("site",):
            given, was = conf.values.get(name, ""), mine.settings.get(name, "")
            if given != was and (given or name != "site"):  # a `site` that could not be read is no other one
                conf.errors.insert(0, "%s: %s is %s now, but %s was started with %s: stop it first" % (
                    conf.place(name), name, given or "not given", mine.settings["site"], was or "none"))
                conf.values.clear()
                break
        return ""
    for one in started:
        by, path = origin(one)
        site = one.settings["site"]
        if site == conf.values.get("site") and ((resource and by and by != resource) or _is_registered_for(path, conf, site)):
            return "site %s was started by %s, not by %s: nothing was touched: give each site one file and one resource" % (
                site, " of ".join(filter(None, (path, by))), " of ".join(filter(None, (conf.path, resource))))
    return ""


def _mine(conf: Conf, started: list[Record]) -> Record | None:
    """Return the record of the site that was started from this file: of several, its own; also one whose site DB is the file's."""
    found = [one for one in started if conf.path and origin(one)[1] == conf.path]
    same = [one for one in found if one.settings["site"] == conf.values.get("site")]
    renamed = [one for one in started if one.settings.get("site_db") == conf.values.get("site_db") and one.settings["site"] != conf.values.get("site")]
    return next(iter(same or found or renamed), None)


def _is_registered_for(path: str, conf: Conf, site: str) -> bool:
    """Whether another file beside this one is still there for the same site."""
    beside = os.path.dirname(path) == os.path.dirname(conf.path) == conf_file.FOLDER
    return beside and path != conf.path and conf_file.read(path).values.get("site") == site
