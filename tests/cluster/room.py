"""A room that outlives the command that opened it: for `make cluster-up` and `make demo KEEP=1`. One for each checkout.

The room is what tests/lab/run_in_node.py makes. Its process is known by pid and start time, in .venv/cluster.json.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Optional

import psutil

PROJECT = pathlib.Path(__file__).resolve().parents[2]
STATE = PROJECT / ".venv/cluster.json"
LOCK = PROJECT / ".venv/cluster.lock"
RUN_IN_NODE = PROJECT / "tests/lab/run_in_node.py"
SOCKET = "mnt/cluster/power/socket"
END_SECONDS = 30.0  # for a room to end, before it is killed and after
NONE, COMING_UP = "no cluster of this checkout is up", "the cluster is still coming up: ask again in a few seconds"


class NoRoom(Exception):
    """There is no such room, or there is one already, or it does not end; the text says what to do."""


def open_room(program: list[str]) -> int:
    """Run a program in a room that stays; return the code that it gives to stay(), or with which it ended. Raise NoRoom if one is open."""
    reader, writer = os.pipe()
    with _nobody_else():
        if find() is not None:
            raise NoRoom("a cluster of this checkout is up already: make cluster-shell NODE=node1, or make cluster-down")
        room = _start(program, writer)
        STATE.write_text(json.dumps({"pid": room.pid, "started": psutil.Process(room.pid).create_time()}))
    os.close(writer)
    said = b""
    try:
        said = _pass_on(room, reader)
        return int(said) if said else room.wait() or 1
    finally:
        if not said:  # it failed, or Ctrl-C: what is half up is taken down, and what is gone already is no news
            with contextlib.suppress(NoRoom):
                close_room()


def _start(program: list[str], writer: int) -> subprocess.Popen[bytes]:
    """The room gets no terminal and no pipe of ours, which it would keep open: what it says is passed on as long as we wait for it."""
    os.set_inheritable(writer, True)
    return subprocess.Popen([sys.executable, str(RUN_IN_NODE), sys.executable, *program, "--keep", str(writer)], cwd=PROJECT,
                            start_new_session=True, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=dict(os.environ, **({"FORCE_COLOR": "1"} if sys.stdout.isatty() else {})))


@contextlib.contextmanager
def _nobody_else() -> Iterator[None]:
    """Meanwhile nobody else opens or closes a room of this checkout."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pass_on(room: subprocess.Popen[bytes], reader: int) -> bytes:
    """Print what the room says until it gives its code or ends; return the code, or nothing."""
    assert room.stdout
    said, output = b"", room.stdout.fileno()
    while not said:
        ready = select.select([reader, output], [], [])[0]
        if output in ready:  # first: the code comes after the words
            words = os.read(output, 1 << 16)
            sys.stdout.buffer.write(words)
            sys.stdout.flush()
            if not words:
                break
        else:
            said = os.read(reader, 16)
    return said


def stay(descriptor: int, code: int) -> None:
    """In the room: give `code` to whoever opened it, say nothing more, and stay until the room is closed."""
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.write(descriptor, b"%d\n" % code)
    os.close(descriptor)
    while True:
        signal.pause()


def find() -> Optional[psutil.Process]:
    """The process of this checkout's room, None when there is none."""
    try:
        state = json.loads(STATE.read_text())
        process = psutil.Process(state["pid"])
        return process if process.create_time() == state["started"] and _lives(process) else None
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def close_room() -> None:
    """End the room and all in it; return when all is gone. Raise NoRoom when there is none, or when something of it is left."""
    with _nobody_else():
        room = find()
        if room is not None:
            _end(room)
        STATE.unlink(missing_ok=True)
    if room is None:
        raise NoRoom(NONE)


def _end(room: psutil.Process) -> None:
    """Have the room end, or kill it. Raise NoRoom when it lives on."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = [room, *room.children(recursive=True)]
        room.terminate()
        for process in _left(processes, END_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        left = _left(processes, END_SECONDS)
        if left:
            raise NoRoom("killed, but still there: process %s. Once they are gone: make cluster-down" % ", ".join(str(each.pid) for each in left))


def _left(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still live after that time; returns as soon as there are none. Not psutil.wait_procs: that waits for zombies, too."""
    end = time.monotonic() + seconds
    while any(map(_lives, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return list(filter(_lives, processes))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _inside() -> tuple[psutil.Process, list[psutil.Process]]:
    """The room's process 1, as this machine sees it, and all processes in there. Raise NoRoom."""
    room = find()
    if room is None:
        raise NoRoom(NONE + ": make cluster-up")
    try:
        processes = room.children(recursive=True)
        return room.children()[0].children()[0], processes
    except psutil.Error:
        raise NoRoom("the cluster is going down") from None
    except IndexError:
        raise NoRoom(COMING_UP) from None


def node_pid(name: str) -> int:
    """The pid, on this machine, of process 1 of a node. Raise NoRoom when there is no such node, or it is off."""
    names = []
    for child in _inside()[1]:
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if len(words) > 3 and words[2].endswith("/tests/cluster/init.py"):
            names.append(words[3])
            if words[3] == name:
                return int(child.pid)
    raise NoRoom("no node '%s' is on: there are %s" % (name, " ".join(sorted(names)) or "none"))


def ask_power(request: str) -> str:
    """Ask the room's power controller; return its answer. Raise NoRoom, OSError."""
    path = "/proc/%d/root/%s" % (_inside()[0].pid, SOCKET)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoRoom(COMING_UP) from None
        connection.sendall(request.encode() + b"\n")
        with connection.makefile() as answer:
            return answer.readline().strip()
