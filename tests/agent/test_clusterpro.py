"""The scripts that `cjc-agent render clusterpro` writes, called as CLUSTERPRO calls them: on a real node, with real mounts and processes."""
from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Optional

import pytest

from lab.hung import HungFileSystem
from lab.site import NQS_HOME, NQS_SPOOL, Answer, Site, all_processes, answer_of, environment_of, wait_until

COMMAND = "/usr/sbin/cjc-agent"
EVENTS = (None, "START", "FAILOVER", "RECOVER", "junk")
DISKS, SERVERS = (None, "SUCCESS", "FAILURE"), (None, "HOME", "OTHER")


class Server:
    """One server of CLUSTERPRO: the site's configuration file, and its rendered scripts."""

    def __init__(self, site: Site, folder: pathlib.Path) -> None:
        self.site, self.folder = site, folder
        self.conf = folder / "conf" / (site.name + ".conf")
        self.conf.parent.mkdir()
        self.configure()
        subprocess.run([COMMAND, "render", "clusterpro", "--conf", str(self.conf), "--group", "jobs", "--resource", "exec-jobs",
                        "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)

    def configure(self, **changes: str) -> None:
        """Write the configuration file: the site's parameters, replaced by `changes` ("" leaves one out)."""
        self.conf.write_text(self.site.configuration(**changes))

    def environment(self, **variables: Optional[str]) -> dict[str, str]:
        """What a script gets: `variables` as far as they are given, and what a shell of CLUSTERPRO's may have."""
        return {"PATH": "/usr/bin:/bin", "NQS_SITE": "another", "HA_RSCTMP": str(self.site.state),
                **{name: value for name, value in variables.items() if value is not None}}

    def script(self, name: str) -> str:
        """The path of a rendered script."""
        return str(self.folder / ("scripts/monitor.s/genw-exec-jobs" if name == "genw.sh" else "scripts/jobs/exec-jobs") / name)

    def call(self, name: str, **variables: Optional[str]) -> Answer:
        """Run a script to its end."""
        return answer_of([self.script(name)], self.environment(**variables))

    def begin(self, name: str, **variables: Optional[str]) -> subprocess.Popen[bytes]:
        """Begin a script; its process becomes the core's."""
        return self.site.popen(self.script(name), env=self.environment(**variables), stderr=subprocess.DEVNULL, start_new_session=True)

    def start(self) -> None:
        """Start the site; it must work."""
        answer = self.call("start.sh", CLP_EVENT="START")
        assert answer.code == 0, answer

    def stop(self) -> None:
        """Stop the site; it must work and leave nothing."""
        answer = self.call("stop.sh")
        assert answer.code == 0, answer
        self.site.assert_nothing_left()

    def cluster_mounts(self) -> None:
        """`device` empty: CLUSTERPRO's disk resource has mounted the disk."""
        self.configure(device="", directory="")
        self.site.mount()


@pytest.fixture
def server(site: Site, tmp_path: pathlib.Path) -> Iterator[Server]:
    made = Server(site, tmp_path)
    yield made


# -- the table ---------------------------------------------------------------------------------------------------------------------------


def expected(event: Optional[str], disk: Optional[str]) -> tuple[int, bool, str]:
    """Of start.sh: exit code, whether it starts, words of what it says."""
    if event == "RECOVER":
        return 0, False, "CLP_EVENT=RECOVER: nothing to do, nothing was touched"
    if event not in ("START", "FAILOVER"):
        return 1, False, "%s: not called by CLUSTERPRO, nothing was touched: by hand use cjc-agent start" % (
            "CLP_EVENT=junk" if event else "CLP_EVENT is not set")
    if disk == "FAILURE":
        return 1, False, "CLP_DISK=FAILURE: CLUSTERPRO's disk resource has failed, nothing was touched"
    return 0, True, "started in "


def test_every_event_disk_and_server(server: Server) -> None:
    """start.sh with all 45, stop.sh with all 45 on the running site: exit code, message, and what is there afterwards."""
    site = server.site
    for event, disk, kind in itertools.product(EVENTS, DISKS, SERVERS):
        variables = {"CLP_EVENT": event, "CLP_DISK": disk, "CLP_SERVER": kind}
        code, starts, words = expected(event, disk)
        answer = server.call("start.sh", **variables)
        assert answer.code == code and words in answer.said and answer.said.count("\n") == 1, (variables, answer)
        assert (site.mounted(), len(site.daemons())) == ((True, 3) if starts else (False, 0)), variables
        if not starts:
            assert not site.state.exists() or not list(site.state.glob("*.json")), variables
            server.start()
        answer = server.call("stop.sh", **variables)
        assert answer.code == 0 and "cjc-agent stop %s: stopped in " % site.name in answer.said, (variables, answer)
        site.assert_nothing_left()


def test_every_variable_may_be_there(server: Server) -> None:
    variables = {"CLP_EVENT": "FAILOVER", "CLP_DISK": "SUCCESS", "CLP_SERVER": "OTHER", "CLP_FACTOR": "GROUPFAILOVER", "CLP_SERVER_PREV": "node1",
                 "CLP_SCRIPT_PATH": "/opt/nec/clusterpro/scripts/jobs/exec-jobs", "CLP_PATH": "/opt/nec/clusterpro", "CLP_GROUPNAME": "jobs",
                 "CLP_RESOURCENAME": "exec-jobs"}
    assert server.call("start.sh", **variables).code == 0
    for pid in server.site.daemons().values():
        assert "NQS_SITE=" + server.site.name in environment_of(pid) and not [word for word in environment_of(pid) if word.startswith("CLP_")]
    assert server.call("genw.sh", **variables).code == 0
    assert server.call("stop.sh", **variables).code == 0
    server.site.assert_nothing_left()


# -- start and stop ----------------------------------------------------------------------------------------------------------------------


def test_a_cjcpw_that_does_not_start_is_1_and_leaves_nothing(server: Server) -> None:
    server.configure(**server.site.faults("start=fail:20"))
    answer = server.call("start.sh", CLP_EVENT="START")
    assert answer.code == 1 and "ERROR: cjc-agent start %s: site: " % server.site.name in answer.said
    server.site.assert_nothing_left()


def test_a_start_that_hangs_reports_before_clusterpro_s_timeout(server: Server) -> None:
    server.configure(start_timeout="6s", **server.site.faults("start=hang"))
    answer = server.call("start.sh", CLP_EVENT="START")
    assert answer.code == 1 and answer.seconds < 6 and "site: " in answer.said
    server.site.assert_nothing_left()


def test_a_stop_that_leaves_a_process_is_1_and_names_it(server: Server, tmp_path: pathlib.Path) -> None:
    """One that hangs in the kernel, where KILL does not reach it."""
    server.cluster_mounts()
    server.configure(device="", directory="", stop_timeout="10s")
    server.start()
    program = pathlib.Path(NQS_HOME, "stuck-job")
    shutil.copy("/bin/ls", program)
    (tmp_path / "hung").mkdir()
    hung = HungFileSystem(tmp_path / "hung")
    try:
        stuck = server.site.popen(str(program), str(hung.folder), env={"NQS_SITE": server.site.name}, start_new_session=True)
        wait_until(lambda: hung.requests)
        answer = server.call("stop.sh")
        assert answer.code == 1 and answer.seconds < 10 and "stuck-job[%d]" % stuck.pid in answer.said
    finally:
        hung.close()
        program.unlink()
    stuck.wait()
    assert server.call("stop.sh").code == 0 and not server.site.processes()


def test_with_the_cluster_s_disk_nothing_is_mounted_or_unmounted(server: Server) -> None:
    server.cluster_mounts()
    server.start()
    assert server.call("genw.sh").code == 0
    assert server.call("stop.sh").code == 0
    assert server.site.mounted() and not server.site.processes(), "the disk is CLUSTERPRO's to unmount"
    server.site.umount()


def test_without_the_cluster_s_disk_a_start_says_so(server: Server) -> None:
    server.configure(device="", directory="")
    answer = server.call("start.sh", CLP_EVENT="START")
    assert answer.code == 1 and "disk: %s lies on no mounted file system of its own" % server.site.site_db in answer.said


# -- genw.sh -----------------------------------------------------------------------------------------------------------------------------


def test_a_standby_is_good_and_silent_unless_active_is_expected(server: Server) -> None:
    answer = server.call("genw.sh")
    assert (answer.code, answer.said) == (0, "")
    server.configure(monitor_expect="active")
    answer = server.call("genw.sh")
    assert answer.code == 1 and "does not run here, and monitor_expect=active" in answer.said
    server.start()
    for level in ("0", "10", "20"):
        server.configure(monitor_expect="active", monitor_level=level)
        answer = server.call("genw.sh")
        assert (answer.code, answer.said) == (0, "")
    server.stop()


@pytest.mark.parametrize("mounts", ["cluster", "agent"])
def test_the_death_of_daemons_is_seen_and_not_taken_for_a_standby(server: Server, mounts: str) -> None:
    if mounts == "cluster":
        server.cluster_mounts()
    server.start()
    daemons = server.site.daemons()
    os.kill(daemons["jcsim-net"], signal.SIGKILL)
    wait_until(lambda: "jcsim-net" not in server.site.daemons())
    assert server.call("genw.sh").code == 1
    for pid in daemons.values():
        if pid in server.site.daemons().values():
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.site.daemons())
    answer = server.call("genw.sh")
    assert answer.code == 1 and "site: %s was started on this node and is gone" % server.site.name in answer.said
    assert server.call("stop.sh").code == 0
    assert server.call("genw.sh").code == 0, "stopped in an orderly way it is a standby"


def test_after_a_reboot_it_is_a_standby(server: Server) -> None:
    server.start()
    record = server.site.state / ("cjc-%s.json" % server.site.name)
    saved = json.loads(record.read_text())
    server.stop()
    record.write_text(json.dumps(dict(saved, boot="of another life")))
    record.chmod(0o600)
    answer = server.call("genw.sh")
    assert (answer.code, answer.said) == (0, "")
    record.write_text(json.dumps(saved))
    assert server.call("genw.sh").code == 1, "of this life it is not"


@pytest.mark.parametrize("name, fault, killed", [("start.sh", "start=slow:600", "start"), ("stop.sh", "stop=slow:600", "stop")])
def test_during_a_slow_start_or_stop_and_a_hung_one(server: Server, name: str, fault: str, killed: str) -> None:
    """Young: good, with the reason. Older than its own timeout: bad, although nothing else has changed."""
    server.configure(**server.site.faults(fault))
    if name == "stop.sh":  # it stops the site as it was started, slowness and all
        server.start()
    script = server.begin(name, CLP_EVENT="START")
    call = "stop" if name == "stop.sh" else "start"
    lock = server.site.state / ("cjc-%s.lock" % server.site.name)
    wait_until(lambda: lock.exists() and lock.read_text().startswith("%d " % script.pid))
    wait_until(lambda: any(pid not in server.site.daemons().values() for pid in server.site.processes()))
    answer = server.call("genw.sh")
    assert answer.code == 0 and "INFO: cjc-agent monitor %s: %s (pid %d) has been at work on site" % (server.site.name, call, script.pid) in answer.said
    assert "not judged" in answer.said
    script.send_signal(signal.SIGSTOP)  # hung: it does not even keep its own deadline
    server.configure(start_timeout="1s", stop_timeout="1s", **server.site.faults(fault))
    wait_until(lambda: server.call("genw.sh").code == 1)
    answer = server.call("genw.sh")
    assert answer.code == 1 and "longer than its timeout of 1 s" in answer.said and "pid %d" % script.pid in answer.said
    script.kill()
    script.wait()
    server.configure(stop_timeout="8s")  # half of it for what the killed start has left to end by itself
    server.stop()


def test_a_monitor_that_runs_into_starts_and_stops_never_calls_them_bad(server: Server) -> None:
    """Looked at all the time while the site comes and goes: no false alarm, which would restart a healthy site."""
    watcher = server.site.popen("/bin/sh", "-c", 'while :; do "$0" || echo bad; done 2>&1', server.script("genw.sh"), env=server.environment(),
                                stdout=subprocess.PIPE)
    try:
        for _ in range(5):
            server.start()
            server.stop()
    finally:
        watcher.terminate()
    assert watcher.stdout
    said = watcher.stdout.read().decode()
    assert "bad" not in said, said


# -- configuration files -----------------------------------------------------------------------------------------------------------------


BROKEN = {
    "unknown key": (b"devise = /dev/x\n", "unknown parameter 'devise': did you mean device?"),
    "duplicate key": (b"vip = 10.0.0.1\n", "vip is set in line 5 already: remove one of the two"),
    "bad value": (b"port = eighty\n", "parameter port: 'eighty' is no TCP port"),
    "no value": (b"port =\n", "port has no value: give one, or remove the line"),
    "no name = value": (b"port\n", "'port' is no `name = value` line"),
    "value in EUC-JP": ("licence_pattern = 日本\n".encode("euc_jp"), "a value that is not UTF-8"),
}
GOOD = {"CRLF": (b"\n", b"\r\n"), "BOM": (b"site =", b"\xef\xbb\xbfsite ="), "EUC-JP comment": (b"site_db", "# 日本語ソ\nsite_db".encode("euc_jp")),
        "Shift_JIS comment": (b"site_db", "# 日本語ソ表\nsite_db".encode("shift_jis"))}


@pytest.mark.parametrize("how", GOOD)
def test_files_of_all_kinds_are_read(server: Server, how: str) -> None:
    old, new = GOOD[how]
    text = server.conf.read_bytes()
    assert old in text
    server.conf.write_bytes(text.replace(old, new))
    server.start()
    assert server.call("genw.sh").code == 0
    server.stop()


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file(server: Server, how: str) -> None:
    """File and line are named; nothing is started by it; a running site is monitored and stopped by its record."""
    line, words = BROKEN[how]
    right = server.conf.read_bytes()
    words = "%s line %d: %s" % (server.conf, right.count(b"\n") + 1, words)
    server.conf.write_bytes(right + line)
    for name in ("start.sh", "genw.sh"):
        answer = server.call(name, CLP_EVENT="START")
        assert answer.code == 1 and words in answer.said, answer
    assert not server.site.mounted()
    answer = server.call("stop.sh")
    assert answer.code == 0 and words in answer.said and "nothing of %s runs or is mounted here" % server.site.name in answer.said
    server.conf.write_bytes(right)
    server.start()
    server.conf.write_bytes(right + line)
    answer = server.call("genw.sh")
    assert answer.code == 0 and words in answer.said, "a slip of the pen brings no healthy site down"
    answer = server.call("stop.sh")
    assert answer.code == 0 and words in answer.said and ": stopping by the record" in answer.said
    server.site.assert_nothing_left()


@pytest.mark.parametrize("how", ["unknown key", "bad value"])
def test_a_stop_without_a_record_says_0_only_when_it_has_seen_that_nothing_is_there(server: Server, how: str) -> None:
    server.start()
    record = next(server.site.state.glob("*.json"))
    record.unlink()
    right = server.conf.read_bytes()
    server.conf.write_bytes(right + BROKEN[how][0])
    answer = server.call("stop.sh")
    assert answer.code == 1 and answer.said.count("line %d" % (right.count(b"\n") + 1)) == 1 and server.site.daemons(), "not even touched"
    assert "site %s runs here" % server.site.name in answer.said or "mounted" in answer.said
    for pid in server.site.daemons().values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.site.daemons())
    answer = server.call("stop.sh")
    assert answer.code == 1 and "mounted" in answer.said
    server.site.umount()
    assert server.call("stop.sh").code == 0


@pytest.mark.parametrize("spoil, words", [
    (lambda conf: conf.unlink(), "No such file or directory: write it, on every node"),
    (lambda conf: conf.chmod(0o666), "writable by others: chown root, chmod go-w"),
    (lambda conf: os.chown(conf, 65534, 65534), "owned by uid 65534: chown root"),
    (lambda conf: (conf.unlink(), conf.mkdir()), "Is a directory"),
    (lambda conf: (conf.unlink(), os.mkfifo(conf)), "not a plain file")])
def test_a_file_that_is_not_ours_to_read(server: Server, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    server.start()
    spoil(server.conf)
    answer = server.call("start.sh", CLP_EVENT="START")
    assert answer.code == 1 and "%s: %s" % (server.conf, words) in answer.said
    answer = server.call("genw.sh")
    assert answer.code == 0 and words in answer.said
    answer = server.call("stop.sh")
    assert answer.code == 0 and words in answer.said, "by the record of what this very file has started"
    server.site.assert_nothing_left()
    answer = server.call("stop.sh")
    assert answer.code == 1 and "which site this is, and so whether it is stopped, cannot be seen" in answer.said


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """/etc/cjc-agent of the node."""
    path = pathlib.Path("/etc/cjc-agent")
    path.mkdir()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def test_files_in_etc(server: Server, folder: pathlib.Path) -> None:
    """Without the line in the scripts: by the resource's name, or the only one; of two that nothing chooses, neither."""
    call = functools.partial(from_template, server)
    assert "/etc/cjc-agent holds no *.conf file" in call("genw.sh").said
    (folder / "jobs.conf").write_text(server.conf.read_text())
    assert call("start.sh", CLP_EVENT="START").code == 0 and server.site.daemons()
    assert call("stop.sh").code == 0
    (folder / "other.conf").write_text("site = other\nsite_db = /srv/other/job_site\n")
    for name in ("start.sh", "genw.sh"):
        answer = call(name, CLP_EVENT="START", CLP_RESOURCENAME="genw1")
        assert answer.code == 1 and "say which is this site's" in answer.said and "holds jobs.conf, other.conf" in answer.said
    answer = call("stop.sh")
    assert answer.code == 0 and "nothing of %s or other runs or is mounted here" % server.site.name in answer.said
    assert call("start.sh", CLP_EVENT="START", CLP_RESOURCENAME="jobs").code == 0 and server.site.daemons()
    assert call("genw.sh", CLP_RESOURCENAME="jobs").code == 0
    assert call("stop.sh", CLP_RESOURCENAME="jobs").code == 0
    server.site.assert_nothing_left()


# -- whose file it is --------------------------------------------------------------------------------------------------------------------


def from_template(server: Server, name: str, **variables: str) -> Answer:
    """Call a script that was not rendered: it chooses its file itself."""
    return answer_of(["/usr/lib/cjc-agent/clusterpro/" + name], server.environment(**variables))


@pytest.fixture
def two(server: Server, folder: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[tuple[Server, Site]]:
    """Two sites that run on one node, each started from the file in /etc/cjc-agent that has its resource's name: exec-a, exec-b."""
    (tmp_path / "b").mkdir()
    other = Site(tmp_path / "b")
    for name, site in (("exec-a", server.site), ("exec-b", other)):
        (folder / (name + ".conf")).write_text(site.configuration())
        assert from_template(server, "start.sh", CLP_EVENT="START", CLP_RESOURCENAME=name).code == 0
    yield server, other
    other.close()


def test_a_file_that_has_gone_is_not_replaced_by_another_site_s(two: tuple[Server, Site], folder: pathlib.Path) -> None:
    server, other = two
    (folder / "exec-b.conf").rename(folder / "exec-b.conf.bak")
    answer = from_template(server, "genw.sh", CLP_RESOURCENAME="exec-b")
    assert answer.code == 0 and "exec-b.conf: No such file" in answer.said and "monitor %s:" % other.name in answer.said
    assert from_template(server, "genw.sh", CLP_RESOURCENAME="genw-b").code == 1, "whose?"
    answer = from_template(server, "stop.sh")
    assert answer.code == 1 and server.site.daemons() and other.daemons(), "whose?"
    answer = from_template(server, "stop.sh", CLP_RESOURCENAME="exec-b")
    assert answer.code == 0 and not other.processes() and not other.mounted()
    assert len(server.site.daemons()) == 3, "the other site was not touched"


def test_another_resource_s_site_is_not_touched(two: tuple[Server, Site], folder: pathlib.Path) -> None:
    """A file that was copied, its `site` forgotten: the second resource must neither say that it started it, nor stop it."""
    server, other = two
    (folder / "exec-c.conf").write_text((folder / "exec-b.conf").read_text())
    for name in ("start.sh", "stop.sh"):
        answer = from_template(server, name, CLP_EVENT="START", CLP_RESOURCENAME="exec-c")
        assert answer.code == 1 and "site %s was started by /etc/cjc-agent/exec-b.conf of exec-b" % other.name in answer.said
        assert "nothing was touched" in answer.said
        answer = from_template(server, name, CLP_EVENT="START", CJC_AGENT_CONF="/etc/cjc-agent/exec-c.conf")
        assert answer.code == 1 and "not by /etc/cjc-agent/exec-c.conf" in answer.said, "the same where CLUSTERPRO tells no name"
    assert len(other.daemons()) == 3


def test_a_resource_that_got_another_name_is_no_other_one(two: tuple[Server, Site]) -> None:
    server, other = two
    variables = {"CLP_RESOURCENAME": "renamed", "CJC_AGENT_CONF": "/etc/cjc-agent/exec-b.conf"}
    assert from_template(server, "genw.sh", **variables).code == 0
    assert from_template(server, "stop.sh", **variables).code == 0 and not other.processes()


def test_a_resource_whose_file_cannot_be_chosen_stops_nobody_else(two: tuple[Server, Site], folder: pathlib.Path) -> None:
    """CLUSTERPRO may call stop.sh after a start.sh that has failed."""
    server, other = two
    assert from_template(server, "stop.sh", CLP_RESOURCENAME="exec-b").code == 0
    for name in ("start.sh", "stop.sh"):
        answer = from_template(server, name, CLP_EVENT="START", CLP_RESOURCENAME="third")
        assert answer.code == 1 and "say which is this site's" in answer.said
    assert len(server.site.daemons()) == 3


def by_hand(server: Server, verb: str) -> Answer:
    """`cjc-agent VERB --conf` of the server's file."""
    return answer_of([COMMAND, verb, "--conf", str(server.conf)], server.environment())


def test_another_disk_is_not_mounted_beside_the_running_site_s(server: Server) -> None:
    server.start()
    server.configure(site_db="/srv/elsewhere/job_site", directory="/srv/elsewhere")
    for answer in (server.call("start.sh", CLP_EVENT="START"), by_hand(server, "start")):
        assert answer.code != 0 and "directory is /srv/elsewhere now, but %s was started with %s: stop it first" % (
            server.site.name, server.site.directory) in answer.said
    server.stop()


def test_by_hand_it_is_the_same_site(server: Server) -> None:
    """What genw.sh and start.sh advise, `cjc-agent stop --conf FILE`, stops what was started from the file."""
    server.start()
    right = server.conf.read_text()
    server.conf.write_text(right.replace("site = " + server.site.name, "site = another"))
    for verb in ("start", "status"):
        answer = by_hand(server, verb)
        assert answer.code == 2 and "site is another now" in answer.said
    answer = by_hand(server, "stop")
    assert answer.code == 0, answer
    server.site.assert_nothing_left()
    server.conf.write_text("# nothing\n")
    assert by_hand(server, "stop").code == 2, "which site?"


def test_a_correction_is_taken_over_by_a_start_on_the_running_site(server: Server) -> None:
    server.start()
    daemons = server.site.daemons()
    server.configure(status_running="0,5", environment="X=1")
    assert by_hand(server, "start").code == 0 and server.site.daemons() == daemons
    record = json.loads(next(server.site.state.glob("*.json")).read_text())
    assert record["settings"]["status_running"] == "0,5" and {pid for pid, _ in record["daemons"]} <= set(daemons.values()) and record["daemons"]
    assert server.call("genw.sh").code == 0
    server.stop()


@pytest.mark.parametrize("mounts", ["cluster", "agent"])
def test_a_site_that_was_renamed_in_its_file_while_it_ran(server: Server, mounts: str) -> None:
    """Also when the file is right again, or names a third one: what was started is watched, and stopped."""
    if mounts == "cluster":
        server.cluster_mounts()
    server.start()
    server.conf.write_text(server.conf.read_text().replace("site = " + server.site.name, "site = another"))
    words = "line 1: site is another now, but %s was started with %s: stop it first" % (server.site.name, server.site.name)
    answer = server.call("genw.sh")
    assert answer.code == 0 and words in answer.said
    answer = server.call("start.sh", CLP_EVENT="START")
    assert answer.code == 1 and words in answer.said
    answer = server.call("stop.sh")
    assert answer.code == 0 and words in answer.said and not server.site.processes() and not list(server.site.state.glob("*.json"))


@pytest.mark.parametrize("changes", [{"vip": "10.99.99.99"}, {"status_running": "5"}, {"device": "/dev/loop63"},
                                     {"site_db": "/srv/elsewhere/job_site", "directory": "/srv/elsewhere"}])
def test_what_is_written_for_the_next_start_does_not_bring_a_healthy_site_down(server: Server, changes: dict[str, str]) -> None:
    server.start()
    server.configure(**changes)
    answer = server.call("genw.sh")
    assert (answer.code, answer.said) == (0, "")
    assert server.call("stop.sh").code == 0
    server.site.assert_nothing_left()


def test_a_second_file_beside_the_one_that_it_was_started_from(server: Server, folder: pathlib.Path) -> None:
    (folder / "jobs.conf").write_text(server.conf.read_text())
    assert from_template(server, "start.sh", CLP_EVENT="START").code == 0
    (folder / "jobs-backup.conf").write_text(server.conf.read_text())
    assert from_template(server, "genw.sh").code == 0
    (folder / "jobs.conf").unlink()
    answer = from_template(server, "genw.sh")
    assert answer.code == 0 and "jobs.conf: No such file" in answer.said
    answer = from_template(server, "stop.sh")
    assert answer.code == 0 and "jobs.conf: No such file" in answer.said
    server.site.assert_nothing_left()


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o666), lambda path: path.write_text("{")])
def test_a_record_that_cannot_be_believed_is_doubt_and_no_standby(server: Server, spoil) -> None:  # type: ignore[no-untyped-def]
    server.cluster_mounts()
    server.start()
    spoil(next(server.site.state.glob("*.json")))
    for pid in server.site.daemons().values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.site.daemons())
    answer = server.call("genw.sh")
    assert answer.code == 1 and "whether site %s was started here is not known" % server.site.name in answer.said
    assert server.call("stop.sh").code == 0 and server.call("genw.sh").code == 0, "the stop has looked, and removed it"


def test_a_file_on_a_dead_server_hangs_nobody(server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "hung").mkdir()
    hung = HungFileSystem(tmp_path / "hung")
    link, second, inside = (tmp_path / name for name in ("link.conf", "second.conf", "inside"))
    link.symlink_to(hung.folder / "site.conf")
    second.symlink_to("link.conf")
    inside.symlink_to(hung.folder)
    try:
        for path in (hung.folder / "site.conf", link, second, inside / "site.conf"):
            for name in ("start.sh", "stop.sh", "genw.sh"):
                answer = from_template(server, name, CLP_EVENT="START", CJC_AGENT_CONF=str(path))
                assert answer.code == 1 and "on a network file system, which could hang: keep it on the node's own disk" in answer.said
        assert hung.requests == 0
    finally:
        hung.close()


# -- clplogcmd ---------------------------------------------------------------------------------------------------------------------------


def test_a_clplogcmd_that_hangs_or_fails_changes_no_answer_and_costs_little(server: Server, tmp_path: pathlib.Path) -> None:
    command = tmp_path / "clusterpro/bin/clplogcmd"
    command.parent.mkdir(parents=True)
    for text in ("exec sleep 1000", "exit 3", "kill -9 $$"):
        command.write_text("#!/bin/sh\n%s\n" % text)
        command.chmod(0o755)
        answer = server.call("stop.sh", CLP_PATH=str(tmp_path / "clusterpro"))
        assert answer.code == 0 and answer.seconds < 8
    wait_until(lambda: "sleep" not in all_processes().values() or not [pid for pid, name in all_processes().items() if name == "clplogcmd"])


def test_with_all_that_can_hang_it_ends_before_clusterpro_s_timeout(server: Server, tmp_path: pathlib.Path) -> None:
    server.start()
    command = tmp_path / "clusterpro/bin/clplogcmd"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\nexec sleep 1000\n")
    command.chmod(0o755)
    server.configure(monitor_timeout="10s")
    pathlib.Path(NQS_SPOOL, "simulator.faults").write_text("status = hang\n")
    try:
        answer = server.call("genw.sh", CLP_PATH=str(tmp_path / "clusterpro"))
    finally:
        pathlib.Path(NQS_SPOOL, "simulator.faults").unlink()
    assert answer.code == 1 and 5 < answer.seconds < 10 and "ERROR: cjc-agent monitor" in answer.said
    server.stop()


def test_a_full_pipe_on_standard_error_hangs_nobody(server: Server) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    try:
        for name in ("start.sh", "stop.sh"):
            done = subprocess.run([server.script(name)], env=server.environment(CLP_EVENT="START"), stderr=writer, timeout=60, check=False)
            assert done.returncode == 0
        server.site.assert_nothing_left()
    finally:
        os.close(reader)
        os.close(writer)
