"""NQS_SITE belongs to single commands (seed): where it leaks to others, and the site's daemons that have lost it."""
from __future__ import annotations

import json
from collections.abc import Iterator

from cjc_agent.operator import leaks
from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import NO_ANSWER, WARNING, Found, Group, unchecked
from cjc_agent.tools import look, processes

GROUP = Group("Environment: NQS_SITE", "環境変数 NQS_SITE")
CLUSTER_DAEMONS = ("pacemakerd", "clppm", "clprc")  # what they have in their environment every resource script inherits
MISLEADS = ("Whatever inherits it acts on that site, also what was meant for the local site or another one; and strangers look like daemons of the site.",
            "この変数を引き継いだコマンドはすべてそのサイトを操作するため、ローカルサイトや別サイト向けの操作も誤ったサイトに対して行われます。"
            "また、無関係なプロセスとサイトのデーモンを区別できなくなります。")

IN_A_FILE = GROUP.rule(
    "CJC501", WARNING,
    ("NQS_SITE is set here for more than one command", "NQS_SITE がここで恒常的に設定されています（特定のコマンドに限定されていません）"), MISLEADS,
    ("Remove the line and write `NQS_SITE=SITE` before the one command that needs it; what runs already keeps it until it is started again.",
     "この行を削除し、必要なコマンドの直前にだけ `NQS_SITE=サイト名` を付けてください。稼働中のプロセスには再起動するまで残ります。"))
WITHOUT = GROUP.rule(
    "CJC502", WARNING,
    ("daemons of the site run without NQS_SITE in their environment: %(who)s", "環境変数 NQS_SITE を持たないサイトのデーモンがあります: %(who)s"),
    ("The agent knows the site's processes by it. Without it a stop has only the record of its start, the listeners on the VIP and the holders of the disk "
     "to go by: what is none of these is not ended.",
     "エージェントはこの変数でサイトのプロセスを見分けます。変数が無いと、停止時の判断材料は起動記録・VIP の待ち受け・ディスクの使用者だけになり、"
     "いずれにも該当しないプロセスは終了されません。"),
    ("No parameter helps. Report it; and before you rely on it, see in a maintenance window that a stop works also when `cjcpw stop` fails.",
     "パラメータでの対処はできません。開発元に報告し、`cjcpw stop` が失敗した場合でも停止できることを保守時間帯に確認してください。"))
IN_A_DAEMON = GROUP.rule(
    "CJC503", WARNING,
    ("NQS_SITE=%(value)s is in the environment of %(who)s", "%(who)s の環境変数に NQS_SITE=%(value)s があります"), MISLEADS,
    ("Find where it is set (CJC501, or the shell that started it), remove it there, and start %(who)s again.",
     "設定元（CJC501、または起動に使ったシェル）から削除し、%(who)s を再起動してください。"))
OF_THE_CALLER = GROUP.rule(
    "CJC504", WARNING,
    ("this command was called with NQS_SITE=%(value)s in its environment", "このコマンドは環境変数 NQS_SITE=%(value)s を持つ環境から呼び出されました"), MISLEADS,
    ("`unset NQS_SITE` in this shell; write it before the one command that needs it.", "このシェルで `unset NQS_SITE` を実行し、必要なコマンドの直前にだけ付けてください。"))


@GROUP.check
def files(node: Node) -> Iterator[Found]:
    """Files that fill environments."""
    sources = {look.number(source[0]): source for source in (leaks.ASSIGNMENTS, leaks.PROFILES, leaks.OWN_PROFILES, leaks.UNITS)}
    answers = node.each("look for NQS_SITE", sources, lambda number: json.dumps(leaks.find(sources[number])))
    for number, text in answers.items():
        if text is None:
            yield unchecked((IN_A_FILE,), NO_ANSWER, what=sources[number][0])
        else:
            yield from (IN_A_FILE("%s:%d" % place) for place in json.loads(text).items())


@GROUP.check
def daemons_without(node: Node) -> Iterator[Found]:
    """Daemons that the record names, and the product's own that listen on VIP:port. Who merely holds the disk may be anybody."""
    site, census = node.stack.site, node.census
    recorded = [*site.daemons, *([site.resident] if site.resident else [])]
    daemons = {pid: process for pid, process in census.daemons.items()
               if process.identity in recorded or (pid in census.listeners and pid in census.product)}
    wanted = b"NQS_SITE=" + node.settings.site.encode()
    answers = node.each("look at environments", daemons, lambda pid: "yes" if wanted in processes.environment(pid, processes.through(pid)) else "")
    if None in answers.values() or not census.complete:
        yield unchecked((WITHOUT,), NO_ANSWER, what="/proc")
    without = [daemons[pid] for pid, answer in answers.items() if answer == "" and processes.alive(daemons[pid])]
    if without:
        yield WITHOUT("", who=processes.describe(without))


@GROUP.check
def cluster(node: Node) -> Iterator[Found]:
    """pid 1 and the cluster's daemons: what they have, all that they start inherits."""
    table = processes.table()
    asked = [pid for pid, process in table.items() if pid == 1 or process.comm in CLUSTER_DAEMONS]

    def value(pid: int) -> str:
        carried = [entry for entry in processes.environment(pid, processes.through(pid)) if entry.startswith(b"NQS_SITE=")]
        return carried[-1].decode("utf-8", "replace") if carried else ""
    for pid, entry in node.each("look at environments", asked, value).items():
        who = table[pid].words()
        if entry is None:
            yield unchecked((IN_A_DAEMON,), NO_ANSWER, what=who)
        elif entry:
            yield IN_A_DAEMON(who, who=who, value=entry.partition("=")[2])


@GROUP.check
def caller(node: Node) -> Iterator[Found]:
    """The environment that the doctor was called with."""
    if node.caller_site:
        yield OF_THE_CALLER("", value=node.caller_site)
