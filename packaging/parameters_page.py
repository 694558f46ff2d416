"""Print docs/parameters.md from the parameter table (`make docs`)."""
from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "agent"))

from cjc_agent.settings.metadata import ACTIONS
from cjc_agent.settings.parameters import CONF_PARAMETERS, PARAMETERS, Parameter


def rows(parameters: tuple[Parameter, ...], japanese: bool) -> list[str]:
    """One table line per parameter."""
    lines = []
    for row in parameters:
        marks = [word for word, there in (("required", row.required), ("unique", row.unique), ("reloadable", row.reloadable)) if there]
        text = row.long_ja if japanese else row.long
        lines.append("| `%s` | %s | %s | %s |" % (row.name, "`%s`" % row.default if row.default else "", ", ".join(marks), text))
    return lines


def page() -> str:
    """The whole page."""
    lines = ["# Parameters / パラメータ", "",
             "Made from `agent/cjc_agent/settings/parameters.py` by `make docs`: do not edit. In Pacemaker they are instance attributes, in a",
             "configuration file `name = value` lines, on the command line `--name VALUE`."]
    for japanese, head in ((False, "| name | default | | meaning |"), (True, "| 名前 | 既定値 | | 意味 |")):
        lines += ["", "## 日本語" if japanese else "## English", "", head, "|---|---|---|---|", *rows(PARAMETERS, japanese), "",
                  "コマンドラインと設定ファイルだけで有効なもの:" if japanese else "On the command line and in a configuration file only:", "", head,
                  "|---|---|---|---|", *rows(CONF_PARAMETERS, japanese)]
    lines += ["", "## Actions / アクション", "", "| action | timeout | interval | depth (OCF_CHECK_LEVEL) |", "|---|---|---|---|"]
    for name, timeout, interval, depth in ACTIONS:
        lines.append("| %s | %ds | %s | %s |" % (name, timeout, "%ds" % interval if interval else "", "" if depth is None else depth))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
