"""CJC4xx: subnet, names and peers. A peer is a network namespace of its own, behind a cable."""
from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from lab.changed import appended, both, link_down, replaced, text_of
from lab.healthy import HOSTS, NODE, Broken, Healthy, line_of
from lab.site import LINK

PEER, OUR_END = "10.78.0.2", "10.78.0.1"
LISTENS = """
import socket
listener = socket.create_server(("0.0.0.0", 20816))
print("ready", flush=True)
while True:
    listener.accept()[0].close()
"""


# -- addresses -----------------------------------------------------------------------------------------------------------------------------


def ip(*words: str) -> None:
    """Call ip(8)."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def own_address_is_single(healthy: Healthy) -> Iterator[None]:
    """The node's own address has the netmask of a single host."""
    ip("addr", "add", healthy.base + "/32", "dev", LINK)
    ip("addr", "del", healthy.base + "/24", "dev", LINK)
    try:
        yield
    finally:
        ip("addr", "add", healthy.base + "/24", "dev", LINK)
        ip("addr", "del", healthy.base + "/32", "dev", LINK)


# -- names ---------------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(healthy: Healthy, name: str, *addresses: str) -> Iterator[None]:
    """The name server says other addresses of a name; with none it does not know it."""
    before = healthy.names.names[name]
    healthy.names.names[name] = list(addresses)
    try:
        yield
    finally:
        healthy.names.names[name] = before


@contextlib.contextmanager
def reverse(healthy: Healthy, name: str = "") -> Iterator[None]:
    """The VIP's name is told by the name server alone, which says another one, or none."""
    before = healthy.names.reverse.pop(healthy.site.vip)
    if name:
        healthy.names.reverse[healthy.site.vip] = name
    try:
        with replaced(HOSTS, healthy.site.vip + " ", "# "):
            yield
    finally:
        healthy.names.reverse[healthy.site.vip] = before


def ipcheck_on(healthy: Healthy) -> contextlib.AbstractContextManager[None]:
    """It is switched on."""
    return replaced(healthy.site_conf, "ipcheck=OFF", "ipcheck=ON")


def hosts_say(healthy: Healthy, name: str, address: str) -> contextlib.AbstractContextManager[None]:
    """A host has another address in the hosts file, in the third line."""
    lines = [line for line in HOSTS.read_text().split("\n")[:-1] if name not in line]
    return text_of(HOSTS, "\n".join([*lines, "%s\t%s # the old one" % (address, name.upper())]) + "\n")


@contextlib.contextmanager
def another_ipv6_address(healthy: Healthy) -> Iterator[None]:
    """Both know the VIP's name with an IPv6 address, too, and not the same."""
    with served(healthy, healthy.vip_name, healthy.site.vip, "fd00:77::2"), appended(HOSTS, "fd00:77::1 %s\n" % healthy.vip_name):
        yield


# -- peers ---------------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_peer(knows_the_way_back: bool = True) -> Iterator[None]:
    """Another host, PEER, on which the port is open. It has a route to the VIP's network, or to its own alone."""
    host = subprocess.Popen(["unshare", "--net", sys.executable, "-c", LISTENS], stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout and host.stdout.readline() == "ready\n"
        ip("link", "add", "peer0", "type", "veth", "peer", "name", "peer1", "netns", str(host.pid))
        ip("addr", "add", OUR_END + "/24", "dev", "peer0")
        ip("link", "set", "peer0", "up")
        for words in ("addr add %s/24 dev peer1" % PEER, "link set peer1 up", *(["route add default via " + OUR_END] if knows_the_way_back else [])):
            subprocess.run(["nsenter", "--net=/proc/%d/ns/net" % host.pid, "ip", *words.split()], check=True)
        yield
    finally:
        host.kill()
        host.communicate()
        subprocess.run(["ip", "link", "del", "peer0"], check=False, stderr=subprocess.DEVNULL)  # unless the kernel has taken it with the namespace


@contextlib.contextmanager
def nothing(healthy: Healthy) -> Iterator[None]:
    """It is the option that asks for too much."""
    yield


@contextlib.contextmanager
def silent(healthy: Healthy) -> Iterator[None]:
    """The name server says nothing."""
    healthy.names.silent = True
    try:
        yield
    finally:
        healthy.names.silent = False


def node_line(healthy: Healthy) -> str:
    """Where the node's own name stands."""
    return line_of(HOSTS, healthy.base)


ROWS = [
    Broken("the node's own address is a single host's", "CJC401", own_address_is_single, ""),
    Broken("the VIP's interface is down, on a standby", "CJC401", lambda _: link_down(LINK), "", True),
    Broken("the name server has another address of the node", "CJC402", lambda healthy: served(healthy, NODE, "10.77.99.9"), node_line),
    Broken("the node is a loopback address to itself, on a standby", "CJC402", lambda healthy: hosts_say(healthy, NODE, "127.0.1.1"), "/etc/hosts:3", True),
    Broken("the hosts file has an old address of the VIP's name", "CJC402", lambda healthy: hosts_say(healthy, healthy.vip_name, "10.77.99.9"),
           "/etc/hosts:3"),
    Broken("two IPv6 addresses of the VIP's name", "CJC402", another_ipv6_address, lambda healthy: line_of(HOSTS, "fd00:77::1")),
    Broken("ipcheck is ON and the VIP has no name", "CJC403", lambda healthy: both(ipcheck_on(healthy), reverse(healthy)),
           lambda healthy: line_of(healthy.site_conf, "ipcheck")),
    Broken("ipcheck is not set and the VIP's name is another host's", "CJC403", lambda healthy: both(
        replaced(healthy.site_conf, "ipcheck=OFF", "# ipcheck"), reverse(healthy, NODE)), lambda healthy: str(healthy.site_conf)),
    Broken("ipcheck is ON and the VIP's name has no address", "CJC403", lambda healthy: both(
        ipcheck_on(healthy), reverse(healthy, "nowhere")), lambda healthy: line_of(healthy.site_conf, "ipcheck")),
    Broken("a peer refuses", "CJC404", nothing, "127.0.0.1:1", options=("--peer", "127.0.0.1:1")),
    Broken("an IPv6 peer refuses, on a standby", "CJC404", nothing, "[::1]:1", True, options=("--peer", "[::1]:1")),
    Broken("there is no way to a peer", "CJC404", nothing, "203.0.113.9", options=("--peer", "203.0.113.9")),
    Broken("a peer has no address", "CJC405", nothing, "nosuchhost", options=("--peer", "nosuchhost")),
    Broken("a peer does not answer the VIP", "CJC406", lambda healthy: a_peer(knows_the_way_back=False), PEER, options=("--peer", PEER)),
]
