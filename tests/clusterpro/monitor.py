"""genw of the SIMULATOR: a script that is asked again and again, and what follows when it says that something is wrong.

Known: polling/interval, timeout (kills; counts as bad), reconfirmation (so often it is asked once more), timing 1 (only while the target is
active) and 0 (always, on all servers); then the relation is restarted, up to threshold/restart times, then its group fails over, up to threshold/fo
times, then emergency/action. When the product forgets these counts by itself is not known: here it never does, only reset() does.
"""
from __future__ import annotations

import threading
from typing import Callable, Optional

from cluster.node import Node
from clusterpro.clpconf import Thing
from clusterpro.group import ONLINE, Group
from clusterpro.product import SCRIPTS
from clusterpro.resources import Run, run_script


class Monitor:
    """One genw monitor on all `nodes`, between start() and end(). `target` is the group whose exec it looks after, `group` that of its relation."""

    def __init__(self, name: str, thing: Thing, nodes: list[Node], target: Optional[Group], group: Group,
                 note: Callable[[Run], None], say: Callable[[str, str], None]) -> None:
        self.name, self._values, self._target, self._group = name, thing, target, group
        self._note, self._say = note, say
        self.suspended = False
        self.restarts = self.failovers = self.finals = 0
        self.bad: dict[str, int] = {}  # node -> how often it was bad in a row
        self.error: Optional[BaseException] = None
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(node,), daemon=True, name="%s on %s" % (name, node.name)) for node in nodes]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Look no more; return when nothing is being looked at."""
        self._end.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(60)

    def reset(self) -> None:
        """Forget what was counted."""
        self.restarts = self.failovers = self.finals = 0
        self.bad.clear()

    def _watch(self, node: Node) -> None:
        try:
            while not self._end.wait(self._values.number("polling/interval", 0)):
                if not self.suspended and self._is_due(node):
                    self._look(node)
        except BaseException as error:  # kept for the main thread
            self.error = error

    def _is_due(self, node: Node) -> bool:
        if node.init_pid is None:
            return False
        if self._values.values["polling/timing"] == "0":
            return True
        target = self._target
        return target is not None and target.state == ONLINE and target.node is node and target.is_settled()

    def _look(self, node: Node) -> None:
        generation = self._group.generation
        script = "%s/monitor.s/%s/%s" % (SCRIPTS, self.name, self._values.values["parameters/path"])
        run = run_script(node, script, {}, self._values.number("polling/timeout", 0), self._values.values.get("parameters/userlog", ""))
        self._note(run)
        if generation != self._group.generation or self.suspended or self._end.is_set():
            self.bad[node.name] = 0  # it has looked at something that is no more
        elif run.code == self._values.number("parameters/normalval", 0):
            self.bad[node.name] = 0
        else:
            self.bad[node.name] = self.bad.get(node.name, 0) + 1
            self._say(node.name, "monitor %s: bad (%d): %s" % (self.name, self.bad[node.name], run.words()))
            if self.bad[node.name] > self._values.number("polling/reconfirmation", 0):
                self.bad[node.name] = 0
                self._recover(node, generation)

    def _recover(self, node: Node, generation: int) -> None:
        group, values = self._group, self._values
        if group.state != ONLINE or group.node is not node:
            return  # what would be done about a server without the group is not known
        if self.restarts < values.number("emergency/threshold/restart", 0):
            self.restarts += 1
            if values.values["relation/type"] == "rsc":
                group.restart(values.values["relation/name"], generation)
            else:
                group.restart_all(generation)
        elif self.failovers < values.number("emergency/threshold/fo", 0):
            self.failovers += 1
            group.fail_over(generation)
        elif not self.finals:
            self.finals += 1
            group.final_action(values.values["emergency/action"], generation)
