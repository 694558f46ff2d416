from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import termios

import pytest

from cjc_agent.layers import ownership
from cjc_agent.layers.ownership import Look
from cjc_agent.tools import processes
from cjc_agent.tools.command import Runner
from cjc_agent.tools.deadline import Deadline
from unit.helpers import FIRST_THREAD_ENDS, PATIENCE, wait_until

SITE = "unit-%d" % os.getpid()
NOWHERE = "/no/such/nqs"
LISTEN = """
import socket
s = socket.socket(socket.AF_INET); s.bind((sys.argv[1], 0)); s.listen()
print("ready", flush=True); print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def daemon(start):
    """A process in a session of its own, as a daemon is; `environment` is all it has."""
    def make(arguments=("/bin/sleep", "60"), environment=None, session=True, **more):
        wanted = {"NQS_SITE": SITE} if environment is None else environment
        child = start(list(arguments), env=wanted, start_new_session=session, **more)
        name = os.fsencode("%s=%s" % next(iter(wanted.items()))) if wanted else b""
        wait_until(lambda: processes.link(child.pid, "exe") == os.path.realpath(arguments[0]) and name in processes.environment(child.pid), "the exec")
        return processes.read(child.pid)
    return make


RUNNER = Runner("/nonexistent", "cjc-unit", lambda text: None)


def take(vips=(), port=1, nqs_home=NOWHERE, recorded=(), scope=None, site=SITE, before=None, resident=None):
    return ownership.take(Look(site, vips, port, nqs_home, recorded, before, scope, resident), RUNNER, Deadline(PATIENCE))


def test_nothing_is_nothing():
    census = take(vips=["127.0.0.1"])
    assert (census.daemons, census.candidates, census.calls, census.listeners, census.mere_holders, census.obstacles,
            census.evidence()) == ({}, {}, {}, {}, {}, [], "")


def test_the_variable_alone_condemns_nobody(daemon):
    process = daemon()
    census = take()
    assert list(census.candidates) == [process.pid] and census.daemons == {} and census.evidence() == ""
    assert [p.pid for p in census.inherited] == [process.pid]


@pytest.mark.parametrize("environment", [{"NQS_SITE": SITE + "x"}, {"XNQS_SITE": SITE}, {"NQS_SITE": ""}, {"A": "NQS_SITE=" + SITE}])
def test_another_variable_is_not_ours(daemon, environment):
    process = daemon(environment=environment)
    assert process.pid not in take().candidates


def test_who_is_in_our_session_is_no_candidate(daemon):
    process = daemon(session=False)
    census = take()
    assert process.pid not in census.candidates and process.pid not in census.daemons


@pytest.fixture
def terminal():
    """What gives a child a controlling terminal: words for Popen. The child must lead a session."""
    master, slave = os.openpty()
    yield {"stdin": slave, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    os.close(master)
    os.close(slave)


def test_who_has_a_terminal_is_no_candidate(start, terminal):
    child = start(["/bin/sleep", "60"], env={"NQS_SITE": SITE}, start_new_session=True, **terminal)
    wait_until(lambda: processes.read(child.pid).tty != 0 and b"NQS_SITE=" + SITE.encode() in processes.environment(child.pid), "the terminal")
    assert child.pid not in take().candidates


def test_our_own_calls_are_told_apart(daemon):
    process = daemon(environment={"NQS_SITE": SITE, "CJC_AGENT_CALL": "1"})
    census = take(recorded=[process.identity])
    assert list(census.calls) == [process.pid] and census.daemons == {} == census.candidates and census.evidence() == ""


def test_who_lives_on_without_its_first_thread(start):
    """The kernel shows its environment and its program through another thread only."""
    child = start([sys.executable, "-c", FIRST_THREAD_ENDS], env={"NQS_SITE": SITE}, start_new_session=True, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    wait_until(lambda: processes.through(child.pid), "the end of the first thread")
    census = take(nqs_home=os.path.dirname(os.path.realpath(sys.executable)))
    assert list(census.candidates) == list(census.daemons) == [child.pid] and child.pid in census.product


def test_the_recorded_and_their_descendants_are_the_sites(start, daemon, end_later):
    parent = start(["/bin/sh", "-c", "sleep 60 & wait"], env={"NQS_SITE": "other"}, start_new_session=True)
    child, = wait_until(lambda: processes.descendants(processes.table(), [parent.pid]), "the child")
    end_later(child)
    process = processes.read(parent.pid)
    census = take(recorded=[process.identity])
    assert set(census.daemons) == {parent.pid, child} and "processes left: " in census.evidence()
    assert take(recorded=[(process.pid, process.start + 1)]).daemons == {}, "a namesake"


@pytest.fixture
def family(start, end_later):
    """Return parent, child and grandchild, which carry the variable, or another one; `program` is the child's."""
    def make(program="/bin/sh", **environment):
        parent = start(["/bin/sh", "-c", program + " -c 'sleep 60 & wait' & wait"], env=environment or {"NQS_SITE": SITE}, start_new_session=True)
        def grown():
            table = processes.table()
            found = processes.descendants(table, [parent.pid])
            return (table, found) if sorted(table[pid].comm == "sleep" for pid in found) == [False, True] else None
        table, found = wait_until(grown, "child and grandchild")
        child = next(pid for pid in found if table[pid].ppid == parent.pid)
        for pid in found:
            end_later(pid)
        return [table[pid] for pid in (parent.pid, child, *(found - {child}))]
    return make


def test_jobs_are_daemons_that_only_their_parents_speak_for(family):
    parent, child, grandchild = family()
    everybody = {parent.pid, child.pid, grandchild.pid}
    for given in ({"before": []}, {"recorded": [parent.identity]}):  # a start that is not at its end; one that was
        census = take(**given)
        assert set(census.daemons) == everybody and set(census.jobs) == {child.pid, grandchild.pid}
    assert set(take(recorded=[parent.identity, child.identity]).jobs) == {grandchild.pid}, "recorded itself"
    assert set(take(before=[], recorded=[parent.identity], resident=parent.identity).jobs) == {grandchild.pid}, "the resident's children are daemons"
    assert take(before=[parent.identity, child.identity, grandchild.identity]).jobs == {}, "nor daemons"


def test_a_job_may_have_thrown_the_variable_away(family):
    parent, child, grandchild = family(A="1")
    assert set(take(recorded=[parent.identity]).jobs) == {child.pid, grandchild.pid}


def test_a_program_of_the_product_is_a_daemon_whoever_its_parent_is(family, tmp_path):
    home = tmp_path.resolve() / "nqs"
    home.mkdir()
    shutil.copy("/bin/sh", home / "jobd")
    parent, child, grandchild = family(str(home / "jobd"))
    census = take(before=[], nqs_home=str(home))
    assert set(census.daemons) == {parent.pid, child.pid, grandchild.pid} and set(census.jobs) == {grandchild.pid}


def test_who_runs_a_program_of_the_product(daemon, tmp_path):
    home = tmp_path.resolve() / "nqs"
    home.mkdir()
    shutil.copy("/bin/sleep", home / "jobd")
    process, bystander = daemon([str(home / "jobd"), "60"]), daemon([str(home / "jobd"), "60"], environment={"A": "1"})
    census = take(nqs_home=str(home))
    assert list(census.daemons) == [process.pid] and bystander.pid not in census.candidates, "the local site's runs the same program"
    assert set(census.product) == {process.pid, bystander.pid}
    assert take(nqs_home=str(home) + "2").daemons == {} and take(nqs_home=str(home) + "2").product == []


def listening(start_python, address, environment, **more):
    child = start_python(LISTEN, address, env=environment, **{"start_new_session": True, **more})
    return child.pid, int(child.stdout.readline())


@pytest.mark.parametrize("environment", [{"NQS_SITE": SITE}, {}])
def test_who_listens_on_vip_and_port(start_python, environment):
    pid, port = listening(start_python, "127.0.0.1", environment)
    census = take(vips=["127.0.0.1", "::1"], port=port)
    assert set(census.daemons) == set(census.listeners) == {pid}
    assert take(vips=["127.0.0.1"], port=port + 1 if port < 65535 else 1).daemons == {}


def test_the_local_sites_listener_on_its_own_address_is_left_alone(start_python):
    pid, port = listening(start_python, "127.0.0.2", {})
    assert pid not in take(vips=["127.0.0.1"], port=port).daemons


def test_on_another_address_who_carries_the_variable(start_python):
    pid, port = listening(start_python, "127.0.0.2", {"NQS_SITE": SITE})
    assert set(take(vips=["127.0.0.1"], port=port).listeners) == {pid} == set(take(port=port).daemons)


def test_another_sites_listener_on_vip_and_port_is_evidence_and_left_alone(start_python):
    """Two sites that were given the same VIP and port: neither may end the other's daemons, and neither may call itself stopped."""
    pid, port = listening(start_python, "127.0.0.1", {"NQS_SITE": "other"})
    census = take(vips=["127.0.0.1", "::1"], port=port)
    assert census.daemons == {} == census.listeners
    assert len(census.obstacles) == 1 and "127.0.0.1:%d" % port in census.evidence() and "[%d]" % pid in census.evidence()


@pytest.mark.parametrize("environment", [{}, {"NQS_SITE": SITE}])
@pytest.mark.parametrize("address, ours", [("127.0.0.1", True), ("127.0.0.2", False), ("0.0.0.0", False)])
def test_a_listener_with_a_terminal(start_python, terminal, address, ours, environment):
    """Whoever listens on the very VIP:port is in the site's way; elsewhere a terminal tells that it is no daemon."""
    pid, port = listening(start_python, address, environment, **terminal)
    assert processes.read(pid).tty != 0
    census = take(vips=["127.0.0.1"], port=port)
    assert (list(census.daemons), list(census.listeners)) == (([pid], [pid]) if ours else ([], [])) and census.candidates == {}


def test_a_holder_with_a_terminal_is_left_alone(start_python, terminal, tmp_path):
    folder = str(tmp_path.resolve())
    child = start_python('import os; os.chdir(sys.argv[1]); print("ready", flush=True); sys.stdin.read()', folder, env={}, start_new_session=True, **terminal)
    assert child.pid not in take(scope=(folder, "")).daemons


@pytest.mark.parametrize("environment, ours", [({"NQS_SITE": SITE}, True), ({}, False), ({"NQS_SITE": "other"}, False)])
def test_on_the_wildcard_only_who_carries_the_variable(start_python, environment, ours):
    pid, port = listening(start_python, "0.0.0.0", environment)
    assert (pid in take(vips=["127.0.0.1"], port=port).daemons) is ours


def test_somebody_elses_listener_on_vip_and_port_is_evidence_too():
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        channel.listen()
        census = take(vips=["127.0.0.1"], port=channel.getsockname()[1])
    assert os.getpid() not in census.daemons
    assert "127.0.0.1" in census.evidence()


def test_our_sessions_listener_on_vip_and_port_is_evidence_and_left_alone(start_python):
    pid, port = listening(start_python, "127.0.0.1", {"NQS_SITE": SITE}, start_new_session=False)
    census = take(vips=["127.0.0.1"], port=port)
    assert census.daemons == {} and "[%d]" % pid in census.evidence()


def test_who_holds_the_mount(daemon, tmp_path):
    folder = str(tmp_path.resolve())
    process = daemon(environment={"A": "1"}, cwd=folder)
    assert list(take(scope=(folder, "")).daemons) == [process.pid]
    assert take(scope=None).daemons == {} == take(scope=(folder + "2", "")).daemons


def test_another_site_that_holds_the_mount_is_left_alone(daemon, tmp_path):
    process = daemon(environment={"NQS_SITE": "other"}, cwd=str(tmp_path.resolve()))
    assert process.pid not in take(scope=(str(tmp_path.resolve()), "")).daemons


def test_never_ourselves_even_below_a_recorded_daemon():
    above = processes.read(os.getppid() if os.getppid() > 1 else os.getpid())
    census = take(recorded=[above.identity])
    assert os.getpid() not in census.daemons and above.pid not in census.daemons


def test_a_recorded_daemon_above_us_is_evidence():
    above = processes.read(os.getppid() if os.getppid() > 1 else os.getpid())
    assert "[%d]" % above.pid in take(recorded=[above.identity]).evidence()


def test_a_recorded_daemon_in_our_session_is_evidence_and_left_alone(daemon):
    process = daemon(environment={"A": "1"}, session=False)
    census = take(recorded=[process.identity])
    assert census.daemons == {} and len(census.obstacles) == 1 and "[%d]" % process.pid in census.evidence() and "from elsewhere" in census.evidence()
    assert take(recorded=[(process.pid, process.start + 1)]).evidence() == "", "a namesake"


def test_without_time_to_look_at_all_it_is_not_said_that_nothing_is_there(tmp_path, daemon):
    daemon(environment={"A": "1"})  # on a throwaway node there may be nobody else to look at
    for scope in (None, (str(tmp_path), "")):
        census = ownership.take(Look(SITE, [], 1, NOWHERE, [], None, scope), RUNNER, Deadline(0))
        assert census.daemons == {} and census.obstacles and census.evidence()


# -- a start that has not finished -------------------------------------------------------------------------------------------------------


def test_what_came_after_a_start_that_has_not_finished_is_the_sites(daemon):
    """The start was killed before it could tell its daemons: then the variable alone condemns, but only whoever did not carry it before."""
    earlier, later = daemon(), daemon()
    census = take(before=[earlier.identity])
    assert set(census.candidates) == {earlier.pid, later.pid} and list(census.daemons) == [later.pid]
    assert "[%d]" % later.pid in census.evidence() and "[%d]" % earlier.pid not in census.evidence()
    assert [process.pid for process in census.inherited] == [earlier.pid]


def test_before_the_start_nothing_ran(daemon):
    process = daemon()
    assert list(take(before=[]).daemons) == [process.pid]
    assert take(before=None).daemons == {}, "no such start: the variable alone condemns nobody"


def test_a_namesake_of_what_ran_before_is_the_sites(daemon):
    process = daemon()
    assert list(take(before=[(process.pid, process.start - 1)]).daemons) == [process.pid]


def test_before_condemns_candidates_only(daemon, start, terminal):
    call, stranger = daemon(environment={"NQS_SITE": SITE, "CJC_AGENT_CALL": "1"}), daemon(environment={"NQS_SITE": "other"})
    in_our_session, plain = daemon(session=False), daemon(environment={"A": "1"})
    person = start(["/bin/sleep", "60"], env={"NQS_SITE": SITE}, start_new_session=True, **terminal)
    wait_until(lambda: processes.read(person.pid).tty != 0 and b"NQS_SITE=" + SITE.encode() in processes.environment(person.pid), "the terminal")
    census = take(before=[])
    assert census.daemons == {} and list(census.calls) == [call.pid] and census.evidence() == ""
    assert not {stranger.pid, in_our_session.pid, plain.pid, person.pid} & set(census.candidates)


# -- who merely holds the mount ----------------------------------------------------------------------------------------------------------


def test_mere_holders_are_those_that_nothing_else_speaks_against(daemon, tmp_path):
    folder = str(tmp_path.resolve())
    backup, candidate, recorded = daemon(environment={"A": "1"}, cwd=folder), daemon(cwd=folder), daemon(environment={"A": "2"}, cwd=folder)
    bystander = daemon(environment={"A": "3"})
    census = take(scope=(folder, ""), recorded=[recorded.identity])
    assert set(census.daemons) == {backup.pid, candidate.pid, recorded.pid} and bystander.pid not in census.daemons
    assert list(census.mere_holders) == [backup.pid]


def test_a_call_of_ours_that_holds_the_mount_is_no_daemon(daemon, tmp_path):
    folder = str(tmp_path.resolve())
    process = daemon(environment={"NQS_SITE": SITE, "CJC_AGENT_CALL": "1"}, cwd=folder)
    census = take(scope=(folder, ""))
    assert list(census.calls) == [process.pid] and census.daemons == census.mere_holders == {}


def test_an_empty_site_matches_nobody(daemon):
    process = daemon(environment={"NQS_SITE": ""})
    census = take(site="")
    assert process.pid not in census.candidates and census.daemons == {}
    assert sys.executable
