"""daemon.conf: the three files, what stands in them, and what it adds up to."""
from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cjc_agent.operator.node import LOCAL, SITE, Node
from cjc_agent.operator.rule import ERROR, INFO, NO_ANSWER, NOT_MOUNTED, WARNING, Found, Group, unchecked
from cjc_agent.settings import daemon_conf, values
from cjc_agent.settings.daemon_conf import File, port_of
from cjc_agent.tools import addresses, processes, sockets
from cjc_agent.tools.command import NEVER_RAN

GROUP = Group("daemon.conf", "daemon.conf")
UNIT = "jobcentersv.service"  # seed
MOST_TOLD = 20  # lines of a file that is something else altogether

MISSING = GROUP.rule(
    "CJC101", WARNING,
    ("the %(which)s daemon.conf is missing", "daemon.conf（%(which)s）がありません"),
    ("The site starts with defaults, or not at all: without ipaddress it may take every address of the node.",
     "サイトは既定値で起動するか、起動しません。ipaddress が無いと、ノードの全アドレスで待ち受ける可能性があります。"),
    ("Write it: `cjc-agent conf set --in %(which)s %(example)s`.", "作成してください: `cjc-agent conf set --in %(which)s %(example)s`"))
UNREADABLE = GROUP.rule(
    "CJC102", ERROR,
    ("the %(which)s daemon.conf cannot be read: %(error)s", "daemon.conf（%(which)s）を読めません: %(error)s"),
    ("JobCenter cannot read it either: the start on this node fails, or goes by defaults.",
     "JobCenter も読めないため、このノードでの起動は失敗するか、既定値で動作します。"),
    ("Look at the file system it lies on, and at its mode.", "ファイルシステムとファイルのモードを確認してください。"))
NO_FILE = GROUP.rule(
    "CJC103", ERROR,
    ("the %(which)s daemon.conf is no plain file", "daemon.conf（%(which)s）が通常ファイルではありません"),
    ("JobCenter cannot read it: the start on this node fails.", "JobCenter が読めないため、このノードでの起動は失敗します。"),
    ("Move away what is there, and write it: `cjc-agent conf set --in %(which)s %(example)s`.",
     "そこにあるものを退避し、作成してください: `cjc-agent conf set --in %(which)s %(example)s`"))
WRITABLE = GROUP.rule(
    "CJC104", WARNING,
    ("the %(which)s daemon.conf can be written by others (mode %(mode)s, uid %(uid)s)", "daemon.conf（%(which)s）が他のユーザから書き込み可能です（モード %(mode)s、uid %(uid)s）"),
    ("Anybody may change port and addresses, and it shows at the next failover only.", "誰でもポートやアドレスを変更でき、その影響は次のフェイルオーバで初めて現れます。"),
    ("chmod go-w, and chown to root, or to the user of the parameter `user` for the site's own file.",
     "chmod go-w を実行し、所有者を root（サイト用はパラメータ `user` のユーザでも可）に変更してください。"))
MISSPELT = GROUP.rule(
    "CJC105", WARNING,
    ("unknown key %(key)s: did you mean %(nearest)s?", "未知のキー %(key)s: %(nearest)s の誤りではありませんか"),
    ("JobCenter ignores it: what was meant does not hold.", "JobCenter に無視され、意図した設定が効きません。"),
    ("Write %(nearest)s, or remove the line.", "%(nearest)s に直すか、行を削除してください。"))
UNKNOWN = GROUP.rule(
    "CJC106", INFO,
    ("key %(key)s is not one of those that this check knows", "キー %(key)s はこの検査の対象外です"),
    ("None, if JobCenter knows it: its manual has more keys than the four that matter here.",
     "JobCenter が認識するキーであれば影響はありません。ここで扱う 4 つ以外のキーも製品マニュアルにあります。"),
    ("Look it up in JobCenter's manual.", "JobCenter のマニュアルで確認してください。"))
DUPLICATE = GROUP.rule(
    "CJC107", WARNING,
    ("key %(key)s stands in line %(first)s already", "キー %(key)s は %(first)s 行目にもあります"),
    ("The agent goes by the last one; which one JobCenter goes by is not public, and it may be the one that was not meant.",
     "エージェントは最後の行を有効とみなしますが、JobCenter がどちらを採用するかは公開されておらず、意図した方とは限りません。"),
    ("Remove one of the two lines.", "どちらかの行を削除してください。"))
MISPLACED = GROUP.rule(
    "CJC108", WARNING,
    ("%(key)s does not belong in the %(which)s daemon.conf: it is for %(files)s", "%(key)s は daemon.conf（%(which)s）の項目ではありません（対象: %(files)s）"),
    ("It is ignored, or it holds for the local and for the cluster site at once.", "無視されるか、ローカルサイトとクラスタサイトの両方に効いてしまいます。"),
    ("Move the line to where it belongs.", "本来のファイルへ移してください。"))
LOCAL_ONLY = GROUP.rule(
    "CJC109", WARNING,
    ("local_daemon=SITE stands in the cluster site's daemon.conf: it is the local site's setting", "クラスタサイトの daemon.conf に local_daemon=SITE があります（ローカルサイト用の設定です）"),
    ("It travels with the disk, and speaks on every node for the local daemons there.", "ディスクと共に移動し、移動先すべてのノードでローカルデーモンの動作を変えてしまいます。"),
    ("Write OFF there, as in the example of docs/configuration.md, or remove the line; set local_daemon in the local file.",
     "そこでは OFF とするか行を削除し、local_daemon はローカルのファイルで設定してください。"))
NO_ADDRESS = GROUP.rule(
    "CJC110", ERROR,
    ("ipaddress: %(word)s is no IPv4 or IPv6 address", "ipaddress: %(word)s は IPv4/IPv6 アドレスではありません"),
    ("The daemons cannot listen there: the site does not start.", "デーモンが待ち受けできず、サイトは起動しません。"),
    ("Write an address, not a name: the VIP for the cluster site.", "ホスト名ではなくアドレスを書いてください（クラスタサイトでは VIP）。"))
TOO_MANY = GROUP.rule(
    "CJC111", ERROR,
    ("ipaddress has %(count)s addresses, JobCenter takes at most 5", "ipaddress に %(count)s 個のアドレスがあります（上限 5 個）"),
    ("The site does not start, or leaves some of them out.", "サイトが起動しないか、一部のアドレスが無視されます。"),
    ("Remove addresses until 5 are left.", "5 個以下に減らしてください。"))
TWICE = GROUP.rule(
    "CJC112", ERROR,
    ("ipaddress has %(word)s twice", "ipaddress に %(word)s が重複しています"),
    ("The second attempt to listen fails: the site may not start.", "2 回目の待ち受けが失敗し、サイトが起動しない可能性があります。"),
    ("Remove one of the two.", "一方を削除してください。"))
BAD_PORT = GROUP.rule(
    daemon_conf.BAD_PORT, ERROR,
    ("listen_port=%(value)s is no TCP port", "listen_port=%(value)s は TCP ポート番号ではありません"),
    ("JobCenter cannot listen there; where the value counts for the cluster site, the start is refused.",
     "JobCenter が待ち受けできません。クラスタサイトに効く値の場合、起動は拒否されます。"),
    ("Give a number from 1 to 65535; the default is 20816.", "1～65535 の数値を指定してください（既定値 20816）。"))
PORTS_DIFFER = GROUP.rule(
    "CJC114", WARNING,
    ("listen_port of the local site is %(local)s, of the cluster site %(site)s (%(other)s)", "listen_port がローカルサイトは %(local)s、クラスタサイトは %(site)s です（%(other)s）"),
    ("MG and SV talk to each other at one port: after the failover they may not find each other, or a firewall is in the way.",
     "MG と SV は同じポートで通信するため、フェイルオーバ後に通信できない、またはファイアウォールに阻まれる可能性があります。"),
    ("Set the same listen_port for both, best in the common file alone.", "両方を同じ値にしてください（共通ファイルだけで設定するのが確実です）。"))
NOT_MONITORED = GROUP.rule(
    daemon_conf.OTHER_PORT, ERROR,
    ("listen_port is %(port)s, but the agent monitors %(monitored)s (its parameter `port`)", "listen_port は %(port)s ですが、エージェントは %(monitored)s を監視します（パラメータ `port`）"),
    ("The start is refused: monitor would never find the site, and its failure would move it again and again.",
     "起動は拒否されます。そのまま起動すると監視が必ず失敗し、フェイルオーバを繰り返すためです。"),
    ("Make the two equal, or remove `port`: then it is read from daemon.conf.", "両者を一致させるか、`port` を外してください（daemon.conf から読み取ります）。"))
PORT_TAKEN = GROUP.rule(
    "CJC116", ERROR,
    ("port %(port)s (address %(address)s) is taken by %(who)s", "ポート %(port)s（アドレス %(address)s）は %(who)s が使用しています"),
    ("The site cannot listen there: the start on this node fails.", "サイトが待ち受けできず、このノードでの起動は失敗します。"),
    ("End that process, or give it another address or port.", "そのプロセスを終了するか、別のアドレスまたはポートを使わせてください。"))
WITHOUT_VIP = GROUP.rule(
    "CJC117", ERROR,
    ("the cluster site's ipaddress lacks the VIP %(vip)s (ipaddress=%(value)s)", "クラスタサイトの ipaddress に VIP %(vip)s がありません（ipaddress=%(value)s）"),
    ("Clients and SVs that ask the VIP get no answer after the failover.", "フェイルオーバ後、VIP に接続するクライアントや SV が応答を得られません。"),
    ("On the node where the disk is mounted: `cjc-agent conf set --in site ipaddress=%(vips)s`, or correct the agent's parameter `vip`.",
     "ディスクをマウントしているノードで `cjc-agent conf set --in site ipaddress=%(vips)s` を実行するか、エージェントのパラメータ `vip` を修正してください。"))
LOCAL_HAS_VIP = GROUP.rule(
    "CJC118", ERROR,
    ("the local site's ipaddress contains the VIP %(vip)s", "ローカルサイトの ipaddress に VIP %(vip)s が含まれています"),
    ("Local and cluster daemons fight for VIP and port: the one that comes second does not start.",
     "ローカルとクラスタのデーモンが VIP とポートを奪い合い、後から起動する方が失敗します。"),
    ("Remove the VIP from the local file: `cjc-agent conf set --in local ipaddress=...`", "ローカルのファイルから VIP を除いてください: `cjc-agent conf set --in local ipaddress=...`"))
TAKES_ALL = GROUP.rule(
    "CJC119", ERROR,
    ("local_daemon=SITE, but the local site has no ipaddress of its own", "local_daemon=SITE ですが、ローカルサイトの ipaddress がありません"),
    ("The local daemons would take every address of the node, the VIP too: the cluster site cannot listen there.",
     "ローカルデーモンが VIP を含む全アドレスで待ち受け、クラスタサイトが待ち受けできなくなります。"),
    ("Give it an address that stays on this node: `cjc-agent conf set --in local ipaddress=ADDRESS`.",
     "このノード固有のアドレスを設定してください: `cjc-agent conf set --in local ipaddress=ADDRESS`"))
BAD_MODE = GROUP.rule(
    "CJC120", ERROR,
    ("local_daemon=%(value)s is neither SITE nor OFF", "local_daemon=%(value)s は SITE でも OFF でもありません"),
    ("Whether local daemons run beside the cluster site is then not what was meant.", "ローカルデーモンとクラスタサイトの同居が意図どおりになりません。"),
    ("Write SITE (both live together) or OFF (no local daemons).", "SITE（同居）または OFF（停止）を指定してください。"))
NO_UNIT = GROUP.rule(
    "CJC121", WARNING,
    ("local_daemon=SITE, but the unit %(unit)s cannot be started: %(state)s", "local_daemon=SITE ですが、ユニット %(unit)s を起動できません: %(state)s"),
    ("The local daemons do not come up with the node; `systemctl restart jobcentersv`, which takes over edits, fails.",
     "ノード起動時にローカルデーモンが起動せず、設定反映の `systemctl restart jobcentersv` も失敗します。"),
    ("Install JobCenter MG/SV on this node, or `systemctl unmask jobcentersv`; or set local_daemon=OFF.",
     "このノードに JobCenter MG/SV を導入するか `systemctl unmask jobcentersv` を実行してください。または local_daemon=OFF にします。"))
UNIT_WHILE_OFF = GROUP.rule(
    "CJC122", INFO,
    ("local_daemon=OFF, and the unit %(unit)s is %(state)s", "local_daemon=OFF で、ユニット %(unit)s は %(state)s です"),
    ("None: it starts no local daemons, and a restart of it takes over edits of daemon.conf.", "影響はありません。ローカルデーモンは起動せず、再起動すると daemon.conf の変更が反映されます。"),
    ("Nothing to do.", "対処は不要です。"))
BAD_IPCHECK = GROUP.rule(
    "CJC123", ERROR,
    ("ipcheck=%(value)s is neither ON nor OFF", "ipcheck=%(value)s は ON でも OFF でもありません"),
    ("Whether names are checked against addresses is then not what was meant: SVs may be refused after the failover.",
     "逆引きチェックが意図どおりにならず、フェイルオーバ後に SV が拒否される可能性があります。"),
    ("Write ON or OFF.", "ON または OFF を指定してください。"))
NEITHER = GROUP.rule(
    "CJC124", WARNING,
    ("this line is neither KEY=VALUE nor a comment", "この行は「キー=値」でもコメントでもありません"),
    ("JobCenter ignores it, or does not read the file at all: what was meant does not hold.", "JobCenter に無視されるか、ファイル全体が読まれず、意図した設定が効きません。"),
    ("Write KEY=VALUE, put # in front of it, or remove it.", "「キー=値」の形に直すか、行頭に # を付けるか、削除してください。"))

NEED_THE_DISK = (LOCAL_ONLY, WITHOUT_VIP, BAD_IPCHECK)


@GROUP.check
def files(node: Node) -> Iterator[Found]:
    """Each file: is it there, whose is it, what stands in it."""
    for which, seen in node.seen.items():
        if seen.missing and which == SITE and node.folders[1].missing:
            continue  # the whole site DB is (disk.py)
        if seen.missing:
            yield MISSING(seen.path, which=which, example=_example(node, which))
        elif seen.mode and not seen.is_file:
            yield NO_FILE(seen.path, which=which, example=_example(node, which))
        elif seen.data is None:
            yield UNREADABLE(seen.path, which=which, error=seen.error or "too large")
        by_the_user = which == SITE and node.user.ok and node.user.output == str(seen.uid)  # the site's own: root's, it could not read it
        if seen.is_file and seen.others_write and not (by_the_user and not seen.mode & 0o022):
            yield WRITABLE(seen.path, which=which, mode="%04o" % (seen.mode & 0o7777), uid=seen.uid)
    for which, file in node.files.items():
        yield from islice(_lines(which, file), MOST_TOLD)
    if node.mount is None:
        yield unchecked(NEED_THE_DISK, NOT_MOUNTED)


def _example(node: Node, which: str) -> str:
    """What a file that is written anew should have in it (seed)."""
    return {LOCAL: "local_daemon=SITE ipaddress=ADDRESS", SITE: "local_daemon=OFF ipaddress=%s" % (",".join(node.settings.vip) or "VIP")}.get(
        which, "local_daemon=SITE listen_port=%d" % node.port)


def _lines(which: str, file: File) -> Iterator[Found]:
    """What is wrong with a file's lines, each by itself and beside those before it."""
    yield from (NEITHER("%s:%d" % (file.path, line)) for line in file.neither)
    first: dict[str, int] = {}
    for entry in file.entries:
        yield from _key(which, file.place(entry), entry.key)
        if entry.key in first:
            yield DUPLICATE(file.place(entry), key=entry.key, first=first[entry.key])
        first.setdefault(entry.key, entry.line)


def _key(which: str, place: str, key: str) -> Iterator[Found]:
    known = daemon_conf.KEYS.get(key)
    if known is None:
        like = daemon_conf.nearest(key)
        yield MISSPELT(place, key=key, nearest=like) if like else UNKNOWN(place, key=key)
    elif which not in known.files:
        yield MISPLACED(place, key=key, which=which, files=", ".join(known.files))


@GROUP.check
def local_daemon(node: Node) -> Iterator[Found]:
    """local_daemon of this node, and whether the systemd unit fits."""
    for which in node.files:
        entry = node.files[which].get("local_daemon")
        if entry and entry.value not in ("SITE", "OFF"):
            yield BAD_MODE(node.files[which].place(entry), value=entry.value)
        elif entry and which == SITE and entry.value == "SITE":
            yield LOCAL_ONLY(node.files[which].place(entry))
    mode = node.local_mode()
    if mode.value not in ("SITE", "OFF"):
        return
    answer = node.tool("systemctl", "is-enabled", UNIT)
    state = answer.output.strip().split("\n")[-1]
    if answer.exit_code is None or answer.exit_code in NEVER_RAN:
        yield unchecked((NO_UNIT, UNIT_WHILE_OFF), NO_ANSWER, what="systemctl")
    elif mode.value == "SITE" and (state.startswith("masked") or not _is_state(state)):
        yield NO_UNIT(mode.place, unit=UNIT, state=state if state.startswith("masked") else "not-found")
    elif mode.value == "OFF" and state == "enabled":
        yield UNIT_WHILE_OFF(mode.place, unit=UNIT, state=state)


def _is_state(word: str) -> bool:
    """Whether systemctl said a unit's state in one word (systemctl(1), is-enabled), and not that there is no such unit."""
    return word.replace("-", "").isalpha() and word != "not-found"


@GROUP.check
def ipaddress(node: Node) -> Iterator[Found]:
    """The addresses of both sites, and that the VIP is among the cluster site's alone."""
    vips = [addresses.packed(vip) for vip in node.settings.vip]
    for site in (LOCAL, SITE) if node.mount else (LOCAL,):
        found = node.effective(site)["ipaddress"]
        words = [word.strip() for word in found.value.split(",")] if found.value else []
        understood = [word for word in words if _is_address(word)]
        yield from (NO_ADDRESS(found.place, word=word or "an empty word") for word in words if word not in understood)
        if len(words) > values.MOST_ADDRESSES:
            yield TOO_MANY(found.place, count=len(words))
        listed = [addresses.packed(word) for word in understood]
        yield from (TWICE(found.place, word=word) for number, word in enumerate(understood) if listed[number] in listed[:number])
        if site == SITE and SITE in node.files and len(understood) == len(words):
            yield from (WITHOUT_VIP(found.place or node.files[SITE].path, vip=vip, vips=",".join(node.settings.vip), value=found.value)
                        for vip, packed in zip(node.settings.vip, vips) if packed not in listed)
        elif site == LOCAL:
            yield from (LOCAL_HAS_VIP(found.place, vip=vip) for vip, packed in zip(node.settings.vip, vips) if packed in listed)
            takes_all = not words or any(not any(packed) for packed in listed)
            if node.local_mode().value == "SITE" and takes_all and LOCAL in node.files:
                yield TAKES_ALL(found.place or node.files[LOCAL].path)


def _is_address(word: str) -> bool:
    try:
        return bool(addresses.packed(word))
    except ValueError:
        return False


@GROUP.check
def ipcheck(node: Node) -> Iterator[Found]:
    """ipcheck of the cluster site. Whether it may be ON with this VIP is the network's matter (network.py)."""
    found = node.effective(SITE)["ipcheck"]
    if found.entry and found.value not in ("ON", "OFF"):
        yield BAD_IPCHECK(found.place, value=found.value)


@GROUP.check
def listen_port(node: Node) -> Iterator[Found]:
    """The port of both sites, and what the agent monitors."""
    bad = set()
    for which in (LOCAL, SITE):
        found = node.effective(which)["listen_port"]
        if port_of(found) is None and found.place not in bad:
            bad.add(found.place)
            yield BAD_PORT(found.place, value=found.value)
    if bad:
        return
    local, site = (node.effective(which)["listen_port"] for which in (LOCAL, SITE))
    monitored = node.settings.port
    if monitored and port_of(site) != monitored and (node.mount or site.place):
        yield NOT_MONITORED(site.place, port=site.value, monitored=monitored)
    elif port_of(local) != port_of(site):
        if node.mount or local.place:
            yield PORTS_DIFFER(local.place or site.place, local=local.value, site=site.value, other=site.place if local.place else "default")
    elif node.mount is None and not monitored:
        yield unchecked((PORTS_DIFFER, NOT_MONITORED), NOT_MOUNTED)


@GROUP.check
def port_is_free(node: Node) -> Iterator[Found]:
    """Who listens where the site does, or would after a failover to this node."""
    site, census = node.stack.site, node.census
    table = processes.table()
    ours = {*census.candidates, *census.jobs, *(pid for pid, process in table.items() if process.identity in site.daemons)}
    vips = {addresses.packed(vip): vip for vip in node.settings.vip}
    found = [(address, inode) for address, inode in sockets.listeners(node.port) if address in vips or not any(address)]
    owners = sockets.owners([inode for _, inode in found], list(table))
    for address, inode in found:
        strangers = [table[pid] for pid in owners[inode] if pid not in ours]
        if strangers or not owners[inode]:
            yield PORT_TAKEN("", address=vips.get(address) or "*", port=node.port, who=processes.describe(strangers) or "a process that cannot be seen")
