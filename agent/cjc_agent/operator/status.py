"""`cjc-agent status`: what there is to know about one site on this node, for somebody who was just called.

A site that was started is judged as it was started: what has been changed since is for the next start, and is shown beside it.
"""
from __future__ import annotations

import time
from typing import Any, Optional

from cjc_agent import actions
from cjc_agent.actions import Request, Verdict
from cjc_agent.layers.ownership import Census
from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, State
from cjc_agent.operator.cib import Cib
from cjc_agent.operator.node import COMMON, SITE, Node
from cjc_agent.settings import daemon_conf
from cjc_agent.settings.parameters import PARAMETERS
from cjc_agent.tools import addresses, history, processes, sockets
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import one_line
from cjc_agent.tools.record import Record

WORDS = {actions.GOOD: "running", actions.STOPPED: "stopped"}
SHOWN = ("site_db", "device", "directory", "vip", "nqs_home", "cjcpw", "user")
SECRET = "environment"  # its values are for cjcpw alone
PATIENCE = 10.0  # seconds for all that is looked at besides the monitor's own look
TOLD = 6  # actions in the text; the JSON has them all
IDLE = {history.START: "it ran already", history.STOP: "it did not run"}


def look(request: Request, resource: str = "", cib: Optional[Cib] = None) -> dict[str, Any]:
    """Return what was seen, all of it plain values:

    - `site`, `node`; `state` (running, stopped, or the monitor's word) and its `reason`; `layers`: name -> `state`, `detail`
    - `at_work`: the start or stop that is going on (`action`, `pid`, `seconds`), or None: what is seen may then be its work
    - `settings`: name -> text, as they count; `changed`: `name`, `started_with` and `now` of those that were changed since the start;
      `problems`: what is wrong with the parameters as they are now; `source`: where those are from
    - `timeouts`: operation -> text, and `timeouts_from`; `cluster`: words for why the cluster leaves the resource alone, "" when it does not
    - `cjcpw`: the command that is run, "" when there is none; `vips`: `address`, `interface` and `worth` ("" for both: not on this node)
    - `port`, `port_from`; `listeners`: `address` and `processes` of who listens at it
    - `daemons`: the site's processes; `unseen`: words for what keeps us from seeing them all
    - `record`: what the start has left: `instance`, `finished`, how many `daemons` it had and how many are `alive`; None for no record; and
      `record_doubt`: why one cannot be believed
    - `history`: the last starts and stops, the newest first (tools/history.py, Entry); `history_doubt`
    """
    found = actions.recorded(request)
    work = actions.at_work(request)
    verdict = actions.monitor(_as_started(request, found, request.deadline), request.settings.monitor_level, probing=found is None)
    node = Node(_as_started(request, found, Deadline(PATIENCE)), resource, cib=cib)
    census, site = node.stack.site.census(), node.settings.site  # first: what hangs later must not take the time from it
    return {
        "site": site, "node": node.name, "state": WORDS.get(verdict.outcome, verdict.outcome), "reason": verdict.reason,
        "layers": {name: {"state": state.status, "detail": state.reason} for name, state in _layers(node, verdict).items()},
        "at_work": {"action": work.what, "pid": work.pid, "seconds": round(work.seconds, 1)} if work else None,
        "vips": [_vip(address) for address in node.settings.vip],
        "daemons": [process.words() for process in census.daemons.values()], "unseen": _unseen(census),
        "record": _record(node.stack.record), "record_doubt": actions.doubtful_record(request),
        "history": [entry.as_json() for entry in reversed(history.load(request.folder, site))], "history_doubt": history.doubt(request.folder, site),
        "changed": _changed(request, found), "problems": request.complaints, "source": "resource " + resource if resource else request.source,
        **_port(node), **_cluster(node, request),
        "settings": {name: node.settings.texts[name] for name in SHOWN}, "cjcpw": _command(node),
    }


def _as_started(request: Request, found: Optional[Record], deadline: Deadline) -> Request:
    if found is None:
        return Request(request.given, deadline, request.log, request.folder, request.instance)
    return Request(found.settings, deadline, request.log, request.folder, found.instance)


def _layers(node: Node, verdict: Verdict) -> dict[str, State]:
    """The three layers. Where the monitor's answer tells how the site is, cjcpw, which may hang, is not asked again."""
    layer, _, words = verdict.reason.partition(": ")
    if verdict.outcome in (actions.GOOD, actions.DEGRADED) or layer == "vip":  # addresses are looked at after the site was seen to run
        site = State(RUNNING, node.settings.site)
    elif verdict.outcome == actions.STOPPED:
        site = State(STOPPED, verdict.reason)
    elif layer == "site":
        site = State(FAILED, words)
    else:
        site = node.stack.site.state(node.disk.running, probing=node.stack.record is None)
    return {"disk": node.disk, "vip": node.stack.vip.state(), "site": site}


def _vip(address: str) -> dict[str, str]:
    try:
        worth, interface = addresses.worth(addresses.local().get(addresses.packed(address), []))
    except OSError as error:
        worth, interface = "not known: %s" % error.strerror, ""
    return {"address": address, "interface": interface, "worth": worth}


def _unseen(census: Census) -> str:
    return "" if census.complete else "; ".join(census.obstacles)


def _record(found: Optional[Record]) -> Optional[dict[str, Any]]:
    if found is None:
        return None
    now = {identity: processes.read(identity[0]) for identity in found.daemons}
    alive = [identity for identity, process in now.items() if process and process.identity == identity and not process.dead]
    return {"instance": found.instance, "finished": found.before is None, "daemons": len(found.daemons), "alive": len(alive)}


def _changed(request: Request, found: Optional[Record]) -> list[dict[str, str]]:
    """The parameters that have another value now than at the start."""
    if found is None:
        return []
    then = _as_started(request, found, request.deadline).settings
    changed = [row.name for row in PARAMETERS if getattr(then, row.name) != getattr(request.settings, row.name) and row.name not in request.problems]
    texts = [(name, then.texts[name], request.settings.texts[name]) for name in changed]
    return [{"name": name, "started_with": "(hidden)" if name == SECRET else was, "now": "(hidden)" if name == SECRET else now} for name, was, now in texts]


def _port(node: Node) -> dict[str, Any]:
    number = node.stack.site.port()
    try:
        table = processes.table()
        found = sockets.listeners(number)
        owners = sockets.owners([inode for _, inode in found], table)
    except OSError:
        return {"port": number, "port_from": _port_from(node, number), "listeners": []}
    listeners = [{"address": addresses.text_of(address), "processes": [table[pid].words() for pid in sorted(owners[inode])]} for address, inode in found]
    return {"port": number, "port_from": _port_from(node, number), "listeners": listeners}


def _port_from(node: Node, number: int) -> str:
    if node.settings.port:
        return "parameter port"
    said = node.effective(SITE)["listen_port"]
    if daemon_conf.port_of(said) == number and said.place:
        return said.place
    known = node.stack.record
    if known and known.port == number and said.place:
        return "as it was started; %s has %s now" % (said.place, said.value)
    unread = [node.seen[which].path for which in (COMMON, SITE) if which in node.seen and which not in node.files and not node.seen[which].missing]
    return "as it was started" if known and known.port == number != int(daemon_conf.KEYS["listen_port"].default) else \
        "default%s" % "".join("; %s cannot be read" % path for path in unread)


def _cluster(node: Node, request: Request) -> dict[str, Any]:
    """The timeouts that count, and whether the cluster takes care of the resource: as it says itself, for a resource of Pacemaker's."""
    resource = node.cib.resources.get(node.resource or node.request.instance) if node.cib else None
    if node.cib is None or resource is None:
        texts = request.settings.texts
        return {"timeouts": {verb: texts[verb + "_timeout"] for verb in ("start", "stop", "monitor")}, "timeouts_from": request.source, "cluster": ""}
    held = filter(None, (resource.held, node.cib.idle.get(node.name, "")))
    return {"timeouts": dict(resource.timeouts), "timeouts_from": "resource " + resource.name, "cluster": ", ".join(held)}


def _command(node: Node) -> str:
    command = node.commands[node.settings.cjcpw]
    return command.path if command else ""


# -- for people --------------------------------------------------------------------------------------------------------------------------


def text(seen: dict[str, Any]) -> str:
    """Return for people what `look` has seen."""
    lines = ["site %s: %s%s" % (seen["site"], seen["state"], ": " + seen["reason"] if seen["reason"] else "")]
    if seen["at_work"]:
        lines.append(_row("at work", "%(action)s (pid %(pid)d) for %(seconds).0f s: what is seen here may be its work" % seen["at_work"]))
    for name, layer in seen["layers"].items():
        places = ", ".join(map(_vip_words, seen["vips"])) if name == "vip" else ""  # the layer itself only names some of them
        lines.append(_row(name, "%-8s %s" % (layer["state"], places or layer["detail"])))
    lines += [_row("port", _port_words(seen)), _row("daemons", _or_none(", ".join(seen["daemons"]), seen["unseen"]))]
    lines.append(_row("record", _record_words(seen["record"], seen["record_doubt"])))
    lines += [_row("problem", words) for words in seen["problems"]]
    lines += [_row("changed", "%(name)s: %(now)s now, started with %(started_with)s, which counts until the next start" % {
        name: value or "none" for name, value in one.items()}) for one in seen["changed"]]
    return "\n".join(map(one_line, [*lines, *_settings_lines(seen), *_history_lines(seen)]))


def _row(name: str, words: str) -> str:
    return "  %-9s %s" % (name, words)


def _or_none(words: str, doubt: str) -> str:
    return " - ".join(filter(None, (words or "none", doubt and "not all could be seen: " + doubt)))


def _vip_words(vip: dict[str, str]) -> str:
    place = " on " + vip["interface"] if vip["interface"] else ""
    return "%s%s%s" % (vip["address"], place, "" if vip["worth"] == addresses.USABLE else " (%s)" % (vip["worth"] or "not on this node"))


def _port_words(seen: dict[str, Any]) -> str:
    who = ["%s listens on %s" % (", ".join(one["processes"]) or "somebody who cannot be seen here", one["address"]) for one in seen["listeners"]]
    return "%d (%s): %s" % (seen["port"], seen["port_from"], ", ".join(who) or "nobody listens")


def _record_words(found: Optional[dict[str, Any]], doubt: str) -> str:
    if found is None:
        return doubt or "none: not started on this node, or stopped since"
    started = "started by %s" if found["finished"] else "a start by %s did not finish"
    return "%s, %d of %d recorded daemons live" % (started % (found["instance"] or "hand"), found["alive"], found["daemons"])


def _settings_lines(seen: dict[str, Any]) -> list[str]:
    settings = seen["settings"]
    disk = "%s on %s" % (settings["device"], settings["directory"]) if settings["device"] else "mounted by the cluster"
    lines = [_row("site DB", "%s, disk %s" % (settings["site_db"], disk)),
             _row("cjcpw", seen["cjcpw"] or "%s is not found below %s" % (settings["cjcpw"], settings["nqs_home"])),
             _row("timeouts", "%s%s" % (", ".join(map(_timeout_words, seen["timeouts"].items())), _from(seen["timeouts_from"])))]
    if seen["cluster"]:
        lines.append(_row("cluster", "leaves it alone: " + seen["cluster"]))
    return lines


def _timeout_words(timeout: tuple[str, str]) -> str:
    operation, _, interval = timeout[0].partition(" ")
    return "%s%s %s" % (operation, " (every %s)" % interval if interval else "", timeout[1])


def _from(source: str) -> str:
    return " (%s)" % source if source else ""


def _history_lines(seen: dict[str, Any]) -> list[str]:
    if not seen["history"]:
        return [_row("history", seen["history_doubt"] or "no start and no stop since this node was booted")]
    return ["last starts and stops, the newest first:"] + ["  " + entry_words(one) for one in seen["history"][:TOLD]]


def entry_words(one: dict[str, Any]) -> str:
    """One start or stop. A wait for the lock is only told where there was one."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["began"]))
    steps = ", ".join("%s %.2f" % (name, seconds) for name, seconds in one["steps"] if name != "lock" or seconds >= 0.01)
    idle = " (%s)" % IDLE[one["action"]] if one["idle"] and one["outcome"] == history.GOOD else ""
    return "%-5s %s %s %.2f s%s%s%s" % (one["action"], began, one["outcome"], one["seconds"], idle, steps and ": " + steps,
                                       one["reason"] and " - " + one["reason"])
