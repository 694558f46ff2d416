"""Faults of the address: where the VIP is, what the kernel thinks of it, and whether it can be reached there."""
from __future__ import annotations

import contextlib
import pathlib
import subprocess
import threading
from collections.abc import Iterator

from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, START, STOP, Fault, See
from faults.ways import ended, given
from lab.changed import link_down
from lab.neighbours import shell
from lab.site import LINK, Site, wait_until

ADDRESS = "address"
NOT_HERE = ("vip: {vip} is not on this node", "bring it up before this resource")
SOON = {"vip_wait": "1s"}


def ip(*words: str, check: bool = True) -> str:
    """Run ip(8); return what it printed."""
    return subprocess.run(["ip", *words], check=check, stdout=subprocess.PIPE, stderr=None if check else subprocess.DEVNULL, text=True).stdout


def six(folder: pathlib.Path) -> Site:
    """A site whose VIP is an IPv6 address."""
    return Site(folder, vip="2001:db8::77")


def wait_for_address(address: str, *flags: str) -> None:
    """Wait until the kernel shows an address with (and without, "-flag") what is asked of it: duplicate address detection takes its time."""
    wait_until(lambda: address in ip("-o", "addr", "show", "to", address, *flags))


def nothing_is_left(site: Site) -> None:
    """A start that was refused leaves nothing behind."""
    site.assert_nothing_left()


@contextlib.contextmanager
def absent(site: Site) -> Iterator[None]:
    """Nobody has brought the address here; or somebody has moved it away."""
    site.address("del")
    try:
        with given(site, **SOON):
            yield
    finally:
        ip("addr", "replace", site.vip + "/24", "dev", LINK)
        wait_for_address(site.vip, "-tentative")


@contextlib.contextmanager
def appears_after(site: Site, seconds: float, vip_wait: str) -> Iterator[None]:
    """The address comes while start waits for it, or later."""
    with absent(site), given(site, vip_wait=vip_wait):
        timer = threading.Timer(seconds, ip, ("addr", "add", site.vip + "/24", "dev", LINK))
        timer.start()
        try:
            yield
        finally:
            timer.join()


@contextlib.contextmanager
def impatient(site: Site, way: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """Another way, with a short `vip_wait`."""
    with given(site, **SOON), way:
        yield


@contextlib.contextmanager
def elsewhere(site: Site, *words: str, link: str = "", prefix: str = "/32") -> Iterator[None]:
    """The address is not where it was but on `link` (lo, an own one made by `ip link add` with `words`), with other `words`."""
    with absent(site):
        ip("addr", "add", site.vip + prefix, *words, "dev", link)
        try:
            yield
        finally:
            ip("addr", "del", site.vip + prefix, *words, "dev", link, check=False)


@contextlib.contextmanager
def link_of_its_own(*words: str) -> Iterator[str]:
    """A further link, made with `words`; yield its name."""
    ip("link", "add", "fault0", *words)
    ip("link", "set", "fault0", "up")
    try:
        yield "fault0"
    finally:
        ip("link", "del", "fault0", check=False)


@contextlib.contextmanager
def on_a_bridge(site: Site) -> Iterator[None]:
    """As on a host of virtual machines."""
    with link_of_its_own("type", "bridge") as link, elsewhere(site, link=link, prefix="/24"):
        yield


@contextlib.contextmanager
def its_link_vanishes(site: Site) -> Iterator[None]:
    """The address was on a link that is gone: a network card pulled, a driver unloaded."""
    with link_of_its_own("type", "bridge") as link, elsewhere(site, link=link, prefix="/24"):
        ip("link", "del", link)
        yield


@contextlib.contextmanager
def another_namespace(site: Site) -> Iterator[str]:
    """A network namespace that a process of the site's test holds open; yield its pid."""
    holder = shell(site, "echo ready; exec sleep 1000", "unshare", "--net")
    with ended(holder):
        yield str(holder.pid)


def inside(pid: str, *words: str) -> None:
    """Run ip(8) in the network namespace of a process."""
    subprocess.run(["nsenter", "--net", "--target", pid, "ip", *words], check=True)


@contextlib.contextmanager
def in_another_namespace_only(site: Site) -> Iterator[None]:
    """A container has the address, and this node has not."""
    with absent(site), another_namespace(site) as pid:
        inside(pid, "link", "set", "lo", "up")
        inside(pid, "addr", "add", site.vip + "/32", "dev", "lo")
        yield


@contextlib.contextmanager
def sysctl(name: str, value: str) -> Iterator[None]:
    """A kernel parameter of this network namespace has another value."""
    path = pathlib.Path("/proc/sys/net", name)
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)


@contextlib.contextmanager
def comes_undecided(site: Site) -> Iterator[None]:
    """The address is brought up, and the kernel does not find out whether it is a duplicate."""
    site.address("add")
    wait_for_address(site.vip, "tentative")
    try:
        yield
    finally:
        site.address("del")


@contextlib.contextmanager
def tentative(site: Site) -> Iterator[None]:
    """Duplicate address detection has just begun and takes longer than anybody waits."""
    with absent(site), sysctl("ipv6/conf/%s/dad_transmits" % LINK, "1000"), comes_undecided(site):
        yield


@contextlib.contextmanager
def without_carrier(site: Site) -> Iterator[None]:
    """The cable is out when an IPv6 address comes: its detection of duplicates cannot even begin."""
    with absent(site), link_down("vip1"), comes_undecided(site):
        yield


@contextlib.contextmanager
def duplicate(site: Site) -> Iterator[None]:
    """Another machine on the wire has the address, and says so."""
    with absent(site), another_namespace(site) as pid, link_of_its_own("type", "veth", "peer", "name", "fault1") as link:
        ip("link", "set", "fault1", "netns", pid)
        inside(pid, "link", "set", "fault1", "up")
        inside(pid, "addr", "add", site.vip + "/64", "dev", "fault1", "nodad")
        ip("addr", "add", site.vip + "/64", "dev", link)
        wait_for_address(site.vip, "dadfailed")
        yield


@contextlib.contextmanager
def anybody_may_bind(site: Site) -> Iterator[None]:
    """net.ipv4.ip_nonlocal_bind: daemons come up without the address, and nobody reaches them."""
    with sysctl("ipv4/ip_nonlocal_bind", "1"), absent(site):
        yield


@contextlib.contextmanager
def further(address: str) -> Iterator[None]:
    """Another address is here, too."""
    ip("addr", "add", address, "dev", LINK)
    try:
        yield
    finally:
        ip("addr", "del", address, "dev", LINK)


@contextlib.contextmanager
def one_of_three_missing(site: Site) -> Iterator[None]:
    """Two of three addresses are here."""
    with given(site, vip="%s, 10.99.0.1, 10.99.0.2" % site.vip, **SOON), further("10.99.0.1/24"):
        yield


@contextlib.contextmanager
def one_missing_one_down(site: Site) -> Iterator[None]:
    """One address is nowhere, and another on a link that is down: both must be named."""
    with link_of_its_own("type", "bridge") as link, given(site, vip="%s, 10.99.0.1, 10.99.0.2" % site.vip, **SOON):
        ip("addr", "add", "10.99.0.1/24", "dev", link)
        ip("link", "set", link, "down")
        yield


@contextlib.contextmanager
def one_without_listener(site: Site) -> Iterator[None]:
    """Both addresses are here, and JobCenter listens on one of them."""
    with given(site, vip="%s,10.99.0.1" % site.vip), further("10.99.0.1/24"):
        yield


@contextlib.contextmanager
def secondary(site: Site) -> Iterator[None]:
    """Another address of its subnet was there before it."""
    first = site.vip.rsplit(".", 1)[0] + ".252"
    site.address("del")
    ip("addr", "add", first + "/24", "dev", LINK)
    site.address("add")
    wait_for_address(site.vip, "secondary")
    try:
        yield
    finally:
        ip("addr", "del", first + "/24", "dev", LINK, check=False)
        ip("addr", "replace", site.vip + "/24", "dev", LINK)


@contextlib.contextmanager
def gone_with_its_primary(site: Site) -> Iterator[None]:
    """Somebody removed the first address of the subnet, and the kernel all the others with it."""
    with sysctl("ipv4/conf/%s/promote_secondaries" % LINK, "0"), sysctl("ipv4/conf/all/promote_secondaries", "0"), secondary(site):
        ip("addr", "del", site.vip.rsplit(".", 1)[0] + ".252/24", "dev", LINK)
        with given(site, **SOON):
            yield


@contextlib.contextmanager
def deprecated(site: Site) -> Iterator[None]:
    """Not to be used for new outgoing connections; who comes is served as before."""
    ip("addr", "change", site.vip + "/24", "dev", LINK, "valid_lft", "forever", "preferred_lft", "0")
    wait_for_address(site.vip, "deprecated")
    try:
        yield
    finally:
        ip("addr", "change", site.vip + "/24", "dev", LINK, "valid_lft", "forever", "preferred_lft", "forever")


@contextlib.contextmanager
def the_peer_has_it(site: Site) -> Iterator[None]:
    """`ip addr` shows it, as the other end of a point-to-point link."""
    with absent(site), link_of_its_own("type", "veth", "peer", "name", "fault1") as link:
        ip("addr", "add", "10.99.0.1", "peer", site.vip, "dev", link)
        assert site.vip in ip("addr", "show", "dev", link)
        yield


@contextlib.contextmanager
def point_to_point(site: Site) -> Iterator[None]:
    """It is our end of a point-to-point link."""
    with link_of_its_own("type", "veth", "peer", "name", "fault1") as link, elsewhere(site, "peer", "10.99.0.1", link=link, prefix=""):
        yield


@contextlib.contextmanager
def twice(site: Site, other_is_up: bool) -> Iterator[None]:
    """It is on two links."""
    with link_of_its_own("type", "bridge") as link:
        ip("addr", "add", site.vip + "/24", "dev", link)
        if not other_is_up:
            ip("link", "set", link, "down")
        yield


@contextlib.contextmanager
def dropped(_: Site) -> Iterator[None]:
    """A packet filter swallows what comes for the port: nobody answers, nobody refuses. (A queue that takes no packet, on lo: local traffic.)"""
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1kbit", "burst", "10", "limit", "10"], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


@contextlib.contextmanager
def switched_off(site: Site) -> Iterator[None]:
    """Somebody's hardening script: net.ipv6.conf.*.disable_ipv6; the kernel removes all addresses of the link."""
    with sysctl("ipv6/conf/%s/disable_ipv6" % LINK, "1"):
        yield
    ip("addr", "replace", site.vip + "/24", "dev", LINK)
    wait_for_address(site.vip, "-tentative")


@contextlib.contextmanager
def written_differently(site: Site) -> Iterator[None]:
    """Capitals, and zeros that the kernel leaves out."""
    with given(site, vip="2001:0DB8:0:0::0077"):
        yield


@contextlib.contextmanager
def as_it_is(_: Site) -> Iterator[None]:
    """Nothing is broken: what must work, works."""
    yield


FAULTS = [
    Fault(ADDRESS, "VIP absent", absent, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, (*NOT_HERE, "waited 1.0 s, see vip_wait"), then=nothing_is_left),
    }),
    Fault(ADDRESS, "VIP disappears", absent, {
        RUNNING: See(FAILED, NOT_HERE),
        RUNNING_10: See(FAILED, NOT_HERE),
        STOP: See(0),
    }),
    Fault(ADDRESS, "VIP appears late", lambda site: appears_after(site, 1.5, "20s"), {START: See(0)}),
    Fault(ADDRESS, "VIP appears after vip_wait", lambda site: appears_after(site, 4, "1s"), {START: See(FAILED, NOT_HERE, then=nothing_is_left)}, quick=False),
    Fault(ADDRESS, "VIP on a link that is down", lambda site: impatient(site, link_down(LINK)), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("vip: {vip} on vip0", "link down", "ip link set vip0 up"), then=nothing_is_left),
        RUNNING: See(FAILED, ("vip: {vip} on vip0", "link down")),
        RUNNING_10: See(FAILED, ("vip: {vip} on vip0", "link down")),
        STOP: See(0),
    }),
    # the address is on this node and local users reach it. Whether a cable is worth a failover is for ocf:heartbeat:ethmonitor to say: a switch
    # that is restarted takes the carrier from all nodes at once
    Fault(ADDRESS, "IPv4 VIP on a link without carrier", lambda site: link_down("vip1"), {
        START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0),
    }, quick=False),
    Fault(ADDRESS, "IPv6 VIP comes to a link without carrier", without_carrier, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("vip: {vip} on vip0", "tentative"), then=nothing_is_left),
        RUNNING: See(FAILED, ("vip: {vip} on vip0", "tentative")),
    }, six, quick=False),
    Fault(ADDRESS, "VIP on lo", lambda site: elsewhere(site, link="lo"), {START: See(0), RUNNING_10: See(0), STOP: See(0)}),  # as with LVS or BGP
    Fault(ADDRESS, "VIP on a bridge", on_a_bridge, {START: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(ADDRESS, "VIP's link vanishes", its_link_vanishes, {START: See(FAILED, NOT_HERE), RUNNING: See(FAILED, NOT_HERE), STOP: See(0)}, quick=False),
    Fault(ADDRESS, "VIP in another network namespace only", in_another_namespace_only, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, NOT_HERE, then=nothing_is_left),
        RUNNING: See(FAILED, NOT_HERE),
        STOP: See(0),
    }),
    Fault(ADDRESS, "IPv6 VIP as it should be", as_it_is, {PROBE: See(NOT_RUNNING), START: See(0), RUNNING_10: See(0), STOP: See(0)}, six),
    Fault(ADDRESS, "IPv6 VIP written differently", written_differently, {START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}, six, quick=False),
    Fault(ADDRESS, "IPv6 VIP tentative", tentative, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("vip: {vip} on vip0", "tentative", "duplicate address detection"), then=nothing_is_left),
        RUNNING: See(FAILED, ("vip: {vip} on vip0", "tentative")),
        STOP: See(0),
    }, six),
    Fault(ADDRESS, "IPv6 VIP is a duplicate", duplicate, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("vip: {vip} on fault0", "duplicate", "another machine has it"), then=nothing_is_left),
        RUNNING: See(FAILED, ("vip: {vip} on fault0", "duplicate")),
        RUNNING_10: See(FAILED, ("vip: {vip} on fault0", "duplicate")),
        STOP: See(0),
    }, six),
    Fault(ADDRESS, "IPv6 switched off", lambda site: impatient(site, switched_off(site)), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, NOT_HERE, then=nothing_is_left),
        RUNNING: See(FAILED, NOT_HERE),
        STOP: See(0),
    }, six, quick=False),
    Fault(ADDRESS, "VIP absent, and anybody may bind to it (ip_nonlocal_bind)", anybody_may_bind, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, NOT_HERE, then=nothing_is_left),
        RUNNING: See(FAILED, NOT_HERE),
        RUNNING_10: See(FAILED, NOT_HERE),
        STOP: See(0),
    }),
    Fault(ADDRESS, "one of three VIPs missing", one_of_three_missing, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("vip: 10.99.0.2 is not on this node", "bring it up"), never=("10.99.0.1 is not",), then=nothing_is_left),
        RUNNING: See(FAILED, "vip: 10.99.0.2 is not on this node"),
        RUNNING_10: See(FAILED, "vip: 10.99.0.2 is not on this node"),
        STOP: See(0),
    }),
    Fault(ADDRESS, "one VIP missing, one on a link that is down", one_missing_one_down, {
        START: See(FAILED, ("10.99.0.2 is not on this node", "10.99.0.1 on fault0", "link down"), then=nothing_is_left),
        RUNNING: See(FAILED, ("10.99.0.2 is not on this node", "10.99.0.1 on fault0", "link down")),
        STOP: See(0),
    }),
    Fault(ADDRESS, "nobody listens on the second VIP", one_without_listener, {
        RUNNING: See(0),
        RUNNING_10: See(FAILED, ("no TCP connection to 10.99.0.1 port 20816", "Connection refused")),
        STOP: See(0),
    }),
    Fault(ADDRESS, "VIP is a secondary address", secondary, {START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(ADDRESS, "VIP goes with the primary address of its subnet", gone_with_its_primary, {
        START: See(FAILED, NOT_HERE, then=nothing_is_left),
        RUNNING: See(FAILED, NOT_HERE),
        STOP: See(0),
    }, quick=False),
    Fault(ADDRESS, "VIP deprecated", deprecated, {START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(ADDRESS, "IPv6 VIP deprecated", deprecated, {START: See(0), RUNNING_10: See(0)}, six, quick=False),
    Fault(ADDRESS, "VIP is the peer's address", the_peer_has_it, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, NOT_HERE, then=nothing_is_left),
        RUNNING: See(FAILED, NOT_HERE),
        STOP: See(0),
    }),
    Fault(ADDRESS, "VIP is our end of a point-to-point link", point_to_point, {START: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(ADDRESS, "VIP on two links", lambda site: twice(site, True), {START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(ADDRESS, "VIP on two links, one of them down", lambda site: twice(site, False), {START: See(0), RUNNING: See(0), RUNNING_10: See(0)}),
    Fault(ADDRESS, "the VIP's port swallows all packets", dropped, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("site: cjcpw start exited 20", "no answer"), timeout=20, then=nothing_is_left),
        RUNNING: See(0),
        RUNNING_10: See(FAILED, ("no TCP connection to {vip} port 20816: timed out",), timeout=10),
        STOP: See(0),
    }, quick=False),
]
