"""`cjc-agent doctor --save`: what is known of a node, as a file that can be carried to another one; and reading such a file again.

No secret is in it: of the licence, of commands and of configuration files there is a digest, of `environment` the names and a digest, and no
password of a mount option.
"""
from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from cjc_agent import VERSION
from cjc_agent.operator.checks.daemon_conf import UNIT
from cjc_agent.operator.doctor import Report
from cjc_agent.operator.node import COMMON, LOCAL, MAKER, SITE, Node
from cjc_agent.operator.rule import ENGLISH, JAPANESE, SEVERITIES, Finding, Reason
from cjc_agent.settings import daemon_conf, licence, parameters
from cjc_agent.tools import look, processes, procfs, replace
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import one_line

KIND, FORMAT = "cjc-agent node", 1
LANGUAGES = (ENGLISH, JAPANESE)
LARGEST = 4 << 20  # bytes of such a file
LARGEST_DIGESTED = 64 << 20  # bytes of a file whose digest is taken
SECONDS = 10.0  # for writing it
ROUNDS = 100_000  # so that short secrets cannot be found by trying them all; 0.05 s
UNIT_FILES = ["/etc/systemd/system/" + UNIT, "/usr/lib/systemd/system/" + UNIT, "/lib/systemd/system/" + UNIT]  # systemd.unit(5), the first wins
HOW = {COMMON: "common", LOCAL: "local", SITE: "site", "": "default"}  # whose file a daemon.conf value is from

NOT_OURS = Reason("%(file)s: no file that `cjc-agent doctor --save` has written (%(why)s): save it again on that node",
                  "%(file)s: `cjc-agent doctor --save` で保存したファイルではありません（%(why)s）。そのノードで保存し直してください")
NEWER = Reason("%(file)s: written by a newer cjc-agent (format %(why)s): compare with that version, or save it again with this one",
               "%(file)s: 新しい cjc-agent の形式（%(why)s）です。新しい版で比較するか、この版で保存し直してください")


class NotSaved(Exception):
    """A file is none that can be compared: `reason`, and its facts."""

    def __init__(self, reason: Reason, file: str, why: str) -> None:
        super().__init__(reason.text % {"file": file, "why": why})
        self._reason, self._facts = reason, {"file": file, "why": why}

    def words(self, language: str) -> str:
        """Return which file, why, and what to do."""
        return (self._reason.text_ja if language == JAPANESE else self._reason.text) % self._facts


# -- what is known of this node ----------------------------------------------------------------------------------------------------------


def contents(report: Report) -> dict[str, Any]:
    """Return all that is saved. What cannot be found out stands in `unknown`, with the reason: nothing that is broken here keeps the rest away."""
    node = report.node
    facts: dict[str, dict[str, str]] = {}
    unknown: dict[str, str] = {}
    for section, collect in SECTIONS.items():
        try:
            facts[section] = collect(node, unknown)
        except Exception as error:
            facts[section] = {}
            unknown[section] = "%s: %s" % (type(error).__name__, procfs.words(error))
    return {
        "kind": KIND, "format": FORMAT, "node": node.name, "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "site": node.settings.site,
        "settings from": node.origin, "summary": {severity: report.count(severity) for severity in SEVERITIES},
        "findings": [_finding(finding) for finding in report.findings],
        "unchecked": [{"rules": [rule.id for rule in one.rules], **{language: one.words(language) for language in LANGUAGES}} for one in report.unchecked],
        "facts": facts, "unknown": unknown,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    words = {language: list(finding.words(language)) for language in LANGUAGES}
    return {"rule": finding.rule.id, "severity": finding.rule.severity, "place": finding.place, **words}


def _versions(node: Node, unknown: dict[str, str]) -> dict[str, str]:
    psutil = processes.load_psutil()
    pacemaker = node.tool("cibadmin", "--version").output.split("\n")[0].split()
    found = {"JobCenter": " ".join(node.package or ()).strip(), "cjc-agent": VERSION, "Python": platform.python_version(),
             "psutil": str(getattr(psutil, "__version__", "")), "Pacemaker": pacemaker[1] if pacemaker[:1] == ["Pacemaker"] and len(pacemaker) > 1 else "",
             "kernel": os.uname().release, "OS": _system()}
    unknown.update(("versions " + name, "not installed, or not known to the package manager") for name, version in found.items() if not version)
    return {name: version for name, version in found.items() if version}


def _system() -> str:
    """What the system calls itself (os-release(5))."""
    lines = procfs.read("/etc/os-release").decode("utf-8", "replace").split("\n")
    return next((line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")), "")


def _digests(node: Node, unknown: dict[str, str]) -> dict[str, str]:
    settings = node.settings
    wanted = {"licence": licence.path(settings.nqs_home), "common daemon.conf": daemon_conf.path_of(COMMON, settings),
              "configuration file": node.request.source, UNIT: next((path for path in UNIT_FILES if os.path.lexists(path)), UNIT_FILES[-1])}
    wanted.update((name, seen.real) for name, seen in (("cjcpw", node.commands[settings.cjcpw]), (MAKER, node.commands[MAKER])) if seen)
    named = [(name, path) for name, path in wanted.items() if path]
    numbers = {look.number(path): path for _, path in named}
    answers = node.each("take digests of files", numbers, lambda number: _digest(numbers[number]))
    found = {}
    for name, path in named:
        digest, _, words = (answers[look.number(path)] or " its file system does not answer").partition(" ")
        if digest:
            found[name] = digest
        else:
            unknown["digests " + name] = "%s: %s" % (path, words)
    return found


def _digest(path: str) -> str:
    """Return a file's SHA-256, or " " and why there is none. In a child: it may hang."""
    digest = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST_DIGESTED:
                return " not a plain file, or too large"
            while True:
                piece = os.read(descriptor, 1 << 20)
                if not piece:
                    return digest.hexdigest()
                digest.update(piece)
        finally:
            os.close(descriptor)
    except OSError as error:
        return " %s" % error.strerror


def _parameters(node: Node, unknown: dict[str, str]) -> dict[str, str]:
    """What the agent is told. Of the file's own parameters only where a file counts: Pacemaker hands others over."""
    table = parameters.PARAMETERS + (() if node.resource else parameters.CONF_PARAMETERS)
    found = {row.name: node.settings.texts[row.name] for row in table}
    found["options"] = ",".join(_without_secret(option) for option in found["options"].split(","))
    words = node.settings.environment
    digest = hashlib.pbkdf2_hmac("sha256", "\n".join(words).encode("utf-8", "surrogateescape"), node.settings.site.encode(), ROUNDS).hex()
    found["environment"] = "%s (digest of the values %s)" % (" ".join(word.partition("=")[0] for word in words), digest) if words else ""
    return found


def _without_secret(option: str) -> str:
    """A mount option as it is, unless it is a password (mount.cifs(8))."""
    name, equals, _ = option.partition("=")
    return name + "=(not saved)" if equals and "pass" in name.lower() else option


def _daemon_conf(node: Node, site: str) -> dict[str, str]:
    """Key -> whose file says it (a word of HOW), a space, and what counts."""
    names = {id(file): which for which, file in node.files.items()}
    return {key: "%s %s" % (HOW[names.get(id(found.file), "")], found.value) for key, found in node.effective(site).items()}


def _places(node: Node, site: str) -> dict[str, str]:
    """Key -> file:line."""
    return {key: found.place for key, found in node.effective(site).items() if found.place}


def _node(node: Node, unknown: dict[str, str]) -> dict[str, str]:
    path, unresolved = node.device
    uid, directory = node.user, node.settings.directory
    found = {"uid of " + node.settings.user: uid.output if uid.ok else "", "disk": "mounted" if node.mount else "not mounted", "device": path}
    if unresolved:
        unknown["node device"] = str(unresolved)
    if directory:
        found["mount point"] = "there" if node.look([directory], contents=False)[directory].is_folder else "missing"
    return {name: text for name, text in found.items() if text}


SECTIONS: dict[str, Callable[[Node, dict[str, str]], dict[str, str]]] = {
    "versions": _versions, "digests": _digests, "parameters": _parameters, "node": _node,
    "local daemon.conf": lambda node, unknown: _daemon_conf(node, LOCAL), "local places": lambda node, unknown: _places(node, LOCAL),
    "site daemon.conf": lambda node, unknown: _daemon_conf(node, SITE), "site places": lambda node, unknown: _places(node, SITE),
}


# -- the file --------------------------------------------------------------------------------------------------------------------------------


def save(report: Report, path: str) -> None:
    """Write this node's facts into a file for root alone, in one step; over an older one of the same kind, never over anything else. Raise OSError."""
    data = (json.dumps(contents(report), indent=1) + "\n").encode()
    # a deadline of its own: the checks may have used up theirs, and a broken node is saved, too
    result = report.node.stack.runner.call("save facts", lambda: _write(path, data), Deadline(SECONDS))
    if not result.ok:
        raise OSError(errno.EIO, result.output.partition(" ")[2] if result.exit_code == 1 else result.words())


def _write(path: str, data: bytes) -> str:
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        before = None
    else:
        plain = stat.S_ISREG(facts.st_mode) and facts.st_uid in (0, os.geteuid())
        before = procfs.read(path) if plain and facts.st_size <= LARGEST else b""
        try:
            _understood(path, before)
        except NotSaved:
            raise OSError(errno.EEXIST, "is there, and no file of root's that `doctor --save` has written: name another one") from None
        os.chmod(path, 0o600)
    return replace.replace(path, data, before, 0o600)


@dataclass(frozen=True)
class Found:
    """A finding of a saved node: its rule's id and severity, the place, and language -> (what is wrong, why it matters, what to do)."""

    rule: str
    severity: str
    place: str
    words: dict[str, tuple[str, str, str]]


@dataclass(frozen=True)
class Saved:
    """A node as it was saved into `file`: when, its findings, the ids of the rules that could not be checked there, and section -> name -> fact.
    All texts are printable."""

    file: str
    node: str
    time: datetime
    site: str
    summary: dict[str, int]
    findings: list[Found]
    unchecked: set[str]
    facts: dict[str, dict[str, str]]


def load(path: str) -> Saved:
    """Read a saved file. Raise NotSaved."""
    shown = one_line(path, 300)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotSaved(NOT_OURS, shown, "not a plain file")
            data = os.read(descriptor, LARGEST + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise NotSaved(NOT_OURS, shown, one_line(getattr(error, "strerror", "") or str(error))) from error
    return _understood(shown, data)


def _understood(file: str, data: bytes) -> Saved:
    """Return what a file's bytes say, all of it checked: they may be from anywhere. Raise NotSaved."""
    try:
        value = json.loads(data[:LARGEST].decode("utf-8"))
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise NotSaved(NOT_OURS, file, "it does not say that it is one")
        if type(value.get("format")) is int and value["format"] > FORMAT:
            raise NotSaved(NEWER, file, str(value["format"])[:20])
        time = datetime.fromisoformat(_text(value["time"]))
        if value.get("format") != FORMAT or time.tzinfo is None:
            raise ValueError("format or time")
        return Saved(
            file, _text(value["node"]), time, _text(value["site"]), {severity: _number(value["summary"][severity]) for severity in SEVERITIES},
            [_found(one) for one in value["findings"]], {_text(id) for one in value["unchecked"] for id in one["rules"]},
            {_text(section): {_text(name): _text(text) for name, text in facts.items()} for section, facts in value["facts"].items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        why = "%s: %s" % (type(error).__name__, error)
        raise NotSaved(NOT_OURS, file, one_line(why, 100)) from error


def _found(value: Any) -> Found:
    words = {language: tuple(_text(text) for text in value[language]) for language in LANGUAGES}
    if value["severity"] not in SEVERITIES or any(len(texts) != 3 for texts in words.values()):
        raise ValueError("a finding of another form")
    return Found(_text(value["rule"]), value["severity"], _text(value["place"]), words)  # type: ignore[arg-type]


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text")
    return one_line(value)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError("no number")
    return value
