"""What the kernel says: mounts, processes, addresses, listeners. It is not hostile, but names in it may be: of processes, files, interfaces."""
from __future__ import annotations

import os
import re
import struct

import pytest

from cjc_agent.layers import ownership
from cjc_agent.layers.site import Site
from cjc_agent.tools import addresses, blockdevice, holders, mountinfo, netlink, processes, sockets
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import one_line
from fuzz import specimens
from fuzz.engine import fuzz, is_one_line
from unit.helpers import Words, settings

SITE = "jobsiteA"
FOLDERS = ["/", "/share", "/share/a", "/share/a/b", "/mnt", "/a", "/share holder", "/share/a b"]


class HereAndNow:
    """A runner that looks at everything in this process."""

    def each(self, name, items, function, deadline):
        return {item: function(item) for item in items}


@pytest.fixture
def told(monkeypatch):
    """What /proc/PID/NAME is to say: name -> bytes; links: name -> text."""
    texts = {}
    monkeypatch.setattr(processes, "contents", lambda pid, name: texts.get(name, b""))
    monkeypatch.setattr(processes, "link", lambda pid, name: texts.get(name, b"").decode("utf-8", "surrogateescape"))
    return texts


# -- mounts --------------------------------------------------------------------------------------------------------------------------


def check_mounts(data):
    mounts = mountinfo.parse(data.decode("utf-8", "surrogateescape"))
    assert len(mounts) <= data.count(b"\n") + 1
    for mount in mounts:
        assert is_one_line(one_line(mount.words())) and isinstance(mount.read_only, bool)
        if mount.source.startswith("/dev/"):  # btrfs: what is the device's number?
            try:
                assert re.fullmatch(r"\d+:\d+", blockdevice.number(mount.source))
            except blockdevice.Unresolved as error:
                assert str(error)
    for path in ("/", "/share/job_site", "/share/my dir/x", "relative", ""):
        found = mountinfo.containing(mounts, path)
        assert found is None or (found in mounts and mountinfo.is_below(path, found.point))
        top = mountinfo.top_at(mounts, path)
        assert top is None or (top is found and top.point == path)


def test_mountinfo():
    fuzz("mountinfo", lambda recipe: recipe.mutated(specimens.MOUNTINFO), check_mounts)


def mount_tree(recipe):
    """Mounts as the kernel makes them: (parent, point) is never twice in the table; listed in any order; and a path."""
    mounts, taken = [(1, 0, "/")], {(0, "/")}
    for number in range(2, 3 + recipe.number(10)):
        parent, _, below = recipe.pick(mounts)
        point = recipe.pick([folder for folder in FOLDERS if mountinfo.is_below(folder, below)])
        if (parent, point) not in taken:
            taken.add((parent, point))
            mounts.insert(recipe.number(len(mounts) + 1), (number, parent, point))
    return mounts, recipe.pick([*FOLDERS, "/share/a/b/c", "/sharex"])


def walked(mounts, path):
    """The id of the mount on which a path walk ends: step by step, at every step through whatever is mounted there on where we are."""
    children = {(parent, point): number for number, parent, point in mounts}
    here = children.get((0, "/"))
    for end in [1, *(place for place in range(2, len(path) + 1) if place == len(path) or path[place] == "/")]:
        while (here, path[:end]) in children:
            here = children[here, path[:end]]
    return here


def check_walk(drawn):
    mounts, path = drawn
    text = "\n".join("%d %d 8:%d / %s rw - ext4 /dev/x rw" % (number, parent, number, point.replace(" ", "\\040")) for number, parent, point in mounts)
    assert mountinfo.containing(mountinfo.parse(text), path).id == walked(mounts, path)


def test_the_mount_of_a_path():
    fuzz("... a path's mount", mount_tree, check_walk)


# -- processes -----------------------------------------------------------------------------------------------------------------------


def check_stat(data):
    process = processes.parse_stat(data.decode("utf-8", "replace"))
    if process is not None:
        assert all(type(number) is int for number in (process.pid, process.ppid, process.session, process.tty, process.start))
        assert is_one_line(one_line(process.words())) and isinstance(process.dead, bool)


def named_process(recipe):
    """Numbers as the kernel has them, and a name that a process gave itself."""
    name = recipe.mutated([b"cat", b"a) S 1 1 1", b") ("])[:15].decode("utf-8", "replace")
    return recipe.number(1 << 16), recipe.number(1 << 16), recipe.number(1 << 16), name


def check_named(drawn):
    pid, parent, start, name = drawn
    process = processes.parse_stat("%d (%s) S %d 7 8 9 -1%s %d 1 2 3\n" % (pid, name, parent, " 0" * 13, start))
    assert (process.pid, process.comm, process.ppid, process.session, process.tty, process.start) == (pid, name, parent, 8, 9, start)


def process_tree(recipe):
    """Parents, also in a circle: a table that changes while it is read."""
    return [recipe.number(12) for _ in range(12)], [recipe.number(14) for _ in range(recipe.number(4))]


def check_tree(drawn):
    parents, roots = drawn
    table = {pid: processes.Process(pid, parent, 0, 0, 0, "S", "x") for pid, parent in enumerate(parents)}
    below = set(roots)
    for _ in parents:
        below |= {pid for pid, parent in enumerate(parents) if parent in below}
    found = processes.descendants(table, roots)
    assert found <= below and below - set(roots) <= found
    for pid in roots:
        above = processes.ancestors(table, pid)
        assert all(other == pid or pid in processes.descendants(table, [other]) for other in above)


def test_stat():
    fuzz("/proc/PID/stat", lambda recipe: recipe.mutated(specimens.STAT), check_stat)
    fuzz("... any name", named_process, check_named)
    fuzz("... any tree", process_tree, check_tree)


def test_maps(told):
    def check(data):
        told["maps"] = data
        words = holders._by_maps(7, "", "/share")
        assert words in ("", "mapped file") and (b"/share" in data or not words)
        told["maps"] = data + b"\n7f0-7f1 rw-s 00000000 08:11 12                         /share/job_site/\xff x (deleted)\n"
        assert holders._by_maps(7, "", "/share") == "mapped file", "one line must not hide another"

    fuzz("/proc/PID/maps", lambda recipe: recipe.mutated(specimens.MAPS), check)


def test_environ(told):
    facts = ownership._facts_of(SITE, ["/usr/lib/nqs"])

    def check(drawn):
        told["environ"], told["exe"] = drawn
        flags = facts(7)
        carried = re.findall(rb"(?:^|\0)NQS_SITE=([^\0]*)", told["environ"])
        assert (ownership.OURS in flags) == (carried[-1:] == [SITE.encode()])
        assert (ownership.OTHERS in flags) == (bool(carried) and carried[-1] != SITE.encode())
        assert (ownership.CALL in flags) == (re.search(rb"(^|\0)CJC_AGENT_CALL=1(\0|$)", told["environ"]) is not None)
        assert (ownership.PRODUCT in flags) == told["exe"].startswith(b"/usr/lib/nqs/")

    programs = [b"/bin/sh", b"/usr/lib/nqs/rc/x (deleted)", b"/usr/lib/nqsx", b""]
    fuzz("/proc/PID/environ", lambda recipe: (recipe.mutated(specimens.ENVIRON), recipe.pick(programs)), check)


def test_cmdline(told):
    site = Site(settings(cjcpw="cjcpw", cjcpw_mode="resident"), HereAndNow(), Words(), None, lambda: None, Deadline(3600))
    census = ownership.Census()
    census.candidates[7] = processes.Process(7, 1, 7, 0, 99, "S", "x")

    def check(data):
        told["cmdline"] = data
        found = site._find_resident(census)
        assert found in (None, (7, 99)) and (found is None or b"cjcpw" in data)

    fuzz("/proc/PID/cmdline", lambda recipe: recipe.mutated(specimens.CMDLINE), check)


# -- addresses and listeners ---------------------------------------------------------------------------------------------------------


def check_listeners(data):
    for address, port, inode in sockets.parse(data.decode("ascii", "replace")):
        assert isinstance(address, bytes) and type(port) is int and type(inode) is int
    text = data.decode("ascii", "replace") + "\n 9: 3202000A:5150 00000000:0000 0A 0:0 00:0 0 0 0 4711 1\n"
    assert (b"\x0a\x00\x02\x32", 20816, 4711) in sockets.parse(text), "one line must not hide another"


def test_listeners():
    fuzz("/proc/net/tcp", lambda recipe: recipe.mutated(specimens.TCP), check_listeners)


def test_netlink(monkeypatch):
    answer = {}

    def dumped(protocol, kind, question, wanted):
        found = []
        netlink._take(answer["data"], wanted, found)
        netlink._is_interrupted(answer["data"])
        return found

    monkeypatch.setattr(netlink, "dump", dumped)
    monkeypatch.setattr(sockets, "_read", lambda port: [])

    def check(data):
        answer["data"] = data
        try:
            for address, places in addresses.local().items():
                assert isinstance(address, bytes) and address
                assert addresses.worth(places)[0] in (addresses.USABLE, addresses.TENTATIVE, addresses.DUPLICATE, addresses.LINK_DOWN)
        except OSError as error:
            assert error.strerror, "the VIP layer says it"
        for address, inode in sockets.listeners(20816):  # whatever the kernel says: then /proc is read
            assert len(address) in (4, 16) and type(inode) is int

    fuzz("netlink", lambda recipe: recipe.mutated(specimens.DUMPS), check)


def test_interface_names():
    """dev_valid_name in the kernel: anything but white space, / and :."""
    def check(name):
        assert addresses._is_up(name) in (True, False)

    fuzz("interface names", lambda recipe: os.fsencode(recipe.text(["lo", "vip0", "br-x.7"]))[:15].decode("utf-8", "surrogateescape"), check)


def check_address(text):
    try:
        binary = addresses.packed(text)
    except ValueError as error:
        assert str(error)
        return
    assert len(binary) in (4, 16) and addresses.packed(addresses.text_of(binary)) == binary
    assert struct.unpack("%dB" % len(binary), binary) and is_one_line(addresses.text_of(binary), 46)


def test_addresses():
    fuzz("addresses", lambda recipe: recipe.text(["10.0.2.50", "fd00::50", "::ffff:1.2.3.4", "fe80::1%lo"]), check_address)
