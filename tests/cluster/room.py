"""A room that outlives the command that opened it: for `make cluster-up` and `make demo KEEP=1`. One for each checkout.

The room is what tests/lab/run_in_node.py makes. Its process is known by pid and start time, in .venv/cluster.json.
"""
from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
from typing import Optional

import psutil

PROJECT = pathlib.Path(__file__).resolve().parents[2]
STATE = PROJECT / ".venv/cluster.json"
RUN_IN_NODE = PROJECT / "tests/lab/run_in_node.py"
SOCKET = "mnt/cluster/power/socket"


class NoRoom(Exception):
    """There is no such room, or there is one already; the text says what to do."""


def open_room(program: list[str]) -> int:
    """Run a program in a room that stays; return the code that it gives to stay(), or with which it ended. Raise NoRoom if one is open."""
    if find() is not None:
        raise NoRoom("a cluster of this checkout is up already: make cluster-shell NODE=node1, or make cluster-down")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # the room gets no terminal and no pipe of ours, which it would keep open: what it says is passed on as long as we wait for it
    room = subprocess.Popen([sys.executable, str(RUN_IN_NODE), sys.executable, *program, "--keep", str(writer)], cwd=PROJECT,
                            start_new_session=True, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=dict(os.environ, **({"FORCE_COLOR": "1"} if sys.stdout.isatty() else {})))
    os.close(writer)
    STATE.write_text(json.dumps({"pid": room.pid, "started": psutil.Process(room.pid).create_time()}))
    try:
        said = _pass_on(room, reader)
    except BaseException:  # Ctrl-C above all: what is half up is taken down
        close_room()
        raise
    if said:
        return int(said)
    close_room()
    return room.wait() or 1


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
        return process if process.create_time() == state["started"] and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def close_room() -> None:
    """End the room and all in it; return when it is gone. Raise NoRoom when there is none."""
    process = find()
    STATE.unlink(missing_ok=True)
    if process is None:
        raise NoRoom("no cluster of this checkout is up")
    inside = process.children(recursive=True)
    process.terminate()
    process.wait(30)
    psutil.wait_procs(inside, 30)


def node_pid(name: str) -> int:
    """The pid, on this machine, of process 1 of a node. Raise NoRoom when there is no such node, or it is off."""
    process = find()
    if process is None:
        raise NoRoom("no cluster of this checkout is up: make cluster-up")
    names = []
    for child in process.children(recursive=True):
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
    process = find()
    if process is None:
        raise NoRoom("no cluster of this checkout is up: make cluster-up")
    inner = process.children()[0].children()[0]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect("/proc/%d/root/%s" % (inner.pid, SOCKET))
        connection.sendall(request.encode() + b"\n")
        with connection.makefile() as answer:
            return answer.readline().strip()
