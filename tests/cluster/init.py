"""Process 1 of a cluster node: make its root file system, say so, boot, and reap what is left to it.

    python3 -I init.py NAME STAGE LOWER DISK=MAJOR:MINOR ...      (in new pid, mount, uts, ipc and net namespaces)

One line on standard output tells that the node is ready for its cable. What booting says is in the node's /var/log/boot.log.
"""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lab.run_in_node import make_root  # noqa: E402

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
OUTSIDE = ("/power", "/witness")  # folders of the room that the node reaches: the controller's socket, the jobs' testimony


def main(name: str, stage: str, lower: str, *disks: str) -> None:
    """Never returns: the node's power is this process."""
    socket.sethostname(name)
    room = os.path.dirname(stage)
    make_root(stage, lower, {room + folder: folder for folder in OUTSIDE})
    for words in disks:
        disk, _, number = words.partition("=")
        major, minor = number.split(":")
        os.mknod("/dev/" + disk, 0o60660, os.makedev(int(major), int(minor)))
    os.write(1, b"ready\n")
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    with open("/var/log/boot.log", "wb") as log:
        subprocess.Popen(["/bin/sh", "/etc/lab-boot"], stdout=log, stderr=log, start_new_session=True, env=ENVIRONMENT)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # after Popen: the mask would be inherited
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigtimedwait({signal.SIGCHLD}, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
