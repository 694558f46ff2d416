"""The daemons of a site: what each does, and how `cjcpw start` brings them to life.

net listens and answers clients, sched runs the jobs, log writes a heartbeat. Each keeps its own log file
in the site DB open, so the shared disk is busy while it lives.
"""
import contextlib
import errno
import os
import select
import signal
import socket
import sqlite3
import threading
import time

from . import jobs, protocol
from .config import node_name
from .outcome import ADDRESS_NOT_HERE, PORT_TAKEN, Refusal
from .processes import POLL_SECONDS, Process, start_time

ROLES = ("net", "sched", "log")
JOBS_AT_ONCE = 4
JOB_GRACE_SECONDS = 1.0
HEARTBEAT_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.5


class SiteLog:
    """A log file in the site DB. It stays open, and thereby holds the mount, unless `hold` is false."""

    def __init__(self, path, hold):
        self.path = path
        self.descriptor = None
        descriptor = self._open()
        if hold:
            self.descriptor = descriptor
        else:
            os.close(descriptor)

    def _open(self):
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, text):
        """Append one line. A full or lost disk must not end the daemon."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} SIMULATOR {node_name()} {os.getpid()} {text}\n"
        with contextlib.suppress(OSError):
            descriptor = self._open() if self.descriptor is None else self.descriptor
            try:
                os.write(descriptor, line.encode())
            finally:
                if self.descriptor is None:
                    os.close(descriptor)


class Daemon:
    """What the three have in common: the log file, the wish to end, waiting for events."""

    role = ""

    def __init__(self, site_name, site_db, faults):
        self.site_name = site_name
        self.database = f"{site_db}/nqs/jobs.db"
        self.faults = faults
        self.log_path = f"{site_db}/nqs/log/{self.role}.log"
        self.stopping = False

    def set_up(self):
        """Prepare for work; an exception here makes `cjcpw start` fail."""
        self.log = SiteLog(self.log_path, hold=not self.faults.has("daemons", "no-hold"))
        self.log.write(f"{self.role} of site {self.site_name} starts")
        # signals wake the select() in wait() through this pipe
        self.wakeup, writer = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if self.faults.has("daemons", "ignore-term"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, self.ask_to_stop)

    def ask_to_stop(self, *_):
        """Signal handler: leave the main loop."""
        self.stopping = True

    def wait(self, seconds, descriptors=()):
        """Return those of `descriptors` that are ready, after a signal or `seconds` at the latest."""
        ready = select.select([self.wakeup, *descriptors], [], [], seconds)[0]
        if self.wakeup in ready:
            ready.remove(self.wakeup)
            with contextlib.suppress(BlockingIOError):
                os.read(self.wakeup, 4096)
        return ready

    def work(self):
        """Main loop; returns when `stopping`."""
        raise NotImplementedError

    def run(self):
        """Work until asked to stop."""
        self.work()
        self.log.write(f"{self.role} ends")


class Net(Daemon):
    """Answers clients on the site's addresses."""

    role = "net"

    def __init__(self, site_name, site_db, faults, listeners, doorbell):
        super().__init__(site_name, site_db, faults)
        self.listeners = listeners
        self.doorbell = doorbell
        self.keep = [*(listener.fileno() for listener in listeners), doorbell]

    def work(self):
        answers = protocol.Answers(self.site_name, node_name(), self.database, self.ring)
        while not self.stopping:
            for listener in self.wait(LOOK_AGAIN_SECONDS, self.listeners):
                with contextlib.suppress(OSError):
                    connection = listener.accept()[0]
                    threading.Thread(target=protocol.serve, args=(connection, answers), daemon=True).start()

    def ring(self):
        """Tell sched that there is a new job. Without sched the job simply waits in the queue."""
        with contextlib.suppress(OSError):
            os.write(self.doorbell, b"!")


class Sched(Daemon):
    """Runs queued jobs, several at once, each in a session of its own."""

    role = "sched"

    def __init__(self, site_name, site_db, faults, doorbell):
        super().__init__(site_name, site_db, faults)
        self.doorbell = doorbell
        self.keep = [doorbell]
        self.running = {}   # pid -> run id
        self.finished = []  # (run id, exit code), not yet in the ledger

    def set_up(self):
        super().set_up()
        lost = jobs.put_back_lost(self.database)
        self.log.write(f"{lost} jobs left running by an earlier scheduler are queued again")

    def work(self):
        doorbells = [self.doorbell]
        while not self.stopping:
            try:
                self.reap()
                self.write_ledger()
                self.start_queued()
            except (sqlite3.Error, OSError) as error:
                self.log.write(f"site DB: {error}")
            if self.wait(LOOK_AGAIN_SECONDS, doorbells) and not os.read(self.doorbell, 4096):
                doorbells = []  # net has died: its end of the pipe would wake us for ever
        self.end_jobs()

    def start_queued(self):
        """Start as many queued jobs as there are free places."""
        free = JOBS_AT_ONCE - len(self.running)
        for run, job, command in jobs.claim(self.database, node_name(), free):
            pid = self.spawn(command)
            self.running[pid] = run
            self.log.write(f"job {job} runs as pid {pid}")
            jobs.note_pid(self.database, run, pid)

    def spawn(self, command):
        """Start one job and return its pid."""
        environment = dict(os.environ, NQS_SITE=self.site_name)
        stdio = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                 (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
        return os.posix_spawn("/bin/sh", ["/bin/sh", "-c", command], environment, file_actions=stdio,
                              setsid=True, setsigdef=[signal.SIGTERM, signal.SIGPIPE])

    def reap(self):
        """Collect jobs that have ended."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self.finished.append((self.running.pop(pid), shell_exit_code(status)))

    def write_ledger(self):
        """Write ended jobs into the ledger; what cannot be written now is tried again later."""
        while self.finished:
            jobs.finish(self.database, *self.finished[0])
            del self.finished[0]

    def end_jobs(self):
        """End running jobs, TERM then KILL, and put them back into the queue."""
        with contextlib.suppress(sqlite3.Error, OSError):
            self.reap()
            self.write_ledger()
        stopped = list(self.running.values())
        for number, seconds in ((signal.SIGTERM, JOB_GRACE_SECONDS), (signal.SIGKILL, JOB_GRACE_SECONDS)):
            for pid in self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            deadline = time.monotonic() + seconds
            while self.running and time.monotonic() < deadline:
                self.reap()
                time.sleep(POLL_SECONDS)
        with contextlib.suppress(sqlite3.Error, OSError):
            jobs.put_back_stopped(self.database, stopped)
            self.log.write(f"{len(stopped)} running jobs were ended and queued again")


class Log(Daemon):
    """Writes a heartbeat."""

    role = "log"
    keep = ()

    def work(self):
        while not self.stopping:
            self.log.write("heartbeat")
            self.wait(HEARTBEAT_SECONDS)


def shell_exit_code(status):
    """Translate a wait status into the exit code that a shell would show: 128 + N for signal N."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def listen(addresses, port):
    """Return listening sockets on exactly these addresses, or refuse."""
    listeners = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((address, port))
            listener.listen(128)
        except OSError as error:
            for other in [*listeners, listener]:
                other.close()
            if error.errno == errno.EADDRINUSE:
                raise Refusal(PORT_TAKEN, f"{address} port {port} is taken by another process") from None
            raise Refusal(ADDRESS_NOT_HERE, f"cannot listen on {address} port {port}: {error.strerror}; "
                                            "is the address on this node?") from None
        listeners.append(listener)
    return listeners


class Starting:
    """A daemon that waits for the word to go: its process and the socket to talk to it."""

    def __init__(self, process, socket_to_daemon):
        self.process = process
        self.socket = socket_to_daemon

    def go(self):
        """Let the daemon work. Return None once it is set up, else what went wrong."""
        try:
            self.socket.sendall(b"go")
            answer = self.socket.recv(4096).decode("utf-8", "replace")
        except OSError as error:
            answer = str(error)
        return None if answer == "ready" else f"{self.process}: {answer or 'died while starting'}"


def fork_all(site_name, site_db, listeners, faults, orphans):
    """Fork the daemons, which then wait for Starting.go(). Return a list of Starting.

    They wait so that the pid file can be written before they do anything: a `cjcpw start` that is killed
    half way leaves no daemon that `cjcpw stop` does not know. With `orphans` they become children of init.
    """
    hear, ring = os.pipe()
    os.set_blocking(ring, False)
    made = [Net(site_name, site_db, faults, listeners, ring), Sched(site_name, site_db, faults, hear),
            Log(site_name, site_db, faults)]
    starting = [fork(daemon, orphans) for daemon in made]
    for listener in listeners:
        listener.close()
    os.close(hear)
    os.close(ring)
    return starting


def fork(daemon, orphan):
    """Fork one daemon."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        live(daemon, theirs, orphan)
    theirs.close()
    if orphan:
        os.waitpid(child, 0)
    pid = int(ours.recv(64))
    return Starting(Process(daemon.role, pid, start_time(pid)), ours)


def live(daemon, starter, orphan):
    """Be the daemon, in the forked process, until its end. Never returns."""
    code = 1
    try:
        if orphan and os.fork():
            os._exit(0)
        detach(daemon, keep=[starter.fileno(), *daemon.keep])
        starter.sendall(str(os.getpid()).encode())
        if starter.recv(16) != b"go":
            os._exit(1)
        try:
            misbehave(daemon)
            daemon.set_up()
        except (OSError, sqlite3.Error) as error:
            starter.sendall(str(error).encode("utf-8", "replace"))
            os._exit(1)
        starter.sendall(b"ready")
        starter.close()
        daemon.run()
        code = 0
    finally:
        os._exit(code)  # not sys.exit: this process is a copy of cjcpw and must not run its endings


def detach(daemon, keep):
    """Leave everything of the caller behind: session, working directory, descriptors, signal mask."""
    os.setsid()
    os.chdir("/")
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(f"jcsim-{daemon.role}")
    if daemon.faults.has("daemons", "keep-output-open"):
        keep = [1, 2, *keep]
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor not in keep:
            with contextlib.suppress(OSError):  # the listing's own descriptor is closed already
                os.close(descriptor)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        if descriptor not in keep:
            os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def misbehave(daemon):
    """Set up the faults on purpose of a daemon that are not part of its work."""
    rewrite = daemon.faults.argument("daemons", "rewrite-environ")
    if rewrite == "all" or rewrite == "" and daemon.role in ("net", "sched"):
        overwrite_own_environ()
    if daemon.faults.has("daemons", "keep-output-open"):
        threading.Thread(target=write_for_ever, args=(daemon.role,), daemon=True).start()
    die_after = daemon.faults.argument("daemons", "die-after")
    if die_after:
        seconds, _, role = die_after.partition(":")
        if role in ("", daemon.role):
            # nobody handles SIGALRM, so the kernel ends the process in whatever it is doing
            signal.setitimer(signal.ITIMER_REAL, max(float(seconds), 0.001))


def overwrite_own_environ():
    """Blank the memory that /proc/PID/environ shows, as daemons that set their process title do."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, see proc(5)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(bytes(end - start))


def write_for_ever(role):
    """Write to the inherited standard output and error once a second."""
    while True:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.write(descriptor, f"SIMULATOR {role} still writes to cjcpw's output\n".encode())
        time.sleep(1)
