"""`cjc-agent status`: the layers one by one, and what their states add up to."""
from __future__ import annotations

from cjc_agent import actions
from cjc_agent.actions import Request, Stack
from cjc_agent.tools import processes
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORDS = {actions.GOOD: "running", actions.STOPPED: "stopped"}


def look(request: Request, level: int) -> dict[str, Any]:
    """Return the site's name, its `state` in a word with a `reason`, the `layers`, port, daemons (names with pids), and what is recorded."""
    verdict = actions.monitor(request, level, probing=True)
    stack = Stack(request, request.settings, actions.load_record(request, request.settings.site))
    disk = stack.disk.state()
    layers = {"disk": disk, "vip": stack.vip.state(), "site": stack.site.state(disk.running, probing=True)}
    return {
        "site": request.settings.site,
        "state": WORDS.get(verdict.outcome, verdict.outcome),
        "reason": verdict.reason,
        "layers": {name: {"state": state.status, "detail": state.reason} for name, state in layers.items()},
        "port": stack.site.port(),
        "daemons": [process.words() for process in stack.site.census().daemons.values()],
        "recorded": [list(pair) for pair in stack.record.daemons if processes.read(pair[0])] if stack.record else None,
    }


def text(seen: dict[str, Any]) -> str:
    """Return for people what `look` has seen."""
    lines = ["site %s: %s%s" % (seen["site"], seen["state"], ": " + seen["reason"] if seen["reason"] else "")]
    lines += ["  %-5s %-8s %s" % (name, layer["state"], layer["detail"]) for name, layer in seen["layers"].items()]
    lines.append("  port %d, daemons: %s" % (seen["port"], ", ".join(seen["daemons"]) or "none"))
    lines.append("  record of this boot: %s" % ("none" if seen["recorded"] is None else "there"))
    return "\n".join(map(one_line, lines))
