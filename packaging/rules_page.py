"""Print docs/rules.md from the table of rules (`make docs`)."""
from __future__ import annotations

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "agent"))

from cjc_agent.operator.rule import JAPANESE, Finding, Rule
from cjc_agent.operator.rules import GROUPS

SEVERITY_JA = {"error": "エラー", "warning": "警告", "info": "情報"}
TEXTS = {
    False: ("## English", "| rule | severity | what is found | why it matters at a failover | what to do |",
            "What stands in *italics* is filled in where it is found. Exit code 1 of the doctor: an error or a warning was found; `info` is no problem. "
            "CJC610 and what follows it are found by `cjc-agent compare`, which sees several nodes."),
    True: ("## 日本語", "| 規則 | 重大度 | 検出内容 | フェイルオーバへの影響 | 対処 |",
           "*斜体*の部分には検出時の値が入ります。エラーまたは警告があると doctor の終了コードは 1 です（情報は問題とみなしません）。"
           "CJC610 以降は、複数のノードを比較する `cjc-agent compare` が検出します。"),
}


def row(rule: Rule, language: str) -> str:
    """One table line; what a finding fills in is shown by its name."""
    names = set(re.findall(r"%\((\w+)\)s", rule.finding + rule.why + rule.remedy))
    texts = Finding(rule, "", {name: "*%s*" % name for name in names}).words(language)
    severity = SEVERITY_JA[rule.severity] if language == JAPANESE else rule.severity
    return "| %s | %s | %s |" % (rule.id, severity, " | ".join(_outside_code(text).replace("|", "\\|") for text in texts))


def _outside_code(text: str) -> str:
    """The text; within a command, too, what is filled in is set in italics, which Markdown does not do inside of a code span."""
    return re.sub("`[^`]*`", lambda span: re.sub(r"\*\w+\*", lambda name: "`%s`" % name[0], span[0]).replace("``", "").replace("` `", " "), text)


def page() -> str:
    """The whole page."""
    lines = ["# Rules of the doctor / doctor の検査規則", "",
             "Made from `agent/cjc_agent/operator/checks` by `make docs`: do not edit. `cjc-agent doctor` checks these rules on one node. [日本語](#日本語)"]
    for japanese, (title, head, words) in TEXTS.items():
        lines += ["", title, "", words]
        for group in GROUPS:
            lines += ["", "### " + (group.title_ja if japanese else group.title), "", head, "|---|---|---|---|---|"]
            lines += [row(rule, JAPANESE if japanese else "en") for rule in group.rules]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
