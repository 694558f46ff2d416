"""Other processes on the node: who listens, sits at a terminal, or holds a file system, and only sometimes belongs to a site."""
from __future__ import annotations

import os
import pathlib
import pty
import signal
import subprocess

from lab.site import Site, wait_until

LISTEN = "import socket, sys, time; s = socket.create_server((sys.argv[1], int(sys.argv[2]))); print('ready', flush=True); time.sleep(1000)"
CROWD = """import os, sys, time
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
print('ready', flush=True)
time.sleep(1000)
"""
# dirty pages of a shared mapping are written when something else is mapped over them, under the lock of the process's memory map
STUCK_IN_MMAP = """import ctypes, os, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
address = libc.mmap(None, 16384, 3, 1, os.open(sys.argv[1], os.O_RDWR), 0)
ctypes.memset(address, 1, 10)
print('ready', flush=True)
libc.mmap(address, 16384, 3, 2 | 16 | 32, -1, 0)
time.sleep(1000)
"""


def ready(child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Wait until a child has said `ready`; return it."""
    assert child.stdout and child.stdout.readline() == b"ready\n"
    return child


def python(site: Site, script: str, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    """Run a Python script in a session of its own until the teardown; return once it has said `ready`."""
    options: dict[str, object] = dict({"cwd": "/", "env": {}}, **more)
    return ready(site.popen("/usr/bin/python3", "-I", "-c", script, *arguments, stdout=subprocess.PIPE, start_new_session=True, **options))


def shell(site: Site, script: str, *before: str, **more: object) -> subprocess.Popen[bytes]:
    """Run a shell script in a session of its own, as `python` does; `before` is a command that runs it (unshare ...)."""
    return ready(site.popen(*before, "sh", "-c", script, stdout=subprocess.PIPE, start_new_session=True, **more))


class AtTerminal:
    """A program with a controlling terminal, as an operator runs it; to be used with `with`, whose end ends it."""

    def __init__(self, *command: str, cwd: str = "/", environment: dict[str, str] | None = None) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execve(command[0], list(command), environment or {})
            finally:
                os._exit(70)
        ours = pathlib.Path("/proc/self/cmdline").read_bytes()
        wait_until(lambda: pathlib.Path("/proc/%d/cmdline" % self.pid).read_bytes() not in (ours, b""))  # until its exec is at its end
        self._ended = False

    def alive(self) -> bool:
        """Whether it still runs."""
        if not self._ended:
            self._ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return not self._ended

    def wait_for(self, text: bytes) -> None:
        """Read what it prints until `text` comes."""
        said = b""
        while text not in said:
            said += os.read(self._terminal, 1000)

    def __enter__(self) -> AtTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)


def end_crowd(leader: subprocess.Popen[bytes]) -> None:
    """End all children of a CROWD, and itself."""
    subprocess.run(["pkill", "-KILL", "-P", str(leader.pid)], check=False)
    leader.kill()
    leader.wait()
