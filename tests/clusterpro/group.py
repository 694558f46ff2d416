"""A failover group of the SIMULATOR: up in order, down in reverse, and what follows when one of its resources does not come up or go down.

A group is never brought up on a node before it was either taken down everywhere else, by scripts and commands that all succeeded, or the node
where it was is seen to be off.
"""
from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Optional, Protocol

from cluster.node import Node, NotOff
from clusterpro.resources import Occasion, Resource

STOPPED, ONLINE, FAILED = "stopped", "online", "failed"
STUCK = "not deactivated"  # nobody knows what of it is left on its node: it comes up nowhere before that node is off
DYING_SECONDS = 30.0
NOTHING, STOP_GROUP, SHUT_DOWN, REBOOT, PANIC = "1", "2", "4", "5", "8"  # final actions; 3, stopping the cluster service alone, is not played


class Servers(Protocol):
    """What a group needs of the cluster."""

    closed: bool

    def by_priority(self) -> list[Node]:
        """All servers, the one where groups are at home first."""

    def switch_on(self, node: Node) -> None:
        """Have a node switched on a moment later, as a reboot does."""

    def say(self, node: str, words: str) -> None:
        """One line of the log; `node` may be empty."""


class Group:
    """A group of resources, given in the order in which they come up. Its verbs return when all that follows has been done; one at a time.

    `failovers`: act/fo, `final`: act/action, `last_resort`: deact/action. `generation` changes whenever anything is done to it.
    """

    def __init__(self, name: str, servers: Servers, resources: Sequence[Resource], failovers: int, final: str, last_resort: str) -> None:
        self.name, self._servers, self._resources = name, servers, list(resources)
        self._failovers, self._final, self._last_resort = failovers, final, last_resort
        self.state, self.generation = STOPPED, 0
        self.node: Optional[Node] = None  # where it is, or was last
        self._active: set[str] = set()
        self._life: Optional[int] = None  # of that node: its process 1
        self._occasion = Occasion("START")
        self._lock = threading.RLock()

    # -- what people, monitors and the loss of a server ask for -------------------------------------------------------------------

    def start(self, node: Optional[Node] = None) -> bool:
        """Bring it up on a node, or on the first one that is on; return whether it is up (somewhere)."""
        with self._busy("start"):
            if self.state not in (STOPPED, FAILED):
                return self.state == ONLINE
            targets = [target for target in self._targets() if target is (node or target)]
            return bool(targets) and self._bring_up(targets[0], Occasion("START"))

    def stop(self) -> bool:
        """Take it down; return whether it is."""
        with self._busy("stop"):
            if self.state == ONLINE and self._take_down("GROUPSTOP"):
                self.state = STOPPED
            return self.state in (STOPPED, FAILED)

    def move(self, to: Node) -> bool:
        """Take it down and bring it up on that node; return whether it is there."""
        with self._busy("move to " + to.name):
            if self.state == ONLINE and self.node is not to and to in self._targets():
                before = self.node.name if self.node else ""
                if self._take_down("GROUPMOVE"):
                    self._bring_up(to, Occasion("START", previous=before))
            return self.state == ONLINE and self.node is to

    def restart(self, resource: str, generation: int) -> None:
        """A monitor wants one resource, and those after it, to be taken down and brought up again where they are."""
        with self._recovery("restart of resource %s" % resource, generation) as wanted:
            if wanted and self.node is not None:
                again = self._resources[self.names().index(resource):]
                occasion = Occasion("START", "RESOURCERESTART", self._occasion.server, self._occasion.previous)
                node = self.node
                if not self._take_down("RESOURCERESTART", again):
                    return
                if self._is_off() or not self._climb(node, occasion, again):
                    self._fail_over("a resource was not restarted")

    def restart_all(self, generation: int) -> None:
        """A monitor wants the whole group restarted."""
        self.restart(self._resources[0].name, generation)

    def fail_over(self, generation: int) -> None:
        """A monitor wants it on another node."""
        with self._recovery("failover, as a monitor asks", generation) as wanted:
            if wanted:
                self._fail_over("a monitor wants it")

    def final_action(self, action: str, generation: int) -> None:
        """What a monitor wants to be done last."""
        with self._recovery("final action %s, as a monitor asks" % action, generation) as wanted:
            if not wanted or self.node is None:
                return
            if action == STOP_GROUP:
                if self._take_down("GROUPSTOP"):
                    self.state = FAILED
            elif action != NOTHING:
                self._punish(self.node, action)  # the loss of the server brings the group elsewhere

    def server_down(self) -> None:
        """Its node may have been lost: if it is seen to be off, the group fails over."""
        with self._lock:
            if self.state in (ONLINE, STUCK) and self._is_off():
                with self._busy("its server %s is seen to be off" % (self.node.name if self.node else "")):
                    self._fail_over("server down")

    def names(self) -> list[str]:
        """Its resources, in the order in which they come up."""
        return [resource.name for resource in self._resources]

    def forget_failure(self) -> None:
        """After somebody has looked into it."""
        with self._lock:
            self.state = STOPPED if self.state == FAILED else self.state

    def is_settled(self) -> bool:
        """Whether nothing is being done to it and nothing will be by itself, as far as the group knows."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return not (self.state in (ONLINE, STUCK) and self._is_off())
        finally:
            self._lock.release()

    # -- how it is done -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _busy(self, words: str) -> Iterator[None]:
        with self._lock:
            self.generation += 1
            self._servers.say("", "group %s: %s" % (self.name, words))
            try:
                yield
            finally:
                self.generation += 1
                where = " on " + self.node.name if self.node is not None and self.state != STOPPED else ""
                self._servers.say("", "group %s is %s%s" % (self.name, self.state, where))

    @contextlib.contextmanager
    def _recovery(self, words: str, generation: int) -> Iterator[bool]:
        """Wanted only if nothing has been done to the group since the monitor looked."""
        with self._lock:
            if generation != self.generation or self.state != ONLINE or self._servers.closed:
                yield False
                return
            with self._busy(words):
                yield True

    def _is_off(self) -> bool:
        """Whether the node where it is was seen to be off since it came up there. A node that is on again is another life."""
        return self.node is not None and self.node.init_pid != self._life and (self.node.init_pid is not None or not self.node.is_on)

    def _has_died(self) -> bool:
        """The same, for a node with which something has just gone wrong: if it answers nothing any more, it is waited for until it is off."""
        assert self.node is not None
        end = time.monotonic() + DYING_SECONDS
        while not self._is_off() and not self.node.answers() and time.monotonic() < end:
            time.sleep(0.02)
        return self._is_off()

    def _targets(self) -> list[Node]:
        return [node for node in self._servers.by_priority() if node.is_on and node.init_pid is not None]

    def _bring_up(self, node: Node, occasion: Occasion) -> bool:
        """On that node, or if it does not come up there on the other one, act/fo times; return whether it is up."""
        for left in range(self._failovers, -1, -1):
            if self._servers.closed:
                return False
            home = node is self._servers.by_priority()[0]
            occasion = Occasion(occasion.event, occasion.factor, "HOME" if home else "OTHER", occasion.previous)
            self.node, self._life, self._occasion = node, node.init_pid, occasion
            if self._climb(node, occasion, self._resources):
                return True
            if not self._take_down("GROUPFAILOVER"):
                return False
            others = [other for other in self._targets() if other is not node]
            if not left or not others:
                break
            self._servers.say(node.name, "group %s fails over to %s: it did not come up" % (self.name, others[0].name))
            occasion, node = Occasion("FAILOVER", previous=node.name), others[0]
        self.state = FAILED
        if self._final not in (NOTHING, STOP_GROUP):
            self._punish(node, self._final)
        return False

    def _climb(self, node: Node, occasion: Occasion, resources: Sequence[Resource]) -> bool:
        for resource in resources:
            self._active.add(resource.name)  # from here on it has to be taken down
            complaint = resource.activate(node, occasion)
            if complaint or self._is_off():
                self._servers.say(node.name, "%s was not activated: %s" % (resource.name, complaint or "server down"))
                return False
        self.state = ONLINE
        return True

    def _take_down(self, factor: str, resources: Optional[Sequence[Resource]] = None) -> bool:
        """In reverse order, whatever of it has been brought up; return whether nothing of it is left, by its own account or because its
        node is seen to be off."""
        node, before = self.node, self._occasion
        assert node is not None
        occasion = Occasion(before.event, factor, before.server, before.previous)
        for resource in reversed(self._resources if resources is None else resources):
            if self._is_off():
                break
            if resource.name not in self._active:
                continue
            complaint = resource.deactivate(node, occasion)
            if complaint and not self._has_died():
                self._servers.say(node.name, "%s was NOT deactivated: %s" % (resource.name, complaint))
                if not self._punish(node, self._last_resort):
                    self.state = STUCK
                    return False
                break
            self._active.discard(resource.name)
        if self._is_off():
            self._active.clear()
        return True

    def _fail_over(self, why: str) -> None:
        """Take it down where it is, if that is still on, and bring it up on the other node."""
        assert self.node is not None
        before = self.node
        if not self._take_down("GROUPFAILOVER"):
            return
        self._servers.say(before.name, "group %s fails over: %s" % (self.name, why))
        self.state = FAILED
        others = [node for node in self._targets() if node is not before]
        if others:
            self._bring_up(others[0], Occasion("FAILOVER", previous=before.name))

    def _punish(self, node: Node, action: str) -> bool:
        """A final action on a node; return whether it is seen to be off after it."""
        self._servers.say(node.name, "final action %s" % action)
        if action not in (SHUT_DOWN, REBOOT, PANIC):
            return False
        try:
            node.power_cut()
        except NotOff as error:
            self._servers.say(node.name, "NOT seen to be off: %s" % error)
            return False
        if action == REBOOT:
            self._servers.switch_on(node)
        return True


