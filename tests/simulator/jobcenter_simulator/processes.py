"""The daemons of a site as processes of this node: who they are, are they alive, ending them.

The pid file has one line per daemon: role, pid, start time in clock ticks since boot. Only both
numbers together name a process, because pids are used again.
"""
import os
import time

POLL_SECONDS = 0.01


def start_time(pid):
    """Return the start time of a living process in ticks, None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # the command name may hold blanks and parentheses; fields are safe after the last ")"
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class Process:
    """A daemon: role, pid and start time."""

    def __init__(self, role, pid, started):
        self.role = role
        self.pid = pid
        self.started = started

    def __str__(self):
        return f"{self.role} (pid {self.pid})"

    def is_alive(self):
        """Is this very process still alive?"""
        return self.started is not None and start_time(self.pid) == self.started

    def send(self, number):
        """Send a signal; a process that has gone meanwhile is fine."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def write_pid_file(path, processes):
    """Write the pid file at once as a whole: status may read it at any moment."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="ascii") as file:
        for process in processes:
            file.write(f"{process.role} {process.pid} {process.started}\n")
    os.rename(draft, path)


def read_pid_file(path):
    """Return the processes in a pid file; [] if there is none."""
    try:
        with open(path, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [Process(role, int(pid), int(started)) for role, pid, started in lines]


def end(processes, wait_seconds):
    """Ask processes to end with TERM; return those still alive after `wait_seconds`."""
    import signal  # late: it brings in enum, which status does not need
    for process in processes:
        if process.is_alive():
            process.send(signal.SIGTERM)
    deadline = time.monotonic() + wait_seconds
    while True:
        left = [process for process in processes if process.is_alive()]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(POLL_SECONDS)
