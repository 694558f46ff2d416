"""The user's side must see outages as they are, and account for every job: with a real simulated site, and with a server that misbehaves exactly."""
from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

import pytest

from cluster import client as client_module
from cluster import night_jobs
from cluster.client import ANSWER_WITHIN, ASK_EVERY, MOST_UNACKNOWLEDGED, Client, ClientError, longest_gap
from lab import ON_NODE

pytestmark = pytest.mark.skipif(not ON_NODE, reason="needs the throwaway node: run `make test` as root on Debian")

SITE = "jobsiteA"
ADDRESS, PORT = "127.77.0.1", 20816  # nobody else is on the node; below the ephemeral ports, lest a client connects to itself
SITES = {SITE: (ADDRESS, PORT)}
SIMULATOR = pathlib.Path(__file__).resolve().parents[1] / "simulator"
PROGRAM = str(pathlib.Path(client_module.__file__))
GAP = 0.6  # seconds of a deliberate outage
NOISE = 0.1  # seconds by which an answer may be noted late on a busy machine

CUT = b"|"  # where a fake site pauses in its answer
PONG = b'OK {"site": "jobsiteA", "node": "node1"}\n'
Answer = Callable[[bytes], Optional[bytes]]  # None: hold the connection and say nothing


def wait_until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true value of a condition; fail after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "waited %.0f s in vain" % seconds
        time.sleep(0.005)


class FakeSite:
    """A server on a site's address that answers each line with what `answer` makes of it. `heard` are all lines, `most` the most connections."""

    def __init__(self, answer: Answer, port: int = PORT) -> None:
        self.heard: list[bytes] = []
        self.open = self.most = 0
        self._answer, self._place = answer, (ADDRESS, port)
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self._up = False
        self.start()

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server(self._place, backlog=200)
        self._up = True
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be gone: when this returns, nothing is answered any more."""
        with self._lock:
            self._up = False
            for connection in [self._listener, *self._held]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes accept and recv
        self._thread.join()
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.most = max(self.most, self.open)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            line = reader.readline()
            self.heard.append(line)
            said = self._answer(line)
            if said is None:
                self._held.append(connection)
                connection.recv(1)  # until the client gives up
            for piece in said.split(CUT) if said else ():
                with self._lock:
                    if self._up:
                        connection.sendall(piece)
                time.sleep(0.02)
        with self._lock:
            self.open -= 1


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeSite]]:
    """Makes fake sites, and ends them."""
    made: list[FakeSite] = []

    def make(answer: Answer = lambda _: PONG, port: int = PORT) -> FakeSite:
        made.append(FakeSite(answer, port))
        return made[-1]
    yield make
    for site in made:
        with contextlib.suppress(OSError):
            site.stop()


class RealSite:
    """jobsiteA of the simulator, with a product tree of its own."""

    def __init__(self, root: pathlib.Path, port: int) -> None:
        self._home = root / "usr/lib/nqs"
        subprocess.run([SIMULATOR / "install", "--root", root, "--listen-port", str(port)], check=True, stdout=subprocess.DEVNULL)
        self.command("cjcmksite", "-d", str(root / "share/job_site"), "-n", SITE, "-i", ADDRESS)

    def command(self, *words: str) -> None:
        """Run one of its commands; it must work."""
        environment = {"PATH": "/usr/bin:/bin", "NQS_SITE": SITE, "JCSIM_NODE": "node1"}
        subprocess.run([self._home / words[0], *words[1:]], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=30)


@pytest.fixture
def real(tmp_path: pathlib.Path) -> Iterator[Callable[..., RealSite]]:
    """Makes the real site and starts it, and stops it."""
    made: list[RealSite] = []

    def make(port: int = PORT) -> RealSite:
        made.append(RealSite(tmp_path, port))
        made[-1].command("cjcpw", "start")
        return made[-1]
    yield make
    for site in made:
        site.command("cjcpw", "stop")


@pytest.fixture
def witness(tmp_path: pathlib.Path) -> str:
    """An empty folder for the jobs' testimony."""
    (tmp_path / "witness").mkdir()
    return str(tmp_path / "witness")


def answered(user: Client, since: float) -> None:
    """Wait for an answer that came after that moment."""
    wait_until(lambda: user.answers_after(SITE, since))


# -- answers ------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("times, expected", [
    ([], 10.0), ([9.0, 21.0], 10.0), ([12.0], 8.0), ([18.0], 8.0), ([11.0, 19.0], 8.0), ([10.0, 14.0, 15.0, 20.0], 5.0), ([9.9, 10.1, 19.9, 20.5], 9.8)])
def test_the_longest_gap_includes_the_edges_of_the_window(times, expected):
    assert longest_gap(client_module.array.array("d", times), 10.0, 20.0) == pytest.approx(expected)


def test_a_window_that_ends_before_it_begins_has_no_gap():
    assert longest_gap(client_module.array.array("d", [1.0]), 5.0, 4.0) == 0.0


def test_an_outage_is_as_long_as_nobody_listens(fake):
    server = fake()
    with Client([], SITES) as user:
        answered(user, user.began)
        server.stop()
        down = time.monotonic()
        wait_until(lambda: time.monotonic() > down + GAP and user.silent_for(SITE) > GAP / 2)
        assert user.outage(SITE, down) >= GAP, "it is not over yet"
        up = time.monotonic()
        server.start()
        answered(user, up)
        assert up - down - NOISE <= user.outage(SITE, user.began) < up - down + 1
        assert user.outage(SITE, down + NOISE, down + NOISE + 0.2) == pytest.approx(0.2), "clipped to the window"
    assert user.outage(SITE, user.began) >= up - down - NOISE, "also when the program has ended"


def test_an_outage_of_a_real_site(real):
    site = real()
    with Client([], SITES) as user:
        answered(user, user.began)
        site.command("cjcpw", "stop")
        down = time.monotonic()
        wait_until(lambda: user.silent_for(SITE) > GAP)
        up = time.monotonic()
        site.command("cjcpw", "start")
        answered(user, up)
        assert up - down <= user.outage(SITE, user.began) < time.monotonic() - down + 1
        assert user.who_answers(SITE) == "node1"
        assert user.answers_after(SITE, up, "node1") and not user.answers_after(SITE, up, "node2")
        assert up < user.last_answer(SITE) < time.monotonic()


def test_a_hundred_asks_a_second_though_nobody_answers_and_no_more_than_a_second_of_them_open(fake):
    server = fake(lambda _: None)
    most = ANSWER_WITHIN / ASK_EVERY
    with Client([], SITES) as user:
        wait_until(lambda: len(server.heard) > 2 * most)
        seconds = time.monotonic() - user.began
        assert seconds < 2 * ANSWER_WITHIN + 2
        assert most / 2 < server.most <= most * 1.2
        assert user.last_answer(SITE) is None and user.who_answers(SITE) is None
        assert user.silent_for(SITE) == pytest.approx(user.outage(SITE, user.began), abs=0.5)


WRONG = [b'OK {"site": "jobsiteB", "node": "node1"}\n', b'OK {"node": "node2"}\n', b'OK {"site": "jobsiteA"}\n', b'OK {"site": "jobsiteA", "node": 3}\n',
         b'ERROR PING: OperationalError\n', b'OK {"site": "jobsi\n', b'OK {"site": "jobsiteA", "node": "no newline"}', b"OK []\n", b"OK\n", b"\n", b"",
         b"\xff\xfe\n", b"PING\n", b'ERROR {"site": "jobsiteA", "node": "no"}\n', b"OK " + 100000 * b"x"]


def test_only_the_right_answer_of_the_right_site_counts(fake):
    wrong = itertools.cycle(WRONG)
    server = fake(lambda _: next(wrong))
    with Client([], SITES) as user:
        wait_until(lambda: len(server.heard) > 3 * len(WRONG))
        assert user.outage(SITE, user.began) > 0.3
        assert user.answers(SITE) == []


def test_an_answer_in_pieces_counts(fake):
    fake(lambda _: b'O|K {"site": "jobs|iteA", "node": "node1"}|\n')
    with Client([], SITES) as user:
        answered(user, user.began)


def test_two_sites_are_told_apart(fake):
    fake()
    with Client([], {**SITES, "jobsiteB": (ADDRESS, PORT)}) as user:
        answered(user, user.began)
        assert user.answers("jobsiteB") == []


def test_the_newest_answer_tells_who_it_is(fake):
    node = "node1"
    fake(lambda _: PONG.replace(b"node1", node.encode()))
    with Client([], SITES) as user:
        wait_until(lambda: user.who_answers(SITE) == "node1")
        moved = time.monotonic()
        node = "node2"
        wait_until(lambda: user.who_answers(SITE) == "node2")
        assert user.answers_after(SITE, moved, "node2")
        assert {name for _, name in user.answers(SITE)} == {"node1", "node2"}


def test_it_asks_from_the_namespace_of_its_prefix(fake):
    fake(lambda line: PONG if line == b"PING\n" else b"OK []\n")
    with subprocess.Popen(["unshare", "--net", "--kill-child", "--fork", "sh", "-c", "echo ready; exec sleep 100"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        child = pathlib.Path("/proc/%d/task/%d/children" % (other.pid, other.pid)).read_text().strip()
        try:
            with Client(["nsenter", "-t", child, "-n", "--"], SITES) as user:
                assert user.outage(SITE, user.began, user.began + 0.2) == pytest.approx(0.2)
                assert user.last_answer(SITE) is None
                with pytest.raises(ClientError, match="unreachable"):
                    user.ask(SITE)
                subprocess.run(["nsenter", "-t", child, "-n", "--", "ip", "link", "set", "lo", "up"], check=True)
                with pytest.raises(ClientError, match="refused"):
                    user.ask(SITE)
        finally:
            other.kill()
    with Client([], SITES) as user:
        answered(user, user.began)
        assert user.ask(SITE) == []


# -- jobs ---------------------------------------------------------------------------------------------------------------------------------

def test_a_job_whose_acknowledgement_is_lost_is_submitted_again_and_is_one_job(fake, real, witness):
    real(PORT + 1)
    dropped: list[bytes] = []

    def forward(line: bytes) -> bytes:
        with socket.create_connection((ADDRESS, PORT + 1), 10) as site, site.makefile("rb") as reader:
            site.sendall(line)
            answer = reader.readline()
        if line.startswith(b"SUBMIT") and line not in dropped and len(dropped) < 3:
            dropped.append(line)
            return b""
        return answer
    server = fake(forward)
    with Client([], SITES, jobs_per_second=20, job_seconds=0, witness=witness) as user:
        wait_until(lambda: len(user.acknowledged(SITE)) >= 6)
        user.pause()
        assert user.settled()
        keys = [row["client_key"] for row in user.ask(SITE)]
    assert len(dropped) == 3 and all(server.heard.count(line) == 2 for line in dropped)
    assert len(keys) == len(set(keys)) and set(keys) == user.acknowledged(SITE)


def test_an_unanswered_job_is_submitted_again_after_a_while(fake):
    server = fake(lambda _: None)
    with Client([], SITES, jobs_per_second=200) as user:
        wait_until(lambda: submitted(server) and user.outstanding() == MOST_UNACKNOWLEDGED)
        wait_until(lambda: any(times > 1 for times in submitted(server).values()))
        assert time.monotonic() - user.began >= client_module.ACKNOWLEDGE_WITHIN
        assert len(submitted(server)) == MOST_UNACKNOWLEDGED
        user.pause()
        assert not user.settled(0.2), "nothing is acknowledged"
        assert not user.acknowledged(SITE)
        server.stop()
        fake(lambda _: b'OK {"job": 1, "new": true}\n')
        assert user.settled()
        assert len(user.acknowledged(SITE)) == MOST_UNACKNOWLEDGED


def submitted(server: FakeSite) -> dict[bytes, int]:
    """How often each job was submitted."""
    lines = [line for line in list(server.heard) if line.startswith(b"SUBMIT")]
    return {line: lines.count(line) for line in lines}


def test_refused_jobs_wait_for_the_site(fake):
    with Client([], SITES, jobs_per_second=200) as user:
        wait_until(lambda: user.outstanding() == MOST_UNACKNOWLEDGED)
        refuse = fake(lambda _: b"ERROR SUBMIT: disk full\n")
        wait_until(lambda: any(times > 1 for times in submitted(refuse).values()))
        assert user.outstanding() == MOST_UNACKNOWLEDGED and not user.acknowledged(SITE)
        refuse.stop()
        fake(lambda _: b'OK {"job": 1, "new": true}\n')
        wait_until(lambda: len(user.acknowledged(SITE)) > 2 * MOST_UNACKNOWLEDGED)


def test_pausing_settles_and_the_account_of_a_real_site_is_whole(real, witness):
    real()
    with Client([], SITES, jobs_per_second=20, job_seconds=0.05, witness=witness) as user:
        for _ in range(2):
            before = len(user.acknowledged(SITE))
            wait_until(lambda before=before: len(user.acknowledged(SITE)) >= before + 5)
            user.pause()
            assert user.settled()
            acknowledged = user.acknowledged(SITE)
            assert {row["client_key"] for row in user.ask(SITE)} == acknowledged
            user.resume()
            wait_until(lambda acknowledged=acknowledged: user.acknowledged(SITE) > acknowledged)
        user.pause()
        assert user.settled()
        listing = wait_until(lambda: [row for row in [user.ask(SITE)] if all(job["state"] == "done" for job in row)])[0]
        acknowledged = user.acknowledged(SITE)
    whole = night_jobs.account(acknowledged, listing, night_jobs.read(witness))
    assert whole.done == whole.acknowledged == acknowledged
    assert not whole.lost | whole.waiting | whole.twice | whole.run_again
    assert whole.words().endswith("%d done, 0 waiting, 0 run again, 0 lost, 0 twice at the same time" % len(acknowledged))
    assert {word.node for word in night_jobs.words(witness)} == {os.uname().nodename}


def test_what_the_program_has_not_heard_yet_is_not_settled():
    with Client([], SITES) as user:
        user.pause()
        assert user.settled()
        user.program.send_signal(signal.SIGSTOP)
        user.resume()
        assert not user.settled(0.1)
        user.program.send_signal(signal.SIGCONT)
        assert not user.settled(0.2), "resumed"
        user.pause()
        assert user.settled()


# -- the program --------------------------------------------------------------------------------------------------------------------------

def test_a_dead_program_is_no_outage(fake):
    fake()
    with Client([], SITES) as user:
        answered(user, user.began)
        user.program.kill()
        for question in (user.silent_for, user.last_answer, user.who_answers, lambda site: user.outage(site, user.began),
                         lambda site: user.answers_after(site, 0.0)):
            with pytest.raises(ClientError, match="ended with code -9"):
                wait_until(lambda question=question: question(SITE) is None)
        with pytest.raises(ClientError):
            user.pause()


def test_a_program_that_hangs_is_no_outage(fake, monkeypatch):
    fake()
    with Client([], SITES) as user:
        answered(user, user.began)
        user.program.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(client_module, "PATIENCE", 0.5)  # not before: a busy machine needs more for its beginning
        with pytest.raises(ClientError, match="said nothing"):
            wait_until(lambda: user.silent_for(SITE) > 5)
        with pytest.raises(ClientError):
            user.outage(SITE, user.began)
        user.program.send_signal(signal.SIGCONT)


def test_a_program_that_did_not_get_the_cpu_says_so(fake):
    fake()
    with Client([], SITES) as user:
        before = time.monotonic()
        answered(user, before)
        calm = user.stall(user.began, before)  # a busy machine may have kept it waiting, too
        user.program.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 0.4)
        user.program.send_signal(signal.SIGCONT)
        assert user.outage(SITE, stopped) >= 0.3
        assert user.stall(stopped) >= 0.3
        assert user.stall(user.began, before) == calm


PARENT = """import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from cluster.client import Client
user = Client([], {"jobsiteA": ("127.77.0.1", 1)})
sibling = os.fork()
if sibling == 0:
    os.close(1)
    time.sleep(100)
print(user.program.pid, sibling, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_dies_with_its_parent_even_if_its_stdin_stays_open():
    parent = subprocess.run([sys.executable, "-c", PARENT, str(pathlib.Path(PROGRAM).parents[1])], stdout=subprocess.PIPE, check=False, timeout=15)
    assert parent.returncode == -signal.SIGKILL
    program, sibling = map(int, parent.stdout.split())
    try:
        wait_until(lambda: gone(program))
        assert not gone(sibling)
    finally:
        os.kill(sibling, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize("end", ["quit", "stdin", "stdout"])
def test_the_program_ends(end):
    with subprocess.Popen([sys.executable, PROGRAM, "--site=%s=%s:%d" % (SITE, ADDRESS, PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        report = json.loads(program.stdout.readline())
        assert report["answers"] == {} and report["outstanding"] == 0 and report["paused"] is False
        if end == "quit":
            os.write(program.stdin.fileno(), b"pause\nqu")
            os.write(program.stdin.fileno(), b"it\n")
        else:
            getattr(program, end).close()
        assert program.wait(10) == (1 if end == "stdout" else 0)
        if end == "quit":
            assert json.loads(program.stdout.read().splitlines()[-1])["paused"] is True


def test_a_program_that_does_not_start_is_said(fake):
    with pytest.raises(ClientError, match="code 1"):
        Client(["false"], SITES)


# -- the jobs' testimony ------------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def job(key: str, seconds: float, witness: str, *prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """A job as the simulator starts it, once it has said `start`; its end ends it."""
    with subprocess.Popen([*prefix, "/bin/sh", "-c", night_jobs.command(key, seconds, witness)], start_new_session=True) as process:
        try:
            before = night_jobs.read(witness).started[key] - 1
            wait_until(lambda: night_jobs.read(witness).started[key] > max(before, 0))
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run_job(key: str, witness: str, *prefix: str) -> int:
    """Run a job of no duration to its end."""
    return subprocess.run([*prefix, "/bin/sh", "-c", night_jobs.command(key, 0, witness)], check=False, timeout=15).returncode


ON_NODE2 = ("unshare", "--uts", "sh", "-c", 'echo node2 >/proc/sys/kernel/hostname; exec "$@"', "sh")


def test_a_job_that_runs_twice_at_the_same_time_is_seen(witness):
    with job("a", 100, witness):
        assert run_job("b", witness) == 0
        assert run_job("a", witness, *ON_NODE2) == night_jobs.TWICE_CODE
    said = night_jobs.read(witness)
    assert [(word.key, word.node) for word in said.twice] == [("a", "node2")]
    assert said.started == {"a": 1, "b": 1} and said.ended == {"b"}
    assert abs(said.twice[0].time - time.monotonic()) < 15, "seconds of the same clock"
    listing = [{"client_key": "a", "state": "running"}, {"client_key": "b", "state": "done"}]
    result = night_jobs.account({"a", "b"}, listing, said)
    assert result.twice == {"a"} and "1 twice at the same time; twice: a" in result.words()


def test_a_job_that_is_killed_and_run_again_does_not_run_twice_at_the_same_time(witness):
    with job("a", 100, witness) as first:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        wait_until(lambda: subprocess.run(["flock", "-n", witness + "/a.lock", "true"], check=False).returncode == 0)
    assert night_jobs.read(witness).ended == set()
    assert run_job("a", witness, *ON_NODE2) == 0
    said = night_jobs.read(witness)
    assert said.started == {"a": 2} and said.ended == {"a"} and said.twice == []
    result = night_jobs.account({"a"}, [{"client_key": "a", "state": "done"}], said)
    assert result.run_again == result.done == {"a"} and not result.lost


def test_a_job_lives_until_the_last_of_its_processes_is_gone(witness):
    with job("a", 100, witness) as first:
        wait_until(lambda: any(command_of(pid) == b"sleep" for pid in children(first.pid)))
        first.kill()  # the shell only
        first.wait()
        assert run_job("a", witness) == night_jobs.TWICE_CODE


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(word) for word in pathlib.Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()]


def command_of(pid: int) -> bytes:
    """The program that a process runs."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/%d/cmdline" % pid).read_bytes().split(b"\0")[0]
    return b""


def test_a_lost_job_is_seen(witness):
    for key in ("done", "unlisted", "failed"):
        assert run_job(key, witness) == 0
    with job("unfinished", 100, witness):
        pass
    states = {"done": "done", "failed": "failed", "unfinished": "done", "never-ran": "done", "queued": "queued", "running": "running"}
    listing = [{"client_key": key, "state": state} for key, state in {**states, "not-acknowledged": "failed"}.items()]
    result = night_jobs.account({"unlisted", *states}, listing, night_jobs.read(witness))
    assert result.lost == {"unlisted", "failed", "unfinished", "never-ran"}
    assert result.done == {"done"} and result.waiting == {"queued", "running"} and not result.twice | result.run_again
    assert "7 jobs acknowledged: 1 done, 2 waiting, 0 run again, 4 lost" in result.words() and "lost: failed never-ran" in result.words()


def test_without_a_witness_a_job_fails(tmp_path):
    assert run_job("a", str(tmp_path / "nowhere")) != 0
    assert night_jobs.read(tmp_path / "nowhere") == night_jobs.Testimony(night_jobs.collections.Counter(), frozenset(), [])


def test_testimony_is_read_up_to_the_last_whole_line_and_nonsense_is_refused(witness):
    log = pathlib.Path(witness, "log")
    log.write_text("start a node1 1.00\nend a node1 1.")
    assert night_jobs.read(witness) == night_jobs.Testimony(night_jobs.collections.Counter("a"), frozenset(), [])
    log.write_text("start a nostart b node1 1.00\n")
    with pytest.raises(ValueError):
        night_jobs.read(witness)


@pytest.mark.parametrize("key", ["", "../a", "a b", "a;b", "-a", "a\n", "$(a)"])
def test_a_bad_key_is_refused(key):
    with pytest.raises(ValueError):
        night_jobs.command(key, 1)


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a 'b' $c"
    folder.mkdir()
    assert run_job("a", str(folder)) == 0
    assert night_jobs.read(folder).ended == {"a"}
