"""`cjc-agent doctor`: all rules on this node, and what to do about what was found."""
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from cjc_agent.operator import rules
from cjc_agent.operator.checks.parameters import UNCOMPLETED
from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import ERROR, INFO, JAPANESE, SEVERITIES, WARNING, Finding, Group, Unchecked
from cjc_agent.tools import procfs
from cjc_agent.tools.log import one_line

COLOURS = {ERROR: "\x1b[1;31m", WARNING: "\x1b[33m", INFO: "\x1b[36m", "": "\x1b[1m"}
PLAIN = "\x1b[0m"
LABELS = {ERROR: ("ERROR", "エラー"), WARNING: ("WARNING", "警告"), INFO: ("info", "情報")}
TEXTS = {  # English, Japanese
    "why": ("why:", "影響:"), "do": ("do: ", "対処:"), "good": ("good", "問題なし"),
    "in part": ("good, as far as it could be checked", "検査できた範囲では問題なし"), "unchecked": ("Not checkable here", "このノードでは検査不可"),
    "subject": ("site %(site)s on node %(node)s, JobCenter %(version)s, settings from %(origin)s",
                "ノード %(node)s のサイト %(site)s（JobCenter %(version)s、設定: %(origin)s）"),
    "options": ("the command line", "コマンドライン"),
}


class Report:
    """What was found on a node: by group, in the order of the table."""

    def __init__(self, node: Node, found: dict[str, list[Finding]], unchecked: list[Unchecked]) -> None:
        self.node, self.found, self.unchecked = node, found, unchecked

    @property
    def findings(self) -> list[Finding]:
        """All findings, the worst first."""
        every = [finding for findings in self.found.values() for finding in findings]
        return sorted(every, key=_severity)

    def count(self, severity: str) -> int:
        """How many findings of a severity there are."""
        return sum(finding.rule.severity == severity for finding in self.findings)

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning; what is only good to know is no problem."""
        return not self.count(ERROR) and not self.count(WARNING)


def examine(node: Node, accepted: Collection[str] = ()) -> Report:
    """Check all rules; of those that are `accepted` (ids) a warning is a note only. A check that fails itself is a finding, and the others go on."""
    found: dict[str, list[Finding]] = {}
    unchecked: list[Unchecked] = []
    for group in rules.GROUPS:
        listed = found.setdefault(group.title, [])
        for check in group.checks:
            try:
                for one in check(node):
                    if isinstance(one, Unchecked):
                        unchecked.append(one)
                        continue
                    finding = replace(one, rule=replace(one.rule, severity=INFO)) if one.rule.id in accepted else one
                    if finding not in listed:
                        listed.append(finding)
            except Exception as error:
                listed.append(UNCOMPLETED(check=check.__name__, error="%s: %s" % (type(error).__name__, procfs.words(error))))
    return Report(node, found, unchecked)


def as_json(report: Report, language: str) -> dict[str, Any]:
    """Return the report for tools."""
    return {
        "node": report.node.name, "site": report.node.settings.site, "clean": report.clean,
        "summary": {severity: report.count(severity) for severity in SEVERITIES},
        "findings": [_finding(finding, language) for finding in report.findings],
        "unchecked": [{"rules": [rule.id for rule in one.rules], "reason": one.words(language)} for one in report.unchecked],
    }


def _finding(finding: Finding, language: str) -> dict[str, str]:
    words, why, remedy = finding.words(language)
    return {"rule": finding.rule.id, "severity": finding.rule.severity, "place": finding.place, "finding": words, "why": why, "remedy": remedy}


def text(report: Report, language: str, coloured: bool) -> str:
    """Return the report for people: groups with problems first, the worst on top; the summary last, where the eye is."""
    groups = sorted(rules.GROUPS, key=lambda group: _worst(report.found[group.title]))
    lines = [_subject(report, language), ""]
    lines += [line for group in groups for line in _group(group, report, language, coloured)]
    if report.unchecked:
        lines += ["", _paint(_say("unchecked", language), "", coloured), *_unchecked(report.unchecked, language)]
    return "\n".join([*lines, "", summary(report, language, coloured)])


def _subject(report: Report, language: str) -> str:
    """What was looked at, and where its settings are from."""
    node = report.node
    version = (vars(node).get("package") or ("", ""))[1]  # as far as the checks have found it out: nothing is looked at any more
    facts = {"site": node.settings.site or "?", "node": node.name, "version": version or "?", "origin": node.origin or _say("options", language)}
    return one_line(_say("subject", language) % facts)


def _unchecked(every: Sequence[Unchecked], language: str) -> list[str]:
    """A line for each reason, with all rules that it keeps from being checked."""
    ids: dict[str, list[str]] = {}
    for one in every:
        ids.setdefault(one.words(language), []).extend(rule.id for rule in one.rules)
    return ["  %s: %s" % (one_line(words), " ".join(sorted(set(listed)))) for words, listed in ids.items()]


def _severity(finding: Finding) -> int:
    return SEVERITIES.index(finding.rule.severity)


def _worst(findings: list[Finding]) -> int:
    return min(map(_severity, findings), default=len(SEVERITIES))


def _group(group: Group, report: Report, language: str, coloured: bool) -> list[str]:
    title = group.title_ja if language == JAPANESE else group.title
    findings = report.found[group.title]
    if not findings:
        whole = not any(rule in group.rules for one in report.unchecked for rule in one.rules)
        return ["%s: %s" % (_paint(title, "", coloured), _say("good" if whole else "in part", language))]
    lines = [_paint(title, "", coloured)]
    for finding in sorted(findings, key=_severity):
        words, why, remedy = map(one_line, finding.words(language))
        label = LABELS[finding.rule.severity][language == JAPANESE]
        lines.append("  %s %s %s" % (_paint(label, finding.rule.severity, coloured), finding.rule.id, placed(one_line(finding.place), words)))
        lines.append("      %s %s" % (_say("why", language), why))
        lines.append("      %s %s" % (_say("do", language), remedy))
    return [*lines, ""]


def summary(report: Report, language: str, coloured: bool = False) -> str:
    """Return the one line that says how it is."""
    counts = [report.count(severity) for severity in SEVERITIES]
    kept = len({rule.id for one in report.unchecked for rule in one.rules})
    site, node = report.node.settings.site or "?", report.node.name
    if language == JAPANESE:
        words = "%s（%s）: エラー %d、警告 %d、情報 %d、検査できない規則 %d" % (node, site, counts[0], counts[1], counts[2], kept)
    else:
        plurals = ["%d %s%s" % (count, word, "" if count == 1 else "s") for count, word in zip(counts, ("error", "warning", "note"))]
        words = "%s, site %s: %s, %d rule%s not checkable here" % (node, site, ", ".join(plurals), kept, "" if kept == 1 else "s")
    worst = next((severity for severity, count in zip(SEVERITIES, counts) if count), "")
    return _paint(one_line(words), worst, coloured)


def placed(place: str, words: str) -> str:
    """Return a finding with its place in front, unless it begins with that anyway."""
    return words if words.startswith(place) else "%s: %s" % (place, words)


def _say(what: str, language: str) -> str:
    return TEXTS[what][language == JAPANESE]


def _paint(words: str, severity: str, coloured: bool) -> str:
    return COLOURS[severity] + words + PLAIN if coloured else words
