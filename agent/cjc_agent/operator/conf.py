"""`cjc-agent conf`: the three daemon.conf as one view, and the edit of one of them: whether it may be made, what it changes, the writing."""
from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from cjc_agent.operator.checks import daemon_conf as checks
from cjc_agent.operator.node import COMMON, LOCAL, SITE, Node
from cjc_agent.operator.rule import ENGLISH, ERROR, INFO, Finding
from cjc_agent.settings import daemon_conf
from cjc_agent.settings.daemon_conf import FILES, KEYS, LAYERS, Effective, Entry, File
from cjc_agent.settings.parameters import Settings
from cjc_agent.tools import replace, statefile
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.lock import Busy, Lock
from cjc_agent.tools.log import one_line

NAMES = {COMMON: "the common file", LOCAL: "the local site's own file", SITE: "the cluster site's own file"}
COMBINATIONS = (checks.local_daemon, checks.ipaddress, checks.listen_port)  # rules that one edit may break, seen by these checks
RESTART = ["systemctl", "restart", "jobcentersv"]  # seed, step 5
PATIENCE = 6.0  # seconds for writing a file, and for waiting for whoever edits one
LOCK, AWAITED = "daemon-conf.lock", "daemon-conf.restart"  # in the state folder; no site's record or lock has such a name


class Refused(Exception):
    """What was asked for is not right: nothing was written. Each argument is a line that says what is wrong and what would be right."""


class Failed(Exception):
    """It could not be done here; the text says why and what to do."""


# -- an edit -----------------------------------------------------------------------------------------------------------------------------


class Edit:
    """One edit of one file: `which`, its `path`, its bytes `before` (None: there is no file) and `after`; `broken`: what the doctor would say
    then and does not say now."""

    def __init__(self, which: str, path: str, before: Optional[bytes], after: bytes) -> None:
        self.which, self.path, self.before, self.after = which, path, before, after
        self.broken: list[Finding] = []

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.after != (self.before or b"")

    def diff(self) -> list[str]:
        """Return the unified diff; no line of it can move a terminal's cursor."""
        old, new = (_lines(data) for data in (self.before or b"", self.after))
        name = "/dev/null" if self.before is None else self.path
        return [one_line(line) for line in difflib.unified_diff(old, new, name, self.path, lineterm="")]


def _lines(data: bytes) -> list[str]:
    lines = data.decode(File("", data).encoding).split("\n")
    return [line.rstrip("\r").expandtabs() for line in (lines if lines[-1] else lines[:-1])]


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Given KEY=VALUE words, return key -> value. Raise Refused."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Refused("%r is not KEY=VALUE" % word)
        if key in found:
            raise Refused("%s is given twice: give it once" % key)
        found[key] = value
    return found


def file_for(keys: Sequence[str]) -> str:
    """Return the only file that all keys can stand in. Raise Refused when it must be said which file is meant."""
    unknown = [_unknown(key) for key in keys if key not in KEYS]
    if unknown:
        raise Refused(*unknown)
    places = {KEYS[key].files for key in keys}
    if len(places) == 1 and len(min(places)) == 1:
        return min(places)[0]
    key = next(key for key in keys if len(KEYS[key].files) > 1)
    raise Refused("in which file? %s can stand in several: give --in %s" % (key, "|".join(KEYS[key].files)))


def plan(node: Node, which: str, values: Mapping[str, str], force: bool = False) -> Edit:
    """Return the edit that gives the keys of one file these values: all of them, or it raises Refused. Raise Failed where the file cannot be edited.

    `force`: also values and combinations that are not right; but never what would not be read back.
    """
    before = _contents(node, which)
    file = File(daemon_conf.path_of(which, node.settings), before or b"")
    complaints = [] if force else [words for key, value in values.items() for words in _complaints(which, key, value)]
    if complaints:
        raise Refused(*complaints)
    data = file.data
    for key, value in values.items():
        try:
            data = File(file.path, data).with_value(key, value)
        except ValueError as error:
            raise Refused("%s: %s" % (file.path, error)) from error
    edit = Edit(which, file.path, before, data)
    if edit.changes:
        edit.broken = _broken(node, edit)
    errors = [words_of(finding) for finding in edit.broken if finding.rule.severity == ERROR]
    if errors and not force:
        raise Refused(*errors)
    return edit


def _contents(node: Node, which: str) -> Optional[bytes]:
    """Return the bytes of a file that can be edited, None where there is none but can be one. Raise Failed."""
    path = daemon_conf.path_of(which, node.settings)
    if which == SITE and node.mount is None:
        raise Failed(not_mounted(node.settings))
    seen = node.seen[which]
    if seen.missing:
        folder = os.path.dirname(path)
        if not node.look([folder], contents=False)[folder].is_folder:
            remedy = "make the site DB first (cjc-agent init)" if which == SITE else "install JobCenter MG/SV on this node"
            raise Failed("%s: there is no folder %s: %s" % (path, folder, remedy))
        return None
    if seen.data is None:
        words = seen.error or ("larger than %d bytes, is it a daemon.conf?" % daemon_conf.LARGEST if seen.is_file else "is no plain file: move it away")
        raise Failed("%s: %s" % (path, words))
    return seen.data


def not_mounted(settings: Settings) -> str:
    """Say why the cluster site's own file is out of reach here, and where it is not."""
    by_hand = ", or mount %s on %s here (on no other node then)" % (settings.device, settings.directory) if settings.device else ""
    return "the disk of site %s is not mounted on this node: do it on the node where the site's cluster resource is active%s" % (settings.site, by_hand)


def _complaints(which: str, key: str, value: str) -> Iterator[str]:
    """What is wrong with one key and its value by themselves."""
    known = KEYS.get(key)
    if known is None:
        yield _unknown(key)
        return
    if which not in known.files:
        yield "%s does not belong in %s: it is for --in %s" % (key, NAMES[which], "|".join(known.files))
    try:
        known.check(value)
    except ValueError as error:
        yield "%s: %s" % (key, error)


def _unknown(key: str) -> str:
    like = daemon_conf.nearest(key)
    return "unknown key %s: %s" % (key, "did you mean %s?" % like if like else "known are %s; if JobCenter's manual has it: --force" % ", ".join(KEYS))


def _broken(node: Node, edit: Edit) -> list[Finding]:
    """What the doctor would find after the edit, and does not find before it."""
    known = [(finding.rule, finding.facts) for finding in findings(node)]
    return [finding for finding in findings(edited(node, edit)) if (finding.rule, finding.facts) not in known and finding.rule.severity != INFO]


def edited(node: Node, edit: Edit) -> Node:
    """Return the node as it will be, with all that was looked at already."""
    after = copy.copy(node)
    after.files = {**node.files, edit.which: File(edit.path, edit.after)}
    return after


def findings(node: Node) -> list[Finding]:
    """What the doctor finds in the combination of the files."""
    return [found for check in COMBINATIONS for found in check(node) if isinstance(found, Finding)]


def words_of(finding: Finding) -> str:
    """Return a finding in one line: rule, what is wrong, what to do."""
    words, _, remedy = finding.words(ENGLISH)
    return "%s: %s: %s" % (finding.rule.id, words, remedy)


def write(node: Node, edit: Edit) -> None:
    """Make the edit, unless the file was changed since it was read. Raise Failed."""
    if edit.which != SITE:  # the site's own file is read by the next start
        _note_restart(node)
    path, before, after = edit.path, edit.before, edit.after
    result = node.stack.runner.call("write " + path, lambda: replace.replace(path, after, before), node.deadline.part(PATIENCE))
    if result.exit_code == 1:  # in its own words, without the errno's name
        raise Failed("%s: %s" % (path, result.output.partition(" ")[2]))
    if not result.ok:
        raise Failed("%s: %s" % (path, result.words("its file system must answer; look with `cjc-agent conf show` whether it was written")))


def _note_restart(node: Node) -> None:
    """An edit that is not taken over yet must not be forgotten when we are killed."""
    path = os.path.join(node.request.folder, AWAITED)
    try:
        statefile.write(path, b"")
    except OSError as error:
        raise Failed("state folder: %s: %s: correct it" % (error.filename or path, error.strerror)) from error


def awaits_restart(folder: str) -> bool:
    """Whether a file of the local site was edited on this boot, and jobcentersv was not restarted by us since."""
    return os.path.exists(os.path.join(folder, AWAITED))


def restarted(folder: str) -> None:
    """The unit has been restarted. Raise OSError."""
    statefile.remove(os.path.join(folder, AWAITED))


def locked(folder: str, deadline: Deadline) -> Lock:
    """Take the lock of all who edit daemon.conf on this node. Raise Failed."""
    lock = Lock(os.path.join(folder, LOCK))
    try:
        lock.take("conf-set", deadline.part(PATIENCE))
    except Busy as error:
        raise Failed("somebody else edits a daemon.conf: %s: try again" % error) from error
    except OSError as error:
        raise Failed("state folder: %s: %s: correct it" % (error.filename, error.strerror)) from error
    return lock


def to_take_effect(node: Node, which: str) -> list[str]:
    """Return what an edit of a file needs to take effect: a line each."""
    touches = " (move the cluster site, whose disk is here, away first: this may touch it)" if node.mount else ""
    lines = ["on this node: %s%s" % (" ".join(RESTART), touches)] if which != SITE else []
    if which != LOCAL:
        name = node.resource or "RESOURCE"
        lines.append("for the cluster site, where it runs: pcs resource restart %s; or crm resource restart %s" % (name, name))
        lines.append("... under CLUSTERPRO: stop and start its group: clpgrp -t GROUP; clpgrp -s GROUP")
    if which == LOCAL or (which == COMMON and node.mount is None):
        lines.append("the file is this node's own: set it on the other nodes, too")
    return lines


# -- the view ----------------------------------------------------------------------------------------------------------------------------


def view(node: Node) -> dict[str, Any]:
    """Return for tools: the `files` and their states, and for both `sites` what counts, in the order of their keys."""
    return {
        "site": node.settings.site,
        "files": {which: {"path": daemon_conf.path_of(which, node.settings), "state": _state(node, which)} for which in FILES},
        "sites": {site: {"complete": not doubt(node, site), "keys": [told(key, found, site) for key, found in _listed(node, site)]} for site in (SITE, LOCAL)},
    }


def doubt(node: Node, site: str) -> str:
    """Say why what counts for a site is not known here, "" when it is: one of its files is out of reach."""
    for which in LAYERS[site]:
        state = _state(node, which)
        if state not in ("there", "missing"):
            return "%s: %s" % (daemon_conf.path_of(which, node.settings), state)
    return ""


def _state(node: Node, which: str) -> str:
    if which not in node.seen:
        return not_mounted(node.settings)
    seen = node.seen[which]
    return "missing" if seen.missing else "there" if seen.data is not None else seen.error or "no daemon.conf"


def _listed(node: Node, site: str) -> list[tuple[str, Effective]]:
    """What counts for a site; of the known keys that are not set those that could be."""
    found = node.effective(site).items()
    return [(key, one) for key, one in found if one.entry or not set(KEYS[key].files).isdisjoint(LAYERS[site])]


def told(key: str, found: Effective, site: str) -> dict[str, Any]:
    """Return what counts for a key, for tools: `value` (None: not set), `file` and `line` (None: a default), and the lines that it `hides`."""
    return {
        "key": key, "of": site, "value": found.value if found.entry or found.value else None,
        "file": found.file.path if found.file else None, "line": found.entry.line if found.entry else None,
        "hides": [{"value": entry.value, "file": file.path, "line": entry.line, "why": _why(site, found, file, entry)} for file, entry in found.hides],
    }


def _why(site: str, found: Effective, file: File, entry: Entry) -> str:
    if found.file is file:
        return "the last line of a file wins"
    return "the %s file wins over the common one" % ("local" if site == LOCAL else "cluster site's")


def text(seen: dict[str, Any]) -> str:
    """Return for people what `view` has seen."""
    lines = []
    for site, title in ((SITE, "cluster site " + seen["site"]), (LOCAL, "local site of this node")):
        told_of = seen["sites"][site]
        lines.append(title + ("" if told_of["complete"] else ": NOT COMPLETE, see the files below"))
        for one in told_of["keys"]:
            place = "%s:%d" % (one["file"], one["line"]) if one["file"] else "default" if one["value"] is not None else ""
            lines.append("  %-14s %-24s %s" % (one["key"], "not set" if one["value"] is None else one["value"], place))
            lines += ["      hides %-21s %s:%d - %s" % (hidden["value"], hidden["file"], hidden["line"], hidden["why"]) for hidden in one["hides"]]
    lines.append("files")
    lines += ["  %-14s %s%s" % (which, one["path"], "" if one["state"] == "there" else ": " + one["state"]) for which, one in seen["files"].items()]
    return "\n".join(one_line(line).rstrip() for line in lines)
