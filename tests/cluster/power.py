"""The power controller: switches nodes off and on for whoever asks over its socket, as a rack's power strip does.

Requests are lines: `off NODE`, `on NODE`, `reboot NODE`, `status NODE`, `list`, and for people and tests `cut NODE` and `mend NODE` (the
cable), and what becomes of the controller itself: one of the moods below, which it obeys always. The answer is `OK [WORDS]` or `ERROR
WORDS`. `off` and `reboot` say OK only when the node is seen to be off (unless it lies); `reboot` then starts it again.
"""
from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Callable

from cluster.node import Node, NotOff

OFF_BEFORE_ON_SECONDS = 0.5  # how long a rebooted node stays dark
# How a fence device can be. dead: hangs up on everybody; hangs: takes every request and says nothing; broken: answers that it cannot switch;
# lies: says that it has switched and has not; slow: switches `slow_seconds` later.
ALIVE, DEAD, HANGS, BROKEN, LIES, SLOW = MOODS = ("alive", "dead", "hangs", "broken", "lies", "slow")
CANNOT = "ERROR the relay does not switch"


class PowerController:
    """Serves `socket_path` until close(). `fenced`: (time, name) of the nodes seen to be off after somebody had asked for it, in order."""

    def __init__(self, nodes: Sequence[Node], socket_path: pathlib.Path) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.mood, self.slow_seconds = ALIVE, 5.0
        self.closed = False
        self.stay_off: set[str] = set()  # nodes that `reboot` leaves off
        self.fenced: list[tuple[float, str]] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(socket_path))
        self._server.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Answer nobody and start nothing any more."""
        self.closed, self.mood = True, DEAD
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # close() alone does not wake who waits in accept()
        self._server.close()

    def fenced_since(self, moment: float) -> list[str]:
        """Names of the nodes that were switched off over the socket since `moment` (monotonic seconds)."""
        return [name for when, name in self.fenced if when >= moment]

    def _serve(self) -> None:
        while True:
            try:
                connection = self._server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(60)
            try:
                with connection.makefile() as reader:
                    words = reader.readline().split()
                answer, afterwards = self.do(" ".join(words))
                if answer:
                    connection.sendall(answer.encode() + b"\n")
            except OSError:
                return  # whoever asked is gone
        afterwards()

    def do(self, request: str) -> tuple[str, Callable[[], object]]:
        """Obey one request; return the answer, nothing if there is none, and what is to be done after it was sent."""
        verb, _, name = request.partition(" ")
        if self.closed:
            return "", _nothing
        if verb in MOODS:
            self.mood = verb
            return "OK", _nothing
        if self.mood in (DEAD, HANGS):
            self._while(HANGS, 60.0)
            return "", _nothing
        if verb == "list":
            return "OK " + " ".join(self.nodes), _nothing
        if verb not in ("status", "on", "off", "reboot", "cut", "mend"):
            return "ERROR unknown request: '%s'; there are: off, on, reboot, status, cut, mend NODE; list, %s" % (verb, ", ".join(MOODS)), _nothing
        if name not in self.nodes:
            return "ERROR no such node: '%s'; there are: %s" % (name, " ".join(self.nodes)), _nothing
        try:
            return self._switch(verb, self.nodes[name])
        except (NotOff, RuntimeError, OSError, subprocess.SubprocessError) as error:
            return "ERROR " + str(error).replace("\n", " "), _nothing

    def _switch(self, verb: str, node: Node) -> tuple[str, Callable[[], object]]:
        if verb == "status":
            return "OK " + ("on" if node.is_on else "off"), _nothing
        if verb in ("on", "off", "reboot"):
            self._while(SLOW, self.slow_seconds)
            if self.mood in (BROKEN, LIES):
                return CANNOT if self.mood == BROKEN else "OK", _nothing
        if verb in ("off", "reboot"):
            node.power_cut()
            self.fenced.append((time.monotonic(), node.name))
            if verb == "reboot" and node.name not in self.stay_off:
                return "OK", lambda: self._start_again(node)
        elif verb == "on":
            node.power_on()
        elif verb == "cut":
            node.cut_cable()
        else:
            node.mend_cable()
        return "OK", _nothing

    def _while(self, mood: str, seconds: float) -> None:
        """Wait that long, but only while the controller is in that mood."""
        end = time.monotonic() + seconds
        while self.mood == mood and time.monotonic() < end:
            time.sleep(0.05)

    def _start_again(self, node: Node) -> None:
        time.sleep(OFF_BEFORE_ON_SECONDS)
        if not self.closed:
            with contextlib.suppress(RuntimeError):  # whoever waits for the node will say so
                node.power_on()


def _nothing() -> None:
    """Nothing to do."""
