#!/usr/bin/python3
"""The user's side of a cluster site: asks it a hundred times a second, submits jobs, and notes who answered when.

    client.py --site jobsiteA=10.0.2.50:20816 [--site ...] [--jobs-per-second N] [--job-seconds S] [--witness FOLDER] [--key-prefix WORD]
    client.py --site jobsiteA=10.0.2.50:20816 --ask LIST

The program runs inside the client's network namespace; `Client` starts and reads it from the lab's process. It takes `pause`, `resume` (of
submitting jobs) and `quit` on stdin, one a line, ends with its parent, and writes one JSON line every 50 ms. All times are seconds of
time.monotonic(), which is one clock in all namespaces.
"""
from __future__ import annotations

import argparse
import array
import bisect
import ctypes
import errno
import functools
import heapq
import itertools
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

if __name__ == "__main__":  # the program may import what we are a part of
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from cluster import night_jobs  # noqa: E402

ASK_EVERY = 0.01  # seconds between two asks of a site, answered or not
ANSWER_WITHIN = 1.0  # seconds after which an ask is given up
ACKNOWLEDGE_WITHIN = 3.0  # seconds after which a job is submitted again
SUBMIT_AGAIN_AFTER = 0.25  # seconds from a refusal to the next try
MOST_UNACKNOWLEDGED = 20  # jobs of a site; no new ones while so many are outstanding
REPORT_EVERY = 0.05
TOGETHER = 0.001  # seconds; timers as close as that share one wake-up
STALLED_AFTER = 0.05  # seconds that the program itself must be late for it to be reported
LISTING_WITHIN = 30.0
END_WITHIN = 3.0  # seconds from the end of its stdin; then it is killed
PATIENCE = 10.0  # seconds that Client waits for a word of its program before it says that something is wrong with it
LONGEST_ANSWER = 1 << 16
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # linger: on, 0 s. No TIME_WAIT here, no orphan that sends on after it was given up

Address = tuple[str, int]


class ClientError(Exception):
    """The client itself, not a site, does not work."""


# -- the program --------------------------------------------------------------------------------------------------------------------------


class Loop:
    """Sockets and timers of the program, in one thread."""

    def __init__(self) -> None:
        self.ended = False
        self.stalls: list[tuple[float, float]] = []  # (until when, for how many seconds) we did not get the CPU
        self._epoll = select.epoll()  # selectors would cost a third more
        self._calls: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def watch(self, descriptor: int, events: int, call: Callable[[], None]) -> None:
        """Call it whenever one of `events` (EPOLLIN, EPOLLOUT) or an error comes, until close()."""
        if descriptor in self._calls:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._calls[descriptor] = call

    def close(self, closed: socket.socket) -> None:
        """Close a socket, watched or not; epoll forgets it by itself."""
        self._calls.pop(closed.fileno(), None)
        closed.close()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it once, `seconds` from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call))

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it at a steady rate. What was missed in a stall is not made up for."""
        due = time.monotonic() + seconds

        def turn() -> None:
            nonlocal due
            call()
            now = time.monotonic()
            due = max(due + seconds, now)
            self.after(due - now, turn)
        self.after(seconds, turn)

    def run(self) -> None:
        """Until `ended`. Answers that came in a stall are read before their asks are given up."""
        while not self.ended:
            for descriptor, _ in self._epoll.poll(max(0.0, self._timers[0][0] - time.monotonic())):
                self._calls[descriptor]()
            now = time.monotonic()
            if now - self._timers[0][0] > STALLED_AFTER:
                self.stalls.append((now, now - self._timers[0][0]))
            while self._timers[0][0] <= now + TOGETHER:
                heapq.heappop(self._timers)[2]()


class Exchange:
    """One connection: sends a request line, hands the answer line to `done`, or None when there is none within `seconds`, whatever the reason."""

    __slots__ = ("_loop", "_request", "_answer", "_done", "_socket")

    def __init__(self, loop: Loop, address: Address, request: bytes, seconds: float, done: Callable[[bytes | None], None]) -> None:
        self._loop, self._request, self._answer, self._done = loop, request, b"", done
        self._socket = socket.socket(_family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        loop.after(seconds, self._give_up)
        if self._socket.connect_ex(address) in (0, errno.EINPROGRESS):
            self._send()
        else:
            self._end(None)

    def _send(self) -> None:
        try:
            self._socket.send(self._request)  # a connection that failed says so here
        except BlockingIOError:
            self._loop.watch(self._socket.fileno(), select.EPOLLOUT, self._send)
        except OSError:
            self._end(None)
        else:
            self._loop.watch(self._socket.fileno(), select.EPOLLIN, self._receive)

    def _receive(self) -> None:
        try:
            piece = self._socket.recv(LONGEST_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._answer += piece
        line, newline, _ = self._answer.partition(b"\n")
        if newline:
            self._end(line)
        elif not piece or len(self._answer) > LONGEST_ANSWER:
            self._end(None)

    def _give_up(self) -> None:
        if self._socket.fileno() >= 0:
            self._end(None)

    def _end(self, answer: bytes | None) -> None:
        self._loop.close(self._socket)
        self._done(answer)


class Site:
    """What the program does with one site, and what it has to report of it."""

    def __init__(self, loop: Loop, name: str, address: Address, job: Callable[[str], str], key_prefix: str) -> None:
        self.answers: list[tuple[float, str]] = []
        self.acknowledged: list[str] = []
        self.unacknowledged: set[str] = set()
        self._loop, self._name, self._address, self._job = loop, name, address, job
        self._keys = ("%s%s-%d" % (key_prefix, name, number) for number in itertools.count(1))

    def ask(self) -> None:
        """One PING."""
        Exchange(self._loop, self._address, b"PING\n", ANSWER_WITHIN, self._answered)

    def _answered(self, line: bytes | None) -> None:
        said = good(line)
        if isinstance(said, dict) and said.get("site") == self._name and isinstance(said.get("node"), str):
            self.answers.append((time.monotonic(), said["node"]))

    def submit_new(self) -> None:
        """One more job, unless too many wait for their acknowledgement already."""
        if len(self.unacknowledged) < MOST_UNACKNOWLEDGED:
            key = next(self._keys)
            self.unacknowledged.add(key)
            self._submit(key)

    def _submit(self, key: str) -> None:
        request = "SUBMIT %s\n" % json.dumps({"key": key, "command": self._job(key)})
        Exchange(self._loop, self._address, request.encode(), ACKNOWLEDGE_WITHIN, lambda line: self._submitted(key, line))

    def _submitted(self, key: str, line: bytes | None) -> None:
        said = good(line)
        if isinstance(said, dict) and "job" in said:
            self.unacknowledged.remove(key)
            self.acknowledged.append(key)
        else:
            self._loop.after(SUBMIT_AGAIN_AFTER, lambda: self._submit(key))


class Program:
    """The whole program."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._loop = Loop()
        self._paused = False
        self._commands = 0
        self._unsent = bytearray()
        self._heard = b""
        self._sites = {name: Site(self._loop, name, address, lambda key: night_jobs.command(key, options.job_seconds, options.witness),
                                  options.key_prefix) for name, address in options.site}
        self._rate: float = options.jobs_per_second

    def run(self) -> None:
        """Until `quit`, the end of stdin, or nobody reads us any more."""
        os.set_blocking(sys.stdout.fileno(), False)  # a slow reader must not make a site look slow
        self._loop.watch(sys.stdin.fileno(), select.EPOLLIN, self._obey)
        for site in self._sites.values():
            self._loop.every(ASK_EVERY, site.ask)
            if self._rate > 0:
                self._loop.every(1 / self._rate, functools.partial(self._submit, site))
        self._loop.every(REPORT_EVERY, self._report)
        self._loop.run()
        os.set_blocking(sys.stdout.fileno(), True)
        self._report()

    def _submit(self, site: Site) -> None:
        if not self._paused:
            site.submit_new()

    def _obey(self) -> None:
        words = os.read(sys.stdin.fileno(), 4096)
        *lines, self._heard = (self._heard + words).split(b"\n")
        for line in lines:
            self._commands += 1
            self._paused = {b"pause": True, b"resume": False}.get(line, self._paused)
            self._loop.ended |= line == b"quit"
        self._loop.ended |= not words

    def _report(self) -> None:
        """Everything up to `now`; what the pipe does not take waits."""
        report = {"now": time.monotonic(), "answers": self._taken("answers"), "acknowledged": self._taken("acknowledged"),
                  "outstanding": sum(len(site.unacknowledged) for site in self._sites.values()), "paused": self._paused,
                  "commands": self._commands, "stalls": self._loop.stalls}
        self._loop.stalls = []
        self._unsent += json.dumps(report).encode() + b"\n"
        try:
            while self._unsent:
                del self._unsent[:os.write(sys.stdout.fileno(), self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            os._exit(1)  # nobody reads us any more

    def _taken(self, name: str) -> dict[str, list[Any]]:
        taken = {}
        for site_name, site in self._sites.items():
            if getattr(site, name):
                taken[site_name] = getattr(site, name)
                setattr(site, name, [])
        return taken


def good(line: bytes | None) -> Any:
    """What an `OK JSON` line carries; None for any other line, or none."""
    word, _, rest = (line or b"").partition(b" ")
    try:
        return json.loads(rest) if word == b"OK" else None
    except ValueError:
        return None


def ask_once(address: Address, request: str, seconds: float) -> Any:
    """One request of whatever size of answer. Raise ClientError unless the site says OK; each step may take `seconds`."""
    try:
        with socket.create_connection(address, seconds) as connection:
            connection.sendall(request.encode() + b"\n")
            with connection.makefile("rb") as reader:
                line = reader.readline()
    except OSError as error:
        raise ClientError("%s: no answer from %s port %d: %s" % (request, *address, error)) from None
    said = good(line)
    if said is None:
        raise ClientError("%s: %s port %d says %r" % (request, *address, line[:200]))
    return said


def _family(address: Address) -> int:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _site(text: str) -> tuple[str, Address]:
    name, _, place = text.partition("=")
    address, _, port = place.rpartition(":")
    return name, (address.strip("[]"), int(port))


def main(arguments: list[str]) -> int:
    """Run the program, or ask one question."""
    parser = argparse.ArgumentParser(description="the user's side of a cluster site")
    parser.add_argument("--site", type=_site, action="append", required=True, metavar="NAME=ADDRESS:PORT")
    parser.add_argument("--jobs-per-second", type=float, default=0.0)
    parser.add_argument("--job-seconds", type=float, default=0.3)
    parser.add_argument("--witness", default="/witness")
    parser.add_argument("--key-prefix", default="%x-" % time.monotonic_ns())
    parser.add_argument("--ask", metavar="REQUEST")
    parser.add_argument("--seconds", type=float, default=LISTING_WITHIN, help="for --ask")
    options = parser.parse_args(arguments)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the lab decides, and our stdin ends
    if options.ask is None:
        Program(options).run()
        return 0
    try:
        print(json.dumps(ask_once(options.site[0][1], options.ask, options.seconds)))
    except ClientError as error:
        print("client: %s" % error, file=sys.stderr)
        return 1
    return 0


# -- the lab's side -----------------------------------------------------------------------------------------------------------------------


class Record:
    """What is known of one site. A night makes millions of answers: 10 bytes each."""

    def __init__(self) -> None:
        self.times = array.array("d")
        self.acknowledged: set[str] = set()
        self._nodes = array.array("H")
        self._names: list[str] = []

    def note(self, answers: Iterable[tuple[float, str]]) -> None:
        """Answers, oldest first."""
        for moment, node in answers:
            if node not in self._names:
                self._names.append(node)
            self.times.append(moment)
            self._nodes.append(self._names.index(node))

    def node(self, index: int) -> str:
        """Who gave an answer."""
        return self._names[self._nodes[index]]

    def since(self, moment: float) -> range:
        """The indexes of all answers later than `moment`."""
        return range(bisect.bisect_right(self.times, moment), len(self.times))


def longest_gap(times: array.array[float], since: float, until: float) -> float:
    """The longest time in the window without an answer, in seconds: between two answers, or between an answer and an edge of the window.

    `times` are in ascending order. A window without any answer is one gap; one that ends before it begins has none.
    """
    inside = times[bisect.bisect_left(times, since):bisect.bisect_right(times, until)]
    longest, before = 0.0, since
    for moment in itertools.chain(inside, (until,)):
        longest = max(longest, moment - before)
        before = moment
    return longest


class Client:
    """Asks and submits to sites from a network namespace, and knows what came back. To be used with `with`; safe in several threads.

    `prefix` is a command that runs another one where the user is, such as nsenter -t PID -n --. `sites` maps a site's name to its address and
    port. It starts at once and is ready when the constructor returns. The thread that makes it must outlive it: the program dies with
    that thread (PR_SET_PDEATHSIG). All methods raise ClientError when the program has died or hangs: that is no outage of a site.
    """

    def __init__(self, prefix: Sequence[str], sites: dict[str, Address], jobs_per_second: float = 0.0, job_seconds: float = 0.3,
                 witness: str = "/witness", key_prefix: str = "") -> None:
        self._prefix, self._sites = list(prefix), dict(sites)
        self._records = {name: Record() for name in sites}
        self._changed = threading.Condition()
        self._report: dict[str, Any] = {}  # the newest one
        self._stalls: list[tuple[float, float]] = []
        self._said = 0  # commands
        self._dead = self._closed = False
        options = ["--jobs-per-second", str(jobs_per_second), "--job-seconds", str(job_seconds), "--witness", witness]
        options += ["--key-prefix=" + key_prefix] if key_prefix else []
        self.program = subprocess.Popen(self._command(sites, *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True, name="client")
        self._reader.start()
        try:
            self._wait(lambda: bool(self._report), PATIENCE, "its first report")
        except BaseException:
            self.close()
            raise
        self.began: float = self._report["now"]

    # -- answers --------------------------------------------------------------------------------------------------------------------------

    def outage(self, site: str, since: float, until: float | None = None) -> float:
        """The longest time in [since, until] without an answer, in seconds; the edges of the window count as answers. See longest_gap.

        Without `until`: until now. Waits for the report that covers the window, usually less than 0.1 s.
        """
        until = self._until(until)
        with self._changed:
            return longest_gap(self._records[site].times, since, until)

    def answers(self, site: str, since: float = 0.0) -> list[tuple[float, str]]:
        """(time, node) of all answers reported so far that are later than `since`."""
        with self._changed:
            record = self._records[site]
            return [(record.times[index], record.node(index)) for index in record.since(since)]

    def answers_after(self, site: str, moment: float, node: str | None = None) -> bool:
        """Whether anybody, or that node, has answered after that moment."""
        with self._changed:
            self._check()
            record = self._records[site]
            later = record.since(moment)
            return len(later) > 0 if node is None else any(record.node(index) == node for index in later)

    def last_answer(self, site: str) -> float | None:
        """When the newest answer came."""
        with self._changed:
            self._check()
            times = self._records[site].times
            return times[-1] if times else None

    def who_answers(self, site: str) -> str | None:
        """The node that gave the newest answer."""
        with self._changed:
            self._check()
            record = self._records[site]
            return record.node(-1) if record.times else None

    def silent_for(self, site: str) -> float:
        """Seconds from the newest answer (or from our beginning) to the newest report."""
        with self._changed:
            self._check()
            times = self._records[site].times
            return max(0.0, float(self._report["now"]) - (times[-1] if times else self.began))

    def stall(self, since: float, until: float | None = None) -> float:
        """The longest time in seconds that the program itself did not get the CPU in a window: an outage may be too long by as much."""
        until = self._until(until)
        with self._changed:
            return max((seconds for end, seconds in self._stalls if end > since and end - seconds < until), default=0.0)

    # -- jobs -----------------------------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """No new jobs; those on their way are submitted until they are acknowledged."""
        self._say("pause")

    def resume(self) -> None:
        """Submit new jobs again."""
        self._say("resume")

    def settled(self, seconds: float = 30.0) -> bool:
        """Whether, within `seconds`, submitting is paused and no job (of any site) waits for its acknowledgement."""
        def quiet() -> bool:
            report = self._report
            return report["commands"] == self._said and report["paused"] and not report["outstanding"]
        with self._changed:
            self._changed.wait_for(lambda: quiet() or self._dead, seconds)
            self._check()
            return quiet()

    def outstanding(self) -> int:
        """How many jobs wait for their acknowledgement, all sites together."""
        with self._changed:
            self._check()
            return int(self._report["outstanding"])

    def acknowledged(self, site: str) -> set[str]:
        """The keys of all jobs that the site has acknowledged."""
        with self._changed:
            return set(self._records[site].acknowledged)

    def ask(self, site: str, request: str = "LIST", seconds: float = LISTING_WITHIN) -> Any:
        """One request from where the user is; return what the site answered. Raise ClientError if nothing good came within `seconds`."""
        command = self._command({site: self._sites[site]}, "--ask", request, "--seconds", str(seconds))
        try:
            asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ClientError("%s: %s said nothing for %.0f s" % (request, site, seconds)) from None
        if asked.returncode != 0:
            raise ClientError(asked.stderr.strip())
        return json.loads(asked.stdout)

    # -- the program ----------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the program; what it reported can still be asked for."""
        assert self.program.stdin and self.program.stdout
        with self._changed:
            self._closed = True
        self.program.stdin.close()  # which it takes for `quit`
        try:
            self.program.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self.program.kill()
            self.program.wait()
        self._reader.join(PATIENCE)
        self.program.stdout.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, sites: dict[str, Address], *options: str) -> list[str]:
        named = ["--site=%s=%s:%d" % (name, *address) for name, address in sites.items()]
        return [*self._prefix, sys.executable, os.path.abspath(__file__), *named, *options]

    def _say(self, command: str) -> None:
        assert self.program.stdin
        with self._changed:
            self._check()
            self._said += 1
            try:
                os.write(self.program.stdin.fileno(), command.encode() + b"\n")
            except OSError as error:
                raise ClientError("the client's program hears nothing: %s" % error) from None

    def _read(self) -> None:
        """Take in the reports, in a thread of its own, until the program ends."""
        assert self.program.stdout
        for line in self.program.stdout:
            if line.endswith(b"\n"):  # else it was killed while it wrote
                self._take(json.loads(line))
        with self._changed:
            self._dead = True
            self._changed.notify_all()

    def _take(self, report: dict[str, Any]) -> None:
        with self._changed:
            self._report = report
            self._stalls += report["stalls"]
            for name, answers in report["answers"].items():
                self._records[name].note(answers)
            for name, keys in report["acknowledged"].items():
                self._records[name].acknowledged.update(keys)
            self._changed.notify_all()

    def _until(self, until: float | None) -> float:
        """The end of a window, once the reports cover it."""
        if until is None:
            until = float(self._report["now"]) if self._closed else time.monotonic()
        end = until
        self._wait(lambda: self._report["now"] >= end, max(0.0, end - time.monotonic()) + PATIENCE, "its report of that time")
        return until

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._dead, seconds)
            self._check()
            if not condition():
                raise ClientError("the client's program: waited %.0f s in vain for %s" % (seconds, what))

    def _check(self) -> None:
        if self._closed:
            return
        if self._dead:
            raise ClientError("the client's program has ended with code %s" % self.program.wait(PATIENCE))
        if self._report and time.monotonic() - self._report["now"] > PATIENCE:
            raise ClientError("the client's program has said nothing for more than %.0f s" % PATIENCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
