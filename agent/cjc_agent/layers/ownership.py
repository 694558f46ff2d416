"""Whose process is it? One look at the node's processes, sorted for one site.

That JobCenter's daemons keep NQS_SITE in their environment is inferred from the seed, not stated by the vendor. So the variable alone
condemns nobody (a service that a job launched has it too), and its absence saves nobody who listens on VIP:port or holds the mount.
"""
from __future__ import annotations

import os

from cjc_agent.settings.child_environment import CALL_MARK
from cjc_agent.tools import addresses, holders, mountinfo, processes, sockets
from cjc_agent.tools.processes import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Census:
    """`daemons`: the site's own, which stop ends; `candidates`: all that carry the variable and may be daemons; `inherited`: candidates that
    merely carry it; `calls`: left over from our own killed status and stop calls; `listeners`: those of the daemons that listen at the port;
    `mere_holders`: those of the daemons that nothing but the mount they hold speaks against; `unowned`: VIP:port where something listens
    that is not to be seen, or not to be ended."""

    def __init__(self) -> None:
        self.daemons: dict[int, Process] = {}
        self.candidates: dict[int, Process] = {}
        self.calls: dict[int, Process] = {}
        self.listeners: dict[int, Process] = {}
        self.mere_holders: dict[int, Process] = {}
        self.unowned: list[str] = []

    @property
    def inherited(self) -> list[Process]:
        """Candidates that only inherited the variable."""
        return [process for pid, process in self.candidates.items() if pid not in self.daemons]

    def evidence(self) -> str:
        """Words for everything that says the site is not stopped; "" when nothing does."""
        words = []
        if self.daemons:
            words.append("processes left: " + processes.describe(self.daemons.values()))
        words += ["something listens on " + where for where in self.unowned]
        return "; ".join(words)


def take(site: str, vips: Iterable[str], port: int, nqs_home: str, recorded: Iterable[tuple[int, int]], scope: tuple[str, str], mounted: bool) -> Census:
    """Look at all processes for one site.

    `recorded` are the (pid, start) of its record, `scope` is the disk's (folder, device number), `mounted` whether there is a mount to hold.
    """
    census = Census()
    table = {pid: process for pid, process in processes.table().items() if pid > 1 and not process.dead}
    session = table[os.getpid()].session
    ours = processes.ancestors(table, os.getpid()) | {pid for pid, process in table.items() if process.session == session}
    strangers = set(ours)  # those whose holding of the mount says nothing about the site
    others = set(ours)  # those who are never ended
    for pid, process in table.items():
        mark, is_call = _marks(pid)
        if pid in ours:
            continue
        if mark == site and site and is_call:
            census.calls[pid] = process
        elif mark == site and site and process.tty == 0:
            census.candidates[pid] = process
        elif mark not in ("", site):
            others.add(pid)
        if (mark or process.tty) and pid not in census.candidates:
            strangers.add(pid)
    _by_record(census, table, recorded, ours)
    for pid, process in census.candidates.items():
        if mountinfo.is_below(processes.link(pid, "exe"), nqs_home):
            census.daemons[pid] = process
    _by_listening(census, table, others, {addresses.packed(vip): vip for vip in vips}, port)
    if mounted and scope[0]:
        for pid in holders.find(scope[0], scope[1], [pid for pid in table if pid not in strangers]):
            if pid not in census.candidates and pid not in census.daemons:
                census.mere_holders[pid] = table[pid]
            census.daemons[pid] = table[pid]
    return census


def _marks(pid: int) -> tuple[str, bool]:
    """Return the NQS_SITE a process carries ("" for none), and whether it is one of our own calls."""
    site, is_call = "", False
    for entry in processes.environment(pid):
        if entry.startswith(b"NQS_SITE="):
            site = entry[len(b"NQS_SITE="):].decode("utf-8", "replace")
        elif entry == CALL_MARK.encode() + b"=1":
            is_call = True
    return site, is_call


def _by_record(census: Census, table: dict[int, Process], recorded: Iterable[tuple[int, int]], ours: set[int]) -> None:
    """Those in the record, and their descendants: jobs that run now, whatever they made of their environment."""
    roots = [pid for pid, start in recorded if pid in table and table[pid].start == start]
    for pid in [*roots, *processes.descendants(table, roots)]:
        if pid not in census.calls and pid not in ours:  # we may have been called by a job of the site
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
            census.unowned.append("%s:%d%s" % (vips[address], port, who))
