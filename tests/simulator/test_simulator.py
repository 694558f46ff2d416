"""Tests of the JobCenter simulator: its commands are run as an operator or an agent would run them."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from jobcenter_simulator import jobs  # noqa: E402
from jobcenter_simulator.processes import start_time  # noqa: E402

SITE = "jobsiteA"
ADDRESS = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
LONG = "exec sleep 300"


def wait_for(condition, seconds=30):
    """Return the first true value of `condition()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail("waited in vain")


def free_port():
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def listening_on(port):
    """Return the addresses with a listener on `port`, as the kernel tells."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, hex_port = line.split()[1].split(":")
            if int(hex_port, 16) == port and line.split()[3] == "0A":
                words = [bytes.fromhex(address[i:i + 8])[::-1] for i in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


def stat_fields(pid):
    """Return the fields of /proc/PID/stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def open_files(pid):
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def environ(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Node:
    """A product tree and the commands in it. Its environment carries a mark, to find its processes again."""

    def __init__(self, root, name="node1"):
        self.root = root
        self.name = name
        self.home = root / "usr/lib/nqs"
        self.spool = root / "usr/spool/nqs"
        self.port = free_port()
        self.daemons = {}
        self.residents = []

    def environment(self, site=SITE, faults=None):
        environment = {"PATH": "/usr/bin:/bin", "JCSIM_TEST": str(self.root), "JCSIM_NODE": self.name}
        if site is not None:
            environment["NQS_SITE"] = site
        if faults:
            environment["JCSIM_FAULTS"] = faults
        return environment

    def run(self, command, *arguments, site=SITE, faults=None, timeout=15, human=True):
        """Run a command; return its code and output. Every line for people must say SIMULATOR.

        Output goes to a file: a daemon that keeps a pipe open would make us wait for ever.
        """
        output = self.root / "output"
        with open(output, "wb") as file:
            done = subprocess.run([self.home / command, *arguments], env=self.environment(site, faults),
                                  stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=timeout, check=False)
        self.note_daemons()
        raw = output.read_bytes()
        text = raw.decode("utf-8", "replace")
        if human:
            assert all("SIMULATOR" in line for line in text.splitlines()), text
        return SimpleNamespace(code=done.returncode, text=text, raw=raw)

    def cjcpw(self, verb, **options):
        return self.run("cjcpw", verb, **options)

    def start(self, **options):
        result = self.cjcpw("start", **options)
        assert result.code == 0, result.text

    def note_daemons(self):
        """Remember the daemons for the end of the test."""
        for file in filter(Path.is_file, (self.spool / "sites").glob("*.pids")):
            for line in file.read_text().splitlines():
                role, pid, started = line.split()
                self.daemons[int(pid)] = int(started)

    def pids(self):
        """Return {role: pid} of the site."""
        lines = (self.spool / f"sites/{SITE}.pids").read_text().splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    def resident(self, faults=None):
        """Start the resident form; return it once the site runs."""
        log = open(self.root / "resident.log", "wb")
        with log:
            process = subprocess.Popen([self.home / "cjcpw"], env=self.environment(faults=faults), stdout=log,
                                       stderr=log, stdin=subprocess.DEVNULL)
        self.residents.append(process)
        wait_for(lambda: b"stays resident" in (self.root / "resident.log").read_bytes())
        self.note_daemons()
        return process

    def submit(self, command, *options):
        result = self.run("qsub", "--quiet", *options, "--", command, human=False)
        assert result.code == 0, result.text
        return int(result.text)

    def jobs(self):
        return json.loads(self.run("qstat", "--json", human=False).text)["jobs"]

    def ledger(self):
        return json.loads(self.run("qstat", "--ledger", "--json", human=False).text)["ledger"]

    def state(self, job):
        return next(row["state"] for row in self.jobs() if row["id"] == job)

    def marked(self):
        """Return the pids of all living processes that carry this node's mark."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"JCSIM_TEST={self.root}\0".encode() in environ(entry.name):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def kill_everything(self):
        """SIGKILL daemons and jobs, as the loss of a node does: nobody may see another one die, a scheduler would note its job as failed."""
        def gone():
            return all(start_time(pid) != started for pid, started in self.daemons.items())
        kill(process.pid for process in self.residents if process.poll() is None)
        kill(pid for pid, started in self.daemons.items() if start_time(pid) == started)
        wait_for(gone)
        kill(self.marked())

    def end(self):
        self.note_daemons()
        self.kill_everything()
        for process in self.residents:
            process.wait()


def install(root, *options):
    done = subprocess.run([HERE / "install", "--root", root, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SIMULATOR" in done.stdout, done.stderr


@pytest.fixture
def bare(tmp_path):
    """A node without a site."""
    node = Node(tmp_path)
    install(tmp_path, "--listen-port", str(node.port))
    yield node
    node.end()


@pytest.fixture
def node(bare):
    """A node with the site DB of jobsiteA."""
    bare.db = bare.root / "share/job_site"
    made = bare.run("cjcmksite", "-d", bare.db, "-n", SITE, "-i", ADDRESS)
    assert made.code == 0, made.text
    bare.conf = bare.db / "nqs/daemon.conf"
    return bare


# --- install and cjcmksite

@pytest.mark.parametrize("licence, content", [("cjc", True), ("plain", False), ("none", None)])
def test_install_makes_a_product_tree(tmp_path, licence, content):
    install(tmp_path, "--licence", licence, "--listen-port", "30001", "--local-ipaddress", "10.0.0.10")
    home, key = tmp_path / "usr/lib/nqs", tmp_path / "usr/lib/nqs/license/jobcenter_key.dat"
    assert {"local_daemon=SITE", "listen_port=30001"} <= set((home / "rc/daemon.conf").read_text().split())
    assert "ipaddress=10.0.0.10" in (tmp_path / "usr/spool/nqs/daemon.conf").read_text()
    assert key.exists() == (content is not None)
    if content is not None:
        assert ("CJC Option" in key.read_text()) == content and "SIMULATOR" in key.read_text()


def test_cjcmksite_makes_the_site_db_of_the_seed(bare):
    bare.run("cjcmksite", "-d", bare.root / "s", "-n", SITE, "-i", "10.0.2.50,10.0.2.51", "-p", "20817")
    nqs = bare.root / "s/nqs"
    settings = [line.split("#")[0].strip() for line in (nqs / "daemon.conf").read_text().splitlines()]
    assert {"local_daemon=OFF", "ipaddress=10.0.2.50,10.0.2.51", "listen_port=20817", "ipcheck=OFF"} <= set(settings)
    assert (nqs / "site").read_text() == SITE + "\n"
    assert (nqs / "jobs.db").read_bytes().startswith(b"SQLite format 3") and (nqs / "log").is_dir()
    assert sorted(os.listdir(bare.root / "s")) == ["nqs"], "a draft was left"
    assert (bare.spool / "sites" / SITE).read_text() == f"{bare.root}/s\n"


def test_cjcmksite_never_overwrites_a_site_db(node):
    node.conf.write_text("precious")
    for name in (SITE, "other"):
        again = node.run("cjcmksite", "-d", node.db, "-n", name, "-i", "10.9.9.9")
        assert again.code == 31 and "exists already" in again.text
    assert node.conf.read_text() == "precious"
    assert not (node.spool / "sites/other").exists()


def test_cjcmksite_takes_anything_in_the_place_for_a_site_db(bare):
    (bare.root / "s").mkdir()
    (bare.root / "s/nqs").symlink_to("nowhere")
    assert bare.run("cjcmksite", "-d", bare.root / "s", "-n", SITE).code == 31
    assert os.listdir(bare.root / "s") == ["nqs"]


def test_cjcmksite_refuses_a_bad_site_name(bare):
    for name in ["=", "-a", ".a", "a/b", "a b", "../a", "ジョブ", "a" * 64, "a.pids"]:
        result = bare.run("cjcmksite", "-d", bare.root / "s", f"-n{name}", "-i", "10.0.0.1")
        assert result.code == 30, result.text
    assert not (bare.root / "s").exists()


def test_cjcmksite_takes_a_good_site_name(bare):
    for name in ["a", "0", "a" * 63, "Job_site-1.x"]:
        assert bare.run("cjcmksite", "-d", bare.root / name, "-n", name).code == 0


def test_cjcmksite_registers_an_existing_site_on_another_node(node, tmp_path):
    second = Node(tmp_path / "second", "node2")
    install(second.root)
    registered = second.run("cjcmksite", "-r", "-d", node.db, "-n", SITE)
    assert registered.code == 0 and "no site DB there" not in registered.text
    assert second.cjcpw("status").code == 1
    assert second.run("cjcmksite", "-r", "-d", node.db, "-n", "other").code == 15


def test_cjcmksite_registers_while_the_disk_is_not_mounted(bare):
    assert bare.run("cjcmksite", "-r", "-d", bare.root / "s", "-n", SITE).code == 0
    assert not (bare.root / "s").exists()
    assert bare.cjcpw("status").code == 3


def test_cjcmksite_refuses_a_site_registered_elsewhere(node):
    for option in ([], ["-r"]):
        assert node.run("cjcmksite", *option, "-d", node.root / "else", "-n", SITE).code == 32
    assert not (node.root / "else").exists()


@pytest.mark.parametrize("options", [["-i", "host.example"], ["-p", "0"], ["-i", "1.2.3.4,1.2.3.4"], ["--what"]])
def test_cjcmksite_refuses_wrong_usage(bare, options):
    assert bare.run("cjcmksite", "-d", bare.root / "s", "-n", SITE, *options).code == 64
    assert not (bare.root / "s").exists()


# --- refusals of start

def no_registration(node):
    (node.spool / "sites" / SITE).unlink()


def no_licence(node):
    (node.home / "license/jobcenter_key.dat").unlink()


def plain_licence(node):
    (node.home / "license/jobcenter_key.dat").write_text("SIMULATOR only MG/SV")


def no_site_db(node):
    node.db.rename(node.root / "unmounted")


def foreign_site_db(node):
    (node.db / "nqs/site").write_text("jobsiteB\n")


def no_ipaddress(node):
    node.conf.write_text("local_daemon=OFF\n")


def absent_address(node):
    node.conf.write_text("ipaddress=192.0.2.1\n")


def no_log_folder(node):
    (node.db / "nqs/log").rmdir()


def one_daemon_fails(node):
    (node.db / "nqs/log/sched.log").mkdir()


@pytest.mark.parametrize("damage, code, word", [
    (no_registration, 11, "not registered"), (no_licence, 12, "jobcenter_key.dat"), (plain_licence, 13, "CJC"),
    (no_site_db, 14, "mounted"), (foreign_site_db, 15, "jobsiteB"), (no_ipaddress, 17, "no ipaddress"),
    (absent_address, 18, "192.0.2.1"), (no_log_folder, 20, "net.log"),
    (one_daemon_fails, 20, "sched.log")])
def test_start_refuses_with_a_code_of_its_own(node, damage, code, word):
    damage(node)
    for form in (["start"], []):  # the second is the resident form
        result = node.run("cjcpw", *form)
        assert result.code == code and word in result.text, form
        assert not list((node.spool / "sites").glob("*.pids")) and not node.marked() and not listening_on(node.port)


@pytest.mark.parametrize("verb", ["start", "stop", "status"])
def test_nothing_works_without_a_site(node, verb):
    without = node.cjcpw(verb, site=None)
    assert without.code == 10 and "NQS_SITE" in without.text
    assert node.cjcpw(verb, site="unheard").code == (3 if verb == "status" else 11)
    assert node.cjcpw(verb, site="../x").code == 11


def test_start_refuses_a_taken_port(node):
    with socket.socket() as other:
        other.bind((ADDRESS, node.port))
        other.listen()
        assert node.cjcpw("start").code == 19
    node.start()


def test_start_refuses_a_bad_daemon_conf_by_file_and_line(node):
    for line in ["ipaddress=10.0.2.500", "ipaddress=vip.example", "ipaddress=127.0.0.1,",
                 "ipaddress=127.0.0.1,127.0.0.1",
                 "ipaddress=127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5,127.0.0.6",
                 "listen_port=0", "listen_port=65536", "listen_port=", "listen_port=abc",
                 "local_daemon=ON", "ipcheck=no", "just words"]:
        node.conf.write_text(f"# first\nipaddress={ADDRESS}\n{line}  # comment\n")
        result = node.cjcpw("start")
        assert result.code == 16 and f"{node.conf} line 3:" in result.text, line


def test_a_bad_common_daemon_conf_is_named_unless_overridden(node):
    common = node.home / "rc/daemon.conf"
    common.write_text("listen_port=oops\n")
    result = node.cjcpw("start")
    assert result.code == 16 and f"{common} line 1:" in result.text
    with open(node.conf, "a", encoding="ascii") as file:
        file.write(f"listen_port={node.port}\n")
    node.start()


def test_no_daemon_stays_when_the_pid_file_cannot_be_written(node):
    (node.spool / f"sites/{SITE}.pids/x").mkdir(parents=True)
    assert node.cjcpw("start").code == 70
    wait_for(lambda: not node.marked())
    assert not listening_on(node.port)


def test_wrong_usage(node):
    assert node.cjcpw("restart").code == 64
    assert node.run("cjcpw", "start", "now").code == 64


# --- a site's life

def test_start_status_stop(node):
    assert node.cjcpw("status").code == 1
    begin = time.monotonic()
    node.start()
    with socket.create_connection((ADDRESS, node.port), 1):
        pass
    running = node.cjcpw("status")
    assert running.code == 0 and "runs" in running.text
    pids = node.pids()
    again = node.cjcpw("start")
    assert again.code == 0 and "already" in again.text and node.pids() == pids
    assert node.cjcpw("stop").code == 0
    assert not node.marked() and not listening_on(node.port)
    assert node.cjcpw("status").code == 1
    stopped = node.cjcpw("stop")
    assert stopped.code == 0 and "already" in stopped.text
    assert time.monotonic() - begin < 3, "start and stop are meant to be fast"


def test_daemons_are_real_daemons(node):
    node.start()
    pids = node.pids()
    assert sorted(pids) == ["log", "net", "sched"]
    for role, pid in pids.items():
        fields = stat_fields(pid)
        assert int(fields[1]) != os.getpid() and int(fields[3]) == pid and fields[4] == "0", "parent, session, tty"
        assert Path(f"/proc/{pid}/comm").read_text() == f"jcsim-{role}\n"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert f"NQS_SITE={SITE}\0".encode() in environ(pid)
        files = open_files(pid)
        assert files.count("/dev/null") == 3 and str(node.root / "output") not in files
        assert str(node.db / f"nqs/log/{role}.log") in files
        assert any("socket:" in name for name in files) == (role == "net"), "only net keeps the listener"
    assert "SIMULATOR" in (node.db / "nqs/log/net.log").read_text()
    wait_for(lambda: "heartbeat" in (node.db / "nqs/log/log.log").read_text())


def test_listens_exactly_where_told(node):
    addresses = [ADDRESS, "127.77.255.254", "::1"]
    node.conf.write_text(f"ipaddress={' , '.join(addresses)}\n")
    node.start()
    assert listening_on(node.port) == set(addresses)


def test_the_site_db_overrides_the_common_daemon_conf(node):
    other = free_port()
    (node.home / "rc/daemon.conf").write_text(f"listen_port={node.port}\nipaddress=192.0.2.1\n")
    (node.spool / "daemon.conf").write_text("ipaddress=192.0.2.2\nlisten_port=1\n")
    node.conf.write_text(f"ipaddress={ADDRESS}\nlisten_port={other}\n")
    node.start()
    assert listening_on(other) == {ADDRESS} and not listening_on(node.port)
    assert node.submit("true"), "qsub finds the same address and port"
    node.cjcpw("stop")
    node.conf.write_text(f"ipaddress={ADDRESS}\n")
    node.start()
    assert listening_on(node.port) == {ADDRESS}


@pytest.mark.parametrize("encoding", ["euc_jp", "shift_jis", "utf-8"])
def test_comments_may_be_japanese_in_any_encoding(node, encoding):
    text = f"# 仮想ホスト名に対応するＩＰ 表示能力\r\nipaddress={ADDRESS}  # 待受ける／抑制\r\n"
    node.conf.write_bytes(text.encode(encoding))
    node.start()
    assert listening_on(node.port) == {ADDRESS}


def test_status_knows_a_site_that_lives_only_partly(node):
    node.start()
    os.kill(node.pids()["log"], signal.SIGKILL)
    wait_for(lambda: node.cjcpw("status").code == 2)
    refused = node.cjcpw("start")
    assert refused.code == 21 and "net" in refused.text
    assert node.cjcpw("stop").code == 0 and node.cjcpw("status").code == 1


def test_status_without_site_db(node):
    node.start()
    no_site_db(node)
    result = node.cjcpw("status")
    assert result.code == 3 and "3 daemons alive" in result.text


def test_a_pid_that_is_used_again_is_no_daemon(node):
    lines = [f"{role} {os.getpid()} 1\n" for role in ("net", "sched", "log")]
    (node.spool / f"sites/{SITE}.pids").write_text("".join(lines))
    assert node.cjcpw("status").code == 1
    assert node.cjcpw("stop").code == 0, "and must not be signalled, or this test had died"
    (node.spool / f"sites/{SITE}.pids").write_text("".join(lines))
    node.start()
    node.daemons.pop(os.getpid(), None)


@pytest.mark.parametrize("damage", [no_licence, plain_licence, no_site_db, no_registration,
                                    lambda node: node.conf.write_text("listen_port=?")])
def test_stop_needs_neither_licence_nor_conf_nor_disk(node, damage):
    node.start()
    damage(node)
    assert node.cjcpw("stop").code == 0
    assert not node.marked()


# --- resident form

def test_resident_ends_the_site_on_term(node):
    resident = node.resident()
    assert {int(stat_fields(pid)[1]) for pid in node.pids().values()} == {resident.pid}
    assert node.cjcpw("status").code == 0
    resident.terminate()
    assert resident.wait(10) == 0
    assert node.cjcpw("status").code == 1 and not listening_on(node.port)


def test_resident_watches_its_children(node):
    resident = node.resident()
    os.kill(node.pids()["sched"], signal.SIGKILL)
    assert resident.wait(10) == 22
    assert not listening_on(node.port), "the other daemons end with it"


def test_resident_ends_well_after_an_orderly_stop(node):
    resident = node.resident()
    assert node.cjcpw("stop").code == 0
    assert resident.wait(10) == 0


def test_resident_leaves_a_running_site_alone(node):
    node.start()
    again = node.run("cjcpw")
    assert again.code == 0 and "already" in again.text
    assert node.cjcpw("status").code == 0


# --- jobs

def test_a_job_is_acknowledged_and_runs(node):
    node.start()
    out = node.root / "out"
    accepted = node.run("qsub", "--", f"echo $NQS_SITE $$ > {out}.new; ps -o sid= $$ >> {out}.new; "
                                      f"mv {out}.new {out}; exit 7")
    assert accepted.code == 0 and "job 1 accepted" in accepted.text
    wait_for(lambda: node.state(1) == "failed")
    site, pid, session = out.read_text().split()
    assert site == SITE and session == pid
    [row] = node.ledger()
    assert (row["job"], row["node"], row["pid"]) == (1, "node1", int(pid))
    assert (row["exit_code"], row["outcome"]) == (7, "failed")
    assert row["started"] <= row["ended"]
    job = node.submit("true")
    wait_for(lambda: node.state(job) == "done")
    assert "done" in node.run("qstat").text and "node1" in node.run("qstat", "--ledger").text


def test_several_words_are_a_program_and_its_arguments(node):
    node.start()
    assert node.run("qsub", "--", "touch", node.root / "two words").code == 0
    wait_for((node.root / "two words").exists)


def test_the_database_is_synced_before_the_acknowledgement(node):
    with jobs.opened(node.db / "nqs/jobs.db") as database:
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 3
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


def test_an_acknowledged_job_survives_the_loss_of_all_daemons(node):
    node.start(faults="daemons=die-after:30:log")
    os.kill(node.pids()["sched"], signal.SIGSTOP)
    job = node.submit("true")
    node.kill_everything()
    [row] = jobs.listing(node.db / "nqs/jobs.db", "jobs")
    assert (row["id"], row["state"]) == (job, "queued")
    node.start()
    wait_for(lambda: node.state(job) == "done")


def test_a_job_of_a_lost_node_runs_again_on_another(node, tmp_path):
    node.start()
    out = tmp_path / "out"
    job = node.submit(f"echo run >> {out}; [ $(wc -l < {out}) -ge 2 ] || {LONG}")
    wait_for(lambda: out.exists() and out.read_text())  # the shell makes the file first: killed in between, the first run would leave no line
    node.kill_everything()
    second = Node(tmp_path / "second", "node2")
    install(second.root, "--listen-port", str(node.port))
    second.run("cjcmksite", "-r", "-d", node.db, "-n", SITE)
    try:
        second.start()
        wait_for(lambda: second.state(job) == "done")
        assert out.read_text() == "run\nrun\n"
        assert [(row["node"], row["outcome"]) for row in second.ledger()] == [("node1", "lost"), ("node2", "done")]
    finally:
        second.end()


def test_stop_ends_running_jobs_and_queues_them_again(node):
    node.start()
    marker = node.root / "second"
    job = node.submit(f"trap '' TERM; [ -e {marker} ] || while :; do sleep 300; done")
    pid = wait_for(lambda: [row["pid"] for row in node.ledger() if row["pid"]])[0]
    # the trap must be set, or TERM alone would do
    wait_for(lambda: any(line.startswith("SigIgn") and int(line.split()[1], 16) & 1 << signal.SIGTERM - 1
                         for line in Path(f"/proc/{pid}/status").read_text().splitlines()))
    assert node.cjcpw("stop").code == 0
    assert start_time(pid) is None and not node.marked()
    marker.touch()
    node.start()
    wait_for(lambda: node.state(job) == "done")
    assert [row["outcome"] for row in node.ledger()] == ["stopped", "done"]


def test_four_jobs_at_once(node):
    node.start()
    for _ in range(5):
        node.submit(LONG)
    wait_for(lambda: [row["state"] for row in node.jobs()].count("running") == 4)
    assert node.state(5) == "queued"
    os.kill(node.ledger()[0]["pid"], signal.SIGKILL)
    wait_for(lambda: node.state(5) == "running")
    assert node.ledger()[0]["exit_code"] == 128 + signal.SIGKILL


def test_the_same_key_gives_the_same_job(node):
    node.start()
    first = node.submit("true", "--key", "night-1")
    again = node.run("qsub", "--key", "night-1", "--", "true")
    assert again.code == 0 and f"job {first} accepted" in again.text
    assert node.submit("true") == first + 1
    wait_for(lambda: node.state(first + 1) == "done")
    assert [row["job"] for row in node.ledger()] == [first, first + 1]


def test_clients_say_clearly_when_nobody_answers(node):
    for command in (["qsub", "--", "true"], ["qstat"]):
        result = node.run(*command)
        assert result.code == 40 and "no answer" in result.text
    with socket.socket() as silent:
        silent.bind((ADDRESS, 0))
        silent.listen()
        host, port = silent.getsockname()
        begin = time.monotonic()
        assert node.run("qsub", "-H", host, "-P", str(port), "-t", "0.3", "--", "true", site=None).code == 40
        assert time.monotonic() - begin < 3
    assert node.run("qstat", site=None).code == 41
    assert node.run("qstat", "-s", "unheard").code == 11


def test_the_site_answers_with_an_error_when_its_database_is_gone(node):
    node.start()
    (node.db / "nqs/jobs.db").unlink()
    refused = node.run("qsub", "--", "true")
    assert refused.code == 42 and "database" in refused.text
    assert node.cjcpw("status").code == 0, "the daemons live on"


# --- fault switches

@pytest.mark.parametrize("verb", ["start", "stop", "status"])
def test_commands_can_be_disturbed(node, verb):
    if verb != "start":
        node.start()
    before = 1 if verb == "start" else 0
    assert node.cjcpw(verb, faults=f"{verb}=fail:77").code == 77
    assert node.cjcpw(verb, faults=f"{verb}=signal:9").code == -9
    assert node.cjcpw(verb, faults=f"{verb}=signal:15").code == -15
    with pytest.raises(subprocess.TimeoutExpired):
        node.cjcpw(verb, faults=f"{verb}=hang", timeout=0.2)
    assert node.cjcpw(verb, faults=f"{verb}=lie").code == 0
    assert node.cjcpw("status").code == before, "none of these may do anything"
    begin = time.monotonic()
    assert node.cjcpw(verb, faults=f"{verb}=slow:0.3").code == 0
    assert 0.3 <= time.monotonic() - begin < 5
    assert node.cjcpw("status").code == {"start": 0, "stop": 1, "status": 0}[verb], "slow, but done"


def test_status_can_lie_with_any_code(node):
    node.start()
    assert node.cjcpw("status", faults="status=lie:1").code == 1
    assert node.cjcpw("stop", faults="status=lie:1").code == 0, "a switch is for its own verb only"


def test_switches_come_from_a_file_and_the_environment_wins(node):
    (node.spool / "simulator.faults").write_text("# on purpose\nstatus = fail:71  # so\nstop = fail:72\n")
    assert node.cjcpw("status").code == 71
    assert node.cjcpw("status", faults="status=fail:73").code == 73
    assert node.cjcpw("stop", faults="status=fail:73").code == 72


def test_output_can_be_much_and_not_utf8(node):
    result = node.cjcpw("status", faults="output=200000,invalid_utf8=1", human=False)
    assert result.code == 1 and 200000 < len(result.raw) < 200500
    with pytest.raises(UnicodeDecodeError):
        result.raw.decode()


def test_daemons_can_ignore_term(node):
    node.start(faults="daemons=ignore-term")
    left = node.cjcpw("stop", faults="stop_wait=0.3")
    assert left.code == 4 and all(str(pid) in left.text for pid in node.pids().values())
    assert node.cjcpw("status").code == 0
    job = node.submit("kill -TERM $$; exit 0")
    wait_for(lambda: node.state(job) == "failed")  # jobs do not inherit the deafness


def test_daemons_can_rewrite_their_environment(node):
    node.start(faults="daemons=rewrite-environ")
    pids = node.pids()
    shown = {role: b"NQS_SITE" in environ(pid) for role, pid in pids.items()}
    assert shown == {"net": False, "sched": False, "log": True}
    out = node.root / "out"
    node.submit(f"echo $NQS_SITE > {out}.new; mv {out}.new {out}")
    wait_for(out.exists)
    assert out.read_text() == SITE + "\n", "jobs get it all the same"
    assert node.cjcpw("stop").code == 0
    node.start(faults="daemons=rewrite-environ:all")
    assert not any(b"NQS_SITE" in environ(pid) for pid in node.pids().values())


def test_daemons_can_keep_the_output_open(node):
    reader, writer = os.pipe()
    process = subprocess.Popen([node.home / "cjcpw", "start"], stdout=writer, stderr=writer,
                               stdin=subprocess.DEVNULL, env=node.environment(faults="daemons=keep-output-open"))
    os.close(writer)
    assert process.wait(10) == 0
    node.note_daemons()
    seen = b""
    while seen.count(b"net still writes") < 3:  # twice at once (two descriptors), the third a second later
        seen += os.read(reader, 4096)
    os.close(reader)
    log = node.db / "nqs/log/log.log"
    beats = log.read_text().count("heartbeat")
    wait_for(lambda: log.read_text().count("heartbeat") > beats)  # and survive a reader that goes away
    assert node.cjcpw("status").code == 0


def test_daemons_can_die(node):
    node.start(faults="daemons=die-after:0.2:sched")
    wait_for(lambda: node.cjcpw("status").code == 2)
    assert listening_on(node.port) == {ADDRESS}
    node.cjcpw("stop")
    node.start(faults="daemons=die-after:0.2")
    wait_for(lambda: node.cjcpw("status").code == 1)
    resident = node.resident(faults="daemons=die-after:0.2:log")
    assert resident.wait(10) == 22


def test_daemons_can_hold_nothing_and_have_several_faults(node):
    node.start(faults="daemons=no-hold+ignore-term")
    job = node.submit("true")
    wait_for(lambda: node.state(job) == "done")
    for pid in node.pids().values():
        wait_for(lambda pid=pid: not any(str(node.db) in name for name in open_files(pid)))
    assert node.cjcpw("stop", faults="stop_wait=0.2").code == 4
    wait_for(lambda: "heartbeat" in (node.db / "nqs/log/log.log").read_text())
