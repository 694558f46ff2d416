"""`cjc-agent compare`: what differs between nodes that `cjc-agent doctor --save` has saved, and what of it matters."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from cjc_agent.operator.checks import cluster, daemon_conf, product
from cjc_agent.operator.checks.daemon_conf import UNIT
from cjc_agent.operator.doctor import LABELS, TEXTS, placed
from cjc_agent.operator.node import MAKER
from cjc_agent.operator.rule import ERROR, JAPANESE, SEVERITIES, WARNING, Rule
from cjc_agent.operator.saved import Found, Saved
from cjc_agent.settings import values
from cjc_agent.tools.log import one_line

LONG_AGO = timedelta(days=1)
MAY_DIFFER = ("device", "trace")  # parameters: a disk may have another name on each node
SHOWN_DIGITS = 16  # of a digest
NOT_SET = "-"

SAY = {  # English, Japanese
    "site": ("site %s", "サイト %s"), "saved": ("%s, saved %s", "%s（保存: %s）"),
    "matters": ("Differences that matter", "対処が必要な差異"), "may": ("Differences that do not matter", "問題とならない差異"),
    "unsure": ("Found on some nodes, not checkable on the others", "一部のノードで検出、他のノードでは検査不可"),
    "only": ("only on %s", "%s のみ"),
    "everywhere": ("found on all nodes alike, see the doctor: %s", "全ノードに共通する指摘（doctor を参照）: %s"),
    "old": ("saved more than a day apart (%s): save them again before you rely on this",
            "保存日時が 1 日以上離れています（%s）。確実な比較のため、保存し直してください"),
    "twice": ("the same node more than once: %s", "同じノードが複数あります: %s"),
    "summary": ("%s: %d difference%s that matter%s (%d error%s), %d that do not", "%s: 対処が必要な差異 %d（うちエラー %d）、問題とならない差異 %d"),
    "unknown": ("not compared, because it is not known of all nodes: %s", "一部のノードで不明なため比較できない項目: %s"),
    "sites": ("these files are of different sites (%s): compare nodes of one site", "異なるサイトのファイルです（%s）。同じサイトのノードを比較してください"),
}


class Incomparable(Exception):
    """The files cannot be compared with each other."""

    def __init__(self, key: str, facts: str) -> None:
        super().__init__(SAY[key][0] % facts)
        self._key, self._facts = key, facts

    def words(self, language: str) -> str:
        """Return why, and what to do."""
        return _say(self._key, language) % self._facts


@dataclass(frozen=True)
class Difference:
    """A fact that is not the same on all nodes: `what` it is (English, Japanese), node -> value, and the `rule` that it breaks, None if it may differ."""

    what: tuple[str, str]
    values: dict[str, str]
    rule: Optional[Rule] = None

    @property
    def severity(self) -> str:
        """The rule's; "" for what may differ."""
        return self.rule.severity if self.rule else ""


@dataclass(frozen=True)
class Only:
    """What was found on some nodes alone: node -> finding. `unsure`: on the others it could not be checked."""

    found: dict[str, Found]
    unsure: bool

    @property
    def first(self) -> Found:
        """One of them: they are of one rule."""
        return next(iter(self.found.values()))

    @property
    def severity(self) -> str:
        """The rule's."""
        return self.first.severity


class Comparison:
    """Nodes held against each other. Raise Incomparable."""

    def __init__(self, nodes: Sequence[Saved]) -> None:
        sites = dict.fromkeys(node.site for node in nodes)
        if len(sites) > 1:
            raise Incomparable("sites", ", ".join("%s: %s" % (node.file, node.site) for node in nodes))
        self.site = nodes[0].site
        self.counts = Counter(node.node for node in nodes)
        self.nodes = {self._label(node): node for node in nodes}
        self.differences = list(self._differences())
        self.only = list(self._only())
        self.everywhere = [id for id in _ids(nodes) if all(id in {found.rule for found in node.findings} for node in nodes)]

    def _label(self, node: Saved) -> str:
        """How a node is called: where it is there twice, with its file."""
        return node.node if self.counts[node.node] == 1 else "%s (%s)" % (node.node, node.file)

    @property
    def matters(self) -> list[Difference | Only]:
        """What an operator must look at, the worst first. What could not be checked on the others is no difference."""
        found: list[Difference | Only] = [*self.differences, *(one for one in self.only if not one.unsure)]
        return sorted((one for one in found if one.severity in (ERROR, WARNING)), key=lambda one: SEVERITIES.index(one.severity))

    def notes(self, language: str) -> list[str]:
        """What the reader must know of the files themselves."""
        times = sorted(node.time for node in self.nodes.values())
        said = []
        if times[-1] - times[0] > LONG_AGO:
            said.append(_say("old", language) % ", ".join("%s: %s" % (label, node.time) for label, node in self.nodes.items()))
        for name in (name for name, count in self.counts.items() if count > 1):
            said.append(_say("twice", language) % ", ".join(label for label, node in self.nodes.items() if node.node == name))
        gaps = ["%s (%s)" % (one.what[language == JAPANESE], ", ".join(label for label in self.nodes if label not in one.values))
                for one in self._product() if one.rule and 0 < len(one.values) < len(self.nodes)]
        if gaps:
            said.append(_say("unknown", language) % "; ".join(gaps))
        return said

    # -- facts -----------------------------------------------------------------------------------------------------------------------

    def of(self, section: str, name: str) -> dict[str, str]:
        """Node -> value of a fact, of those nodes that know it."""
        return {label: node.facts[section][name] for label, node in self.nodes.items() if name in node.facts.get(section, {})}

    def names(self, section: str) -> list[str]:
        """All names of facts in a section."""
        return list(dict.fromkeys(name for node in self.nodes.values() for name in node.facts.get(section, {})))

    def _differences(self) -> Iterator[Difference]:
        """All facts that differ, those that matter with their rule."""
        for made in (*self._product(), *self._parameters(), *self._daemon_conf(), *self._system()):
            if len(set(made.values.values())) > 1:
                yield made

    def _product(self) -> Iterator[Difference]:
        version = self.of("versions", "JobCenter")
        yield Difference(("JobCenter's version", "JobCenter のバージョン"), version, product.OTHER_VERSION)
        yield Difference(("the licence file (digest)", "ライセンスファイル（ダイジェスト）"), _short(self.of("digests", "licence")), cluster.OTHER_LICENCE)
        for name in ("cjcpw", MAKER):
            rule = cluster.OTHER_COMMANDS if len(set(version.values())) < 2 else None
            yield Difference(("%s (digest)" % name, "%s（ダイジェスト）" % name), _short(self.of("digests", name)), rule)
        yield Difference(("cjc-agent's version", "cjc-agent のバージョン"), self.of("versions", "cjc-agent"), cluster.OTHER_AGENT)
        for name in (name for name in self.names("node") if name.startswith("uid of ")):
            yield Difference((name, "%s の uid" % name[len("uid of "):]), self.of("node", name), cluster.OTHER_UID)

    def _parameters(self) -> Iterator[Difference]:
        for name in self.names("parameters"):
            found = {label: text or NOT_SET for label, text in self.of("parameters", name).items()}
            free = name in MAY_DIFFER and not any(values.is_network(text) for text in found.values() if name == "device")
            yield Difference(("parameter `%s`" % name, "パラメータ `%s`" % name), found, None if free else cluster.OTHER_PARAMETER)

    def _daemon_conf(self) -> Iterator[Difference]:
        """The local site's settings are each node's own, but for the port; the cluster site's must be the same, wherever it runs."""
        whose = ("of the local site", "ローカルサイト")
        for key in self.names("local daemon.conf"):
            own = any(text.startswith("local ") for text in self.of("local daemon.conf", key).values())
            if key in ("listen_port", "local_daemon") or (own and key != "ipaddress"):
                yield self._key("local", key, whose, daemon_conf.PORTS_DIFFER if key == "listen_port" else None)
        whose = ("of the cluster site", "クラスタサイト")
        port_rule = daemon_conf.NOT_MONITORED if any(self.of("parameters", "port").values()) else daemon_conf.PORTS_DIFFER
        for key in self.names("site daemon.conf"):
            moves = any(text.startswith("site ") for text in self.of("site daemon.conf", key).values())  # with the disk
            if key != "local_daemon" and not moves:
                yield self._key("site", key, whose, port_rule if key == "listen_port" else cluster.OTHER_COMMON)

    def _key(self, site: str, key: str, whose: tuple[str, str], rule: Optional[Rule]) -> Difference:
        """A key of daemon.conf; on a node that does not have it, it is not set."""
        known = {label: node.facts[site + " daemon.conf"] for label, node in self.nodes.items() if node.facts.get(site + " daemon.conf")}
        found = {label: keys.get(key, "").partition(" ")[2] for label, keys in known.items()}
        if len(set(found.values())) > 1:
            places = self.of(site + " places", key)
            found = {label: (value or NOT_SET) + (" (%s)" % places[label] if label in places else "") for label, value in found.items()}
        return Difference(("%s %s" % (key, whose[0]), "%sの %s" % (whose[1], key)), found, rule)

    def _system(self) -> Iterator[Difference]:
        for name in ("OS", "kernel", "Python", "psutil", "Pacemaker"):
            yield Difference((name, name), self.of("versions", name))
        yield Difference(("%s (digest)" % UNIT, "%s（ダイジェスト）" % UNIT), _short(self.of("digests", UNIT)))

    # -- findings --------------------------------------------------------------------------------------------------------------------

    def _only(self) -> Iterator[Only]:
        """What was found on some nodes, and not on all."""
        for id in _ids(self.nodes.values()):
            found = {label: one for label, node in reversed(self.nodes.items()) for one in node.findings if one.rule == id}
            others = [node for label, node in self.nodes.items() if label not in found]
            if others:
                yield Only(found, all(id in node.unchecked for node in others))


def _ids(nodes: Any) -> list[str]:
    return sorted({found.rule for node in nodes for found in node.findings})


def _short(digests: dict[str, str]) -> dict[str, str]:
    return {label: digest[:SHOWN_DIGITS] for label, digest in digests.items()}


# -- what is said ----------------------------------------------------------------------------------------------------------------------------


def as_json(made: Comparison, language: str) -> dict[str, Any]:
    """Return the comparison for tools."""
    return {
        "site": made.site, "same": not made.matters, "notes": made.notes(language),
        "nodes": {label: {"file": node.file, "saved": node.time.isoformat(), "summary": node.summary} for label, node in made.nodes.items()},
        "differences": [{"rule": one.rule.id if one.rule else "", "severity": one.severity, "what": one.what[language == JAPANESE], "values": one.values}
                        for one in made.differences],
        "findings": [{"rule": one.first.rule, "severity": one.severity, "checked on the others": not one.unsure,
                      "nodes": {label: {"place": found.place, "finding": found.words[language][0]} for label, found in one.found.items()}}
                     for one in made.only],
        "on all nodes": made.everywhere,
    }


def text(made: Comparison, language: str) -> str:
    """Return the comparison for people: what matters on top, the summary last."""
    lines = [_say("site", language) % made.site + ": " + "; ".join(
        _say("saved", language) % (label, node.time.strftime("%Y-%m-%d %H:%M %z")) for label, node in made.nodes.items())]
    lines += made.notes(language)
    matters = made.matters
    for one in matters:
        lines += ["", _say("matters", language)] if one is matters[0] else []
        lines += _difference(one, language) if isinstance(one, Difference) else _finding(one, language)
    may = [one for one in made.differences if one not in matters]
    rest = [one for one in made.only if one not in matters]
    for title, said in (
            ("may", ["  %s: %s" % (one.what[language == JAPANESE], ", ".join("%s %s" % pair for pair in one.values.items())) for one in may]
             + [_found(one, language) for one in rest if not one.unsure]),
            ("unsure", [_found(one, language) for one in rest if one.unsure])):
        lines += ["", _say(title, language), *said] if said else []
    if made.everywhere:
        lines += ["", _say("everywhere", language) % " ".join(made.everywhere)]
    return "\n".join(one_line(line) for line in [*lines, "", summary(made, language)])


def _difference(one: Difference, language: str) -> list[str]:
    """A fact: its value on each node, why it matters, what to do."""
    assert one.rule
    japanese = language == JAPANESE
    width = max(map(len, one.values))
    return ["  %s %s %s" % (LABELS[one.severity][japanese], one.rule.id, one.what[japanese]),
            *("      %s  %s" % (label.ljust(width), value) for label, value in one.values.items()),
            "      %s %s" % (TEXTS["why"][japanese], one.rule.why_ja if japanese else one.rule.why),
            "      %s %s" % (TEXTS["do"][japanese], one.rule.remedy_ja if japanese else one.rule.remedy)]


def _finding(one: Only, language: str) -> list[str]:
    """What was found on some nodes."""
    japanese = language == JAPANESE
    _, why, remedy = one.first.words[language]
    return [_found(one, language), "      %s %s" % (TEXTS["why"][japanese], why), "      %s %s" % (TEXTS["do"][japanese], remedy)]


def _found(one: Only, language: str) -> str:
    """One line: the rule, on which nodes, where, what."""
    return "  %s %s %s: %s" % (LABELS[one.severity][language == JAPANESE], one.first.rule, _say("only", language) % ", ".join(one.found),
                               placed(one.first.place, one.first.words[language][0]))


def summary(made: Comparison, language: str) -> str:
    """Return the one line that says how it is."""
    matters = made.matters
    errors, may = sum(one.severity == ERROR for one in matters), sum(not one.rule for one in made.differences)
    names, count = ", ".join(made.nodes), len(matters)
    if language == JAPANESE:
        return SAY["summary"][1] % (names, count, errors, may)
    return SAY["summary"][0] % (names, count, "" if count == 1 else "s", "" if count != 1 else "s", errors, "" if errors == 1 else "s", may)


def _say(what: str, language: str) -> str:
    return SAY[what][language == JAPANESE]

