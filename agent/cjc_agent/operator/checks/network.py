"""Network and names: what clients, SVs and the VIP's way out rely on, asked of the kernel, the hosts file, the name service and the peers."""
from __future__ import annotations

import functools
import json
import re
import socket
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Callable, Optional, TypeVar

from cjc_agent.operator.node import PATIENCE, SITE, Node
from cjc_agent.operator.rule import NO_ANSWER, NOT_MOUNTED, WARNING, Found, Group, Reason, unchecked
from cjc_agent.settings import values
from cjc_agent.tools import addresses
from cjc_agent.tools.addresses import TIMED_OUT, USABLE
from cjc_agent.tools.command import Result

T = TypeVar("T")
GROUP = Group("Network and names", "ネットワークと名前解決")
HOSTS = "/etc/hosts"
NO_NAMES = Reason("the name service did not answer in time (%(what)s)", "ネームサービスが時間内に応答しませんでした（%(what)s）")

NO_SUBNET = GROUP.rule(
    "CJC401", WARNING,
    ("VIP %(vip)s is in no subnet of an interface of this node that is up", "VIP %(vip)s は、このノードで有効なインタフェースのどのサブネットにも属していません"),
    ("After a failover to this node nobody finds the address, unless a router sends it here (AWS overlay IP: route table entry).",
     "このノードへのフェイルオーバ後、VIP に到達できません（AWS のオーバーレイ IP のように、経路表でこのノードへ転送される場合を除く）。"),
    ("Bring the interface up, or correct the VIP or the netmask of the interface; where the VIP is routed (AWS overlay IP), nothing is to be done (`--accept CJC401`).",
     "インタフェースを有効にするか、VIP またはインタフェースのネットマスクを修正してください。経路表で転送する VIP（AWS のオーバーレイ IP）なら対処不要です（`--accept CJC401`）。"))
NAMES_DISAGREE = GROUP.rule(
    "CJC402", WARNING,
    ("%(name)s is %(hosts)s here, but the name service says %(service)s", "%(name)s はこのファイルでは %(hosts)s ですが、ネームサービスでは %(service)s です"),
    ("MG, SVs and clients reach another address than this node does: after the failover the site is there for some and not for others.",
     "MG・SV・クライアントとこのノードが別のアドレスに接続するため、フェイルオーバ後に通信できない相手が出ます。"),
    ("Correct the line, the same on all nodes, or the entry in the name service.", "この行を全ノード同一に修正するか、ネームサービスの登録を修正してください。"))
NO_REVERSE = GROUP.rule(
    "CJC403", WARNING,
    ("ipcheck is %(value)s, but no name leads from the VIP %(vip)s and back to it: %(chain)s", "ipcheck は %(value)s ですが、VIP %(vip)s の逆引き名が VIP に戻りません: %(chain)s"),
    ("SVs refuse a peer whose address has no matching name: after the failover jobs are not sent, and their results do not come back.",
     "SV が逆引きの一致しない相手を拒否するため、フェイルオーバ後にジョブの投入や結果の返送ができません。"),
    ("On the node where the disk is mounted: `cjc-agent conf set --in site ipcheck=OFF`; or give the VIP a name and a reverse name, on all nodes.",
     "ディスクをマウントしているノードで `cjc-agent conf set --in site ipcheck=OFF` を実行するか、全ノードで VIP の正引きと逆引きを登録してください。"))
UNREACHED = GROUP.rule(
    "CJC404", WARNING,
    ("port %(port)s of %(peer)s is not reachable from here: %(error)s", "このノードから %(peer)s のポート %(port)s に接続できません: %(error)s"),
    ("MG and SV talk to each other in both directions: with the site on this node they cannot.", "MG と SV は双方向に通信するため、サイトがこのノードで動作している間、通信できません。"),
    ("See that JobCenter runs there, and open %(port)s/TCP in firewalls and security groups; try the other direction from over there, too.",
     "相手側で JobCenter が動作していることを確認し、ファイアウォールとセキュリティグループで %(port)s/TCP を開放してください。逆方向は相手側で確認してください。"))
UNRESOLVED = GROUP.rule(
    "CJC405", WARNING,
    ("%(peer)s has no address: no such name here", "%(peer)s の名前を解決できません"),
    ("JobCenter on this node cannot find it by that name either.", "このノードの JobCenter も、この名前では相手を見つけられません。"),
    ("Enter the name in /etc/hosts or in the name service, on all nodes alike, or correct it.", "/etc/hosts またはネームサービスに全ノード同一の名前を登録するか、名前を修正してください。"))
NOT_FROM_VIP = GROUP.rule(
    "CJC406", WARNING,
    ("port %(port)s of %(peer)s is reachable from this node's own address, but not from the VIP %(vip)s: %(error)s",
     "%(peer)s のポート %(port)s には、このノード自身のアドレスからは接続できますが、VIP %(vip)s からは接続できません: %(error)s"),
    ("What the site sends from the VIP, or what is answered to it, gets lost: SVs do not hear from the site after the failover.",
     "サイトが VIP から送る通信、またはその応答が失われ、フェイルオーバ後に SV と通信できません。"),
    ("Let firewalls and security groups pass the VIP as well; see that %(peer)s has a route back to it (AWS: source/destination check off).",
     "ファイアウォールとセキュリティグループで VIP も許可し、%(peer)s から VIP への戻り経路を確認してください（AWS では送信元/送信先チェックを無効化）。"))
PEER_RULES = (UNREACHED, UNRESOLVED, NOT_FROM_VIP)


def side_by_side(jobs: Sequence[Callable[[], T]], seconds: float) -> list[Optional[T]]:
    """Do jobs at once; return what each returns, None for one that has not ended after `seconds`. In a child only: whoever hangs stays behind."""
    import threading
    done: list[Optional[T]] = [None] * len(jobs)

    def work(number: int) -> None:
        done[number] = jobs[number]()
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(jobs))]
    end = monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - monotonic()))
    return list(done)


# -- the VIP's subnet ----------------------------------------------------------------------------------------------------------------------


@GROUP.check
def subnet(node: Node) -> Iterator[Found]:
    """Each VIP, and the networks of this node's other addresses."""
    vips = [addresses.packed(vip) for vip in node.settings.vip]
    networks = [(address, place[2]) for address, places in addresses.local().items() if address not in vips
                for place in places if addresses.worth([place])[0] == USABLE]
    for vip, packed in zip(node.settings.vip, vips):
        if not any(addresses.same_network(packed, address, bits) for address, bits in networks) and not (node.cib and node.cib.routes(vip)):
            yield NO_SUBNET("", vip=vip)


# -- names ---------------------------------------------------------------------------------------------------------------------------------


@GROUP.check
def names(node: Node) -> Iterator[Found]:
    """This node's name and the VIPs' names: the hosts file against the name service."""
    lines = _hosts(node.look([HOSTS])[HOSTS].data or b"")
    vips = [addresses.packed(vip) for vip in node.settings.vip]
    wanted = [node.name.lower(), *(name for _, address, listed in lines if address in vips for name in listed)]
    if vips and lines:  # a VIP that has another line here than there
        answer = _ask(node, "hosts", *node.settings.vip)
        if _silent(answer):
            yield unchecked((NAMES_DISAGREE,), NO_NAMES, what=", ".join(node.settings.vip))
            return
        wanted += [name.lower() for line in answer.output.split("\n") for name in line.split()[1:]]
    for name in dict.fromkeys(wanted):
        listed = [(number, address) for number, address, found in lines if name in found]
        if not listed:
            continue
        answer = _ask(node, "ahosts", name)
        if _silent(answer):
            yield unchecked((NAMES_DISAGREE,), NO_NAMES, what=name)
            return
        yield from _compare(name, listed, _addresses_in(line.split(" ")[0] for line in answer.output.split("\n")))


def _compare(name: str, listed: list[tuple[int, bytes]], service: list[bytes]) -> Iterator[Found]:
    """What the hosts file has (line, address) against what the name service says of the name, one family at a time."""
    for family in (4, 16):
        here = [address for _, address in listed if len(address) == family]
        there = [address for address in service if len(address) == family]
        if here and there and not set(here) & set(there):
            line = next(number for number, address in listed if address in here)
            yield NAMES_DISAGREE("%s:%d" % (HOSTS, line), name=name, hosts=_words(here), service=_words(there))


def _hosts(data: bytes) -> list[tuple[int, bytes, list[str]]]:
    """Given the hosts file (hosts(5)), return line number, address and names in small letters of each line that has them."""
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        words = line.split("#")[0].split()
        found += [(number, address, [word.lower() for word in words[1:]]) for address in _addresses_in(words[:1])]
    return found


def _ask(node: Node, database: str, *keys: str) -> Result:
    """Ask the name service alone, which no Python function can do (getent(1), -s)."""
    return node.tool("getent", "-s", "dns", database, "--", *keys)


def _silent(answer: Result) -> bool:
    """Whether the name service did not answer. With `timeout:1` the resolver gives up first, and says the same as of a name that does not exist;
    no resolver's timeout is shorter (resolv.conf(5))."""
    return answer.exit_code is None or (not answer.ok and answer.seconds > 0.9 * PATIENCE)


def _addresses_in(words: Iterator[str] | Sequence[str]) -> list[bytes]:
    """Those of the words that are addresses, each once."""
    found: dict[bytes, None] = {}
    for word in words:
        try:
            found[addresses.packed(word)] = None
        except ValueError:
            continue
    return list(found)


def _words(listed: Sequence[bytes]) -> str:
    return ", ".join(dict.fromkeys(addresses.text_of(address) for address in listed))


@GROUP.check
def reverse_names(node: Node) -> Iterator[Found]:
    """Where ipcheck is not OFF, each VIP: its name by the system's resolver, and back to the address."""
    if SITE not in node.files:
        if node.mount is None:
            yield unchecked((NO_REVERSE,), NOT_MOUNTED)
        return
    found, vips = node.effective(SITE)["ipcheck"], node.settings.vip
    if (found.entry and found.value != "ON") or not vips:
        return
    answer = node.call("look up names", lambda: json.dumps(side_by_side([functools.partial(_there_and_back, vip) for vip in vips], PATIENCE)), 1.5 * PATIENCE)
    chains = json.loads(answer.output) if answer.ok else [None] * len(vips)
    for vip, chain in zip(vips, chains):
        if chain is None:
            yield unchecked((NO_REVERSE,), NO_NAMES, what=vip)
        elif addresses.packed(vip) not in _addresses_in(chain[1:]):
            steps = [vip, *chain[:1], ", ".join(chain[1:]) or "?"]
            yield NO_REVERSE(found.place or node.files[SITE].path, value=found.value or "ON (default)", vip=vip, chain=" -> ".join(steps))


def _there_and_back(vip: str) -> Optional[list[str]]:
    """Return the address's name and that name's addresses, as far as there are any; None where the name service does not answer."""
    chain: list[str] = []
    try:
        chain.append(socket.getnameinfo((vip, 0), socket.NI_NAMEREQD)[0])
        chain += dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(chain[0], None))
    except socket.gaierror as error:
        return None if error.errno == socket.EAI_AGAIN else chain
    except (OSError, UnicodeError):  # a name that no host can have
        pass
    return chain


# -- peers ---------------------------------------------------------------------------------------------------------------------------------


def peer(word: str) -> tuple[str, int]:
    """Given HOST, HOST:PORT, an IPv6 address or [ADDRESS]:PORT, return host and port, 0 where none is given. Raise ValueError."""
    named = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252})(?::([^:]+))?", word) or re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([^:]+))?", word)
    host, port = named.groups() if named else (word, None)
    if not named or ":" in host:
        try:
            addresses.packed(host)
        except ValueError:
            raise ValueError("%r is no host: give HOST, HOST:PORT, an IPv6 address or [IPV6]:PORT" % word) from None
    return host, values.port(port) if port else 0


@GROUP.check
def peers(node: Node) -> Iterator[Found]:
    """Each --peer: its port from here, and from the VIPs that are on this node."""
    if not node.peers:
        return
    wanted = [(host, port or node.port) for host, port in map(peer, node.peers)]
    here = addresses.local()
    vips = [vip for vip in node.settings.vip if addresses.worth(here.get(addresses.packed(vip), []))[0] == USABLE]
    answer = node.call("reach the peers", lambda: json.dumps(_reach(wanted, vips)), 3 * PATIENCE)
    if not answer.ok:
        yield unchecked(PEER_RULES, NO_ANSWER, what=", ".join(node.peers))
        return
    for word, (host, port), ends in zip(node.peers, wanted, json.loads(answer.output)):
        if ends is None:
            yield unchecked(PEER_RULES, NO_NAMES, what=word)
        elif not ends:
            yield UNRESOLVED(word, peer=host)
        elif ends[""] == TIMED_OUT:
            yield unchecked((UNREACHED, NOT_FROM_VIP), NO_ANSWER, what=word)
        elif ends[""]:
            yield UNREACHED(word, peer=host, port=port, error=ends[""])
        else:
            yield from (NOT_FROM_VIP(word, peer=host, port=port, vip=vip, error=error) for vip, error in ends.items() if error)


def _reach(wanted: Sequence[tuple[str, int]], vips: Sequence[str]) -> list[Optional[dict[str, str]]]:
    """Return of each (host, port): source address ("": any) -> "" or why it is not reachable from there; {} for a host that has no address, None
    where the name service does not answer. All at once. A host is as reachable as the best of its addresses; those that do not answer
    anybody say nothing about the VIPs."""
    hosts = side_by_side([functools.partial(_addresses_of, host) for host, _ in wanted], PATIENCE)
    tries = [(number, address, source) for number, listed in enumerate(hosts) for address in listed or ()
             for source in ("", *vips) if not source or (":" in source) == (":" in address)]
    ends = side_by_side([functools.partial(addresses.connect, address, wanted[number][1], PATIENCE, source) for number, address, source in tries],
                        1.2 * PATIENCE)
    words = {one: TIMED_OUT if end is None else end for one, end in zip(tries, ends)}
    found: list[Optional[dict[str, str]]] = [None if listed is None else {} for listed in hosts]
    for (number, address, source), said in words.items():
        of_host = found[number]
        if of_host is not None and (not source or not words[number, address, ""]):
            of_host[source] = min(of_host.get(source, said), said, key=lambda one: (one != "", one == TIMED_OUT))
    return found


def _addresses_of(host: str) -> Optional[list[str]]:
    """Return the addresses of a host, [] when it has none; None where the name service does not answer."""
    try:
        return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
    except socket.gaierror as error:
        return None if error.errno == socket.EAI_AGAIN else []
    except (OSError, UnicodeError):
        return []
