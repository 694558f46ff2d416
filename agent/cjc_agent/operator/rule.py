"""What a rule is, and what is found by it: everything that the doctor says stands in rules, in English and Japanese."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from cjc_agent.operator.node import Node

ERROR, WARNING, INFO = "error", "warning", "info"  # a failover fails; it may fail, or what fails then is not seen; good to know
SEVERITIES = (ERROR, WARNING, INFO)
ENGLISH, JAPANESE = "en", "ja"


@dataclass(frozen=True)
class Rule:
    """One thing that may be wrong with a node. `finding` is one line with %(facts)s, `why` says what it does to a failover, `remedy` what to do."""

    id: str
    severity: str
    finding: str
    finding_ja: str
    why: str
    why_ja: str
    remedy: str
    remedy_ja: str

    def __call__(self, place: str = "", **facts: object) -> Finding:
        """It was found: where (file:line, a file, "" for the node), and the facts that the texts name."""
        return Finding(self, place, {name: str(value) for name, value in facts.items()})


@dataclass(frozen=True)
class Finding:
    """A rule, and where and with which facts it was found."""

    rule: Rule
    place: str
    facts: dict[str, str] = field(default_factory=dict)

    def words(self, language: str) -> tuple[str, str, str]:
        """Return what is wrong, why it matters and what to do."""
        rule = self.rule
        texts = (rule.finding_ja, rule.why_ja, rule.remedy_ja) if language == JAPANESE else (rule.finding, rule.why, rule.remedy)
        return texts[0] % self.facts, texts[1] % self.facts, texts[2] % self.facts


@dataclass(frozen=True)
class Reason:
    """Why something cannot be checked here; with %(facts)s."""

    text: str
    text_ja: str


@dataclass(frozen=True)
class Unchecked:
    """Rules that could not be checked here, and why. That is never an error: on a standby the disk is rightly absent."""

    rules: tuple[Rule, ...]
    reason: Reason
    facts: dict[str, str] = field(default_factory=dict)

    def words(self, language: str) -> str:
        """Return why."""
        return (self.reason.text_ja if language == JAPANESE else self.reason.text) % self.facts


Found = Union[Finding, Unchecked]
Check = Callable[["Node"], Iterable[Found]]

NOT_MOUNTED = Reason("the disk of the site DB is not mounted on this node (right on a standby)", "サイト DB のディスクがこのノードにマウントされていません（待機系では正常）")
NO_ANSWER = Reason("%(what)s did not answer in time", "%(what)s が時間内に応答しませんでした")
NO_CLUSTER = Reason("no Pacemaker cluster answers on this node", "このノードで Pacemaker クラスタが応答しません")


class Group:
    """Rules that belong together, and the functions that check them. `title` is what the operator reads above what was found."""

    def __init__(self, title: str, title_ja: str) -> None:
        self.title, self.title_ja = title, title_ja
        self.rules: list[Rule] = []
        self.checks: list[Check] = []

    def rule(self, id: str, severity: str, finding: tuple[str, str], why: tuple[str, str], remedy: tuple[str, str]) -> Rule:
        """Add a rule; each text is (English, Japanese)."""
        made = Rule(id, severity, *finding, *why, *remedy)
        self.rules.append(made)
        return made

    def check(self, function: Check) -> Check:
        """Decorator: this function checks rules of the group. It yields findings; what it does not yield is well."""
        self.checks.append(function)
        return function


def unchecked(rules: Iterable[Rule], reason: Reason, **facts: object) -> Unchecked:
    """Say that rules could not be checked."""
    return Unchecked(tuple(rules), reason, {name: str(value) for name, value in facts.items()})
