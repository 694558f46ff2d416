"""Whose process is it? One look at the node's processes, sorted for one site.

That JobCenter's daemons keep NQS_SITE in their environment is inferred from the seed, not stated by the vendor. So the variable alone
condemns nobody (a service that a job launched has it too), and its absence saves nobody who listens on VIP:port or holds the mount.
"""
from __future__ import annotations

import os

from cjc_agent.settings.child_environment import CALL_MARK
from cjc_agent.tools import addresses, holders, mountinfo, processes, procfs, sockets
from cjc_agent.tools.processes import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from cjc_agent.tools.command import Runner
    from cjc_agent.tools.deadline import Deadline


class Census:
    """`daemons`: the site's own, which stop ends; `candidates`: all that carry the variable and may be daemons; `inherited`: candidates that
    merely carry it; `calls`: left over from our own killed status and stop calls; `listeners`: those of the daemons that listen at the port;
    `mere_holders`: those of the daemons that nothing but the mount they hold speaks against; `jobs`: those that are there only as children of
    the others; `product`: pids whose program lies below nqs_home, whoever's they are; `obstacles`: words for what says that the site is not
    stopped and cannot be ended by us."""

    def __init__(self) -> None:
        self.daemons: dict[int, Process] = {}
        self.candidates: dict[int, Process] = {}
        self.calls: dict[int, Process] = {}
        self.listeners: dict[int, Process] = {}
        self.mere_holders: dict[int, Process] = {}
        self.jobs: dict[int, Process] = {}
        self.product: list[int] = []
        self.complete = True  # whether there was time to look at all processes
        self.obstacles: list[str] = []

    @property
    def inherited(self) -> list[Process]:
        """Candidates that only inherited the variable."""
        return [process for pid, process in self.candidates.items() if pid not in self.daemons]

    def evidence(self) -> str:
        """Words for everything that says the site is not stopped, and what to do about it; "" when nothing does."""
        words = []
        if self.daemons:
            words.append("processes left: stop the site - %s" % processes.describe(self.daemons.values()))
        return "; ".join(self.obstacles + words)


class Look:
    """What a census is told: the `site`, its `vips` and `port`, `nqs_home`, the `recorded` (pid, start) pairs, `before`: those that carried the
    variable before a start that has not finished (None: no such start), `scope`: folder and device of the site DB's mount, if it is there, and
    which of the recorded is the `resident` cjcpw, whose children are the daemons."""

    __slots__ = ("site", "vips", "port", "nqs_home", "recorded", "before", "scope", "resident")

    def __init__(self, site: str, vips: Iterable[str], port: int, nqs_home: str, recorded: Iterable[tuple[int, int]],
                 before: Optional[Iterable[tuple[int, int]]], scope: Optional[tuple[str, str]], resident: Optional[tuple[int, int]] = None) -> None:
        self.site, self.vips, self.port, self.nqs_home = site, vips, port, nqs_home
        self.recorded, self.before, self.scope, self.resident = recorded, before, scope, resident


def take(look: Look, runner: Runner, deadline: Deadline) -> Census:
    """Look at all processes for one site."""
    census = Census()
    try:
        _take(census, look, runner, deadline)
    except OSError as error:  # no descriptor left, no memory: what was not seen may be there
        census.complete = False
        census.obstacles.append("processes cannot be looked at: %s" % procfs.words(error))
    return census


def _take(census: Census, look: Look, runner: Runner, deadline: Deadline) -> None:
    table = {pid: process for pid, process in processes.table().items() if pid > 1 and not process.dead}
    session = table[os.getpid()].session
    ours = processes.ancestors(table, os.getpid()) | {pid for pid, process in table.items() if process.session == session}
    try:
        facts = runner.each("look at processes", [pid for pid in table if pid not in ours], _facts_of(look.site, _homes(look, runner, deadline)), deadline)
    except TimeoutError as error:
        facts = {}
        census.complete = False
        census.obstacles.append(str(error.strerror))
    strangers = set(ours)  # those whose holding of the mount says nothing about the site
    others = set(ours)  # those who are never ended
    for pid, flags in facts.items():
        process, flags = table[pid], flags or ""
        if PRODUCT in flags:
            census.product.append(pid)
        if OURS in flags and CALL in flags:
            census.calls[pid] = process
        elif OURS in flags and process.tty == 0:
            census.candidates[pid] = process
            if PRODUCT in flags or (look.before is not None and process.identity not in look.before):
                census.daemons[pid] = process
        elif OTHERS in flags:
            others.add(pid)
        if (flags.strip(PRODUCT) or process.tty) and pid not in census.candidates:
            strangers.add(pid)
    _by_record(census, table, look.recorded, ours)
    _by_listening(census, table, others, {addresses.packed(vip): vip for vip in look.vips}, look.port)
    if look.scope:
        _by_holding(census, table, look.scope, [pid for pid in table if pid not in strangers], runner, deadline)
    census.jobs = _jobs(census, table, {*look.recorded}, look.resident)


OURS, OTHERS, CALL, PRODUCT = "S", "O", "C", "P"  # carries our site, another one; is our own call; its program lies below nqs_home


def _homes(look: Look, runner: Runner, deadline: Deadline) -> set[str]:
    """nqs_home as it was given, and where it really is: a program's path is told without links. On a dead server it is as it was given."""
    found = runner.call("look at nqs_home", lambda: os.path.realpath(look.nqs_home), deadline.part(1.0))
    return {look.nqs_home, found.output} if found.ok else {look.nqs_home}


def _facts_of(site: str, homes: Iterable[str]) -> Callable[[int], str]:
    """Return the function that tells a process's flags; it is run in a child, once for each, and touches no file system."""
    wanted, mark = b"NQS_SITE=" + site.encode(), CALL_MARK.encode() + b"=1"

    def facts(pid: int) -> str:
        through = processes.through(pid)
        entries = processes.environment(pid, through)
        carried = [entry for entry in entries if entry.startswith(b"NQS_SITE=")]
        flags = "" if not carried else OURS if site and carried[-1] == wanted else OTHERS
        program = processes.link(pid, through + "exe")
        return flags + (CALL if mark in entries else "") + (PRODUCT if any(mountinfo.is_below(program, home) for home in homes) else "")
    return facts


def _by_record(census: Census, table: dict[int, Process], recorded: Iterable[tuple[int, int]], ours: set[int]) -> None:
    """Those in the record, and their descendants: jobs that run now, whatever they made of their environment."""
    roots = [pid for pid, start in recorded if pid in table and table[pid].start == start]
    for pid in [*roots, *processes.descendants(table, roots)]:
        if pid not in census.calls and pid not in ours:  # we may have been called by a job of the site
            census.daemons[pid] = table[pid]
    kept = [table[pid] for pid in roots if pid in ours]
    if kept:
        census.obstacles.append("daemons that this very command was started by: %s: call it from elsewhere" % processes.describe(kept))


def _jobs(census: Census, table: dict[int, Process], recorded: set[tuple[int, int]], resident: Optional[tuple[int, int]]) -> dict[int, Process]:
    """Those of the daemons that are there only as descendants of others. The children of the resident cjcpw are none: they are the daemons."""
    heads = [pid for pid, process in census.daemons.items() if process.identity in recorded or pid in census.candidates]
    own = {*census.product} & {*census.candidates}  # a daemon by itself, whoever its parent is
    return {pid: census.daemons[pid] for pid in processes.descendants(table, heads)
            if pid in census.daemons and pid not in own and table[pid].identity not in recorded and table[table[pid].ppid].identity != resident}


def _by_holding(census: Census, table: dict[int, Process], scope: tuple[str, str], pids: list[int], runner: Runner, deadline: Deadline) -> None:
    """Those that hold the site DB's mount."""
    try:
        found = holders.find(*scope, pids, runner, deadline)
    except TimeoutError as error:
        census.complete = False
        census.obstacles.append(str(error.strerror))
        return
    for pid in found:
        if pid not in census.candidates and pid not in census.daemons:
            census.mere_holders[pid] = table[pid]
        census.daemons[pid] = table[pid]


def _by_listening(census: Census, table: dict[int, Process], others: set[int], vips: dict[bytes, str], port: int) -> None:
    """Those that listen on VIP:port, whoever they are; on any other address, which may be the local site's, those that carry the variable."""
    found = sockets.listeners(port) if vips or census.candidates else []
    owners = sockets.owners([inode for _, inode in found], list(table))
    for address, inode in found:
        holding = owners[inode] - others if address in vips else owners[inode] & set(census.candidates)
        for pid in holding:
            census.daemons[pid] = census.listeners[pid] = table[pid]
        if address in vips and not holding:
            who = " (%s)" % processes.describe(table[pid] for pid in owners[inode]) if owners[inode] else ""
            census.obstacles.append("something listens on %s:%d%s: give it another address" % (vips[address], port, who))
