"""The fakes of CLUSTERPRO's commands are strict: what is not known from public samples is refused. Needs no node."""
from __future__ import annotations

import pathlib
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from clusterpro import product

BASE = """create lab UTF-8
add srv node1 0
add srv node2 1
add grp failover jobsiteA
add rsc jobsiteA exec job
add rscparam exec job parameters/act/path start.sh
add rscparam exec job parameters/deact/path stop.sh"""


class Machine:
    """A folder with the fakes installed, and a current folder for clp.conf."""

    def __init__(self, folder: pathlib.Path) -> None:
        product.install(folder)
        self.home, self.here = folder / product.HOME[1:], folder / "here"
        self.here.mkdir()

    def run(self, command: str, *words: str | bytes) -> subprocess.CompletedProcess[str]:
        """One command."""
        return subprocess.run([self.home / "bin" / command, *words], cwd=self.here, capture_output=True, text=True, errors="replace", timeout=30)

    def good(self, *words: str) -> None:
        """One command, which must be accepted, silently."""
        done = self.run(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words

    def refused(self, *words: str | bytes) -> str:
        """One command, which must be refused and change nothing; return why."""
        before = self.contents()
        done = self.run(*words)  # type: ignore[arg-type]
        assert done.returncode == 1 and done.stdout == "" and "SIMULATOR" in done.stderr and "Traceback" not in done.stderr, (words, done)
        assert self.contents() == before
        return done.stderr

    def contents(self) -> dict[str, bytes]:
        """All files of the current folder and the log."""
        files = [path for folder in (self.here, self.home / "log") for path in folder.rglob("*") if path.is_file() and path.suffix != ".refused"]
        return {str(path): path.read_bytes() for path in files}

    def log(self) -> list[str]:
        """What clplogcmd has written, without the time."""
        path = self.home / "log/clplogcmd.log"
        return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    """A machine without clp.conf."""
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a small cluster in clp.conf, and the scripts, which could be pushed."""
    made = Machine(tmp_path_factory.mktemp("base"))
    for line in BASE.splitlines():
        made.good("clpcfset", *line.split())
    folder = made.here / "scripts/jobsiteA/job"
    folder.mkdir(parents=True)
    for name in ("start.sh", "stop.sh"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return made.here


@pytest.fixture
def configured(machine: Machine, base: pathlib.Path) -> Machine:
    """A machine with that folder."""
    shutil.copytree(base, machine.here, dirs_exist_ok=True)
    return machine


# -- clplogcmd ------------------------------------------------------------------------------------------------------------------------

def test_messages_are_logged_with_their_level(machine: Machine) -> None:
    machine.good("clplogcmd", "-m", "jobsiteA: started")
    machine.good("clplogcmd", "-l", "ERR", "-i", "10", "--alert", "--syslog", "-m", "サイト: 停止")
    assert machine.log() == ["INFO jobsiteA: started", "ERR サイト: 停止"]


@pytest.mark.parametrize("words", [
    (), ("-m",), ("-m", ""), ("message",), ("-m", "x", "y"), ("-m", "x", "-l"), ("-m", "x", "-l", "warn"), ("-m", "x", "-l", "ERROR"), ("-l", "INFO"),
    ("-m", "x", "-i", "one"), ("-m", "x", "--priority", "1"), ("-m", "x", "-h"), ("-m", "two\nlines"), ("-m", "nul\x1b"), ("-mx",), ("-m", b"\xe3\x81"),
])
def test_what_is_not_known_of_clplogcmd_is_refused(machine: Machine, words: tuple[str, ...]) -> None:
    machine.refused("clplogcmd", *words)
    assert machine.log() == [] and (machine.home / "log/clplogcmd.refused").read_text()


# -- clpcfset, clpcfadm.py --------------------------------------------------------------------------------------------------------------

def test_create_refuses_an_unknown_encoding_and_an_existing_file(machine: Machine) -> None:
    assert "encoding" in machine.refused("clpcfset", "create", "lab", "KLINGON")
    machine.good("clpcfset", "create", "lab", "EUC-JP")
    assert "already" in machine.refused("clpcfset", "create", "lab", "UTF-8")


@pytest.mark.parametrize("line", [
    "", "add", "remove rsc jobsiteA exec x", "add rsc jobsiteA exec", "add rsc nogroup exec x", "add rsc jobsiteA script x", "add rsc jobsiteA exec job",
    "add rsc jobsiteA exec a/b", "add srv node3 0", "add srv node1 2", "add srv node3 first", "add grp virtual x", "add grp failover jobsiteA",
    "add mon ipw x", "add rscparam exec nobody act/retry 0", "add rscparam fip job parameters/ip 10.0.2.50", "add rscparam exec job act/retries 0",
    "add rscparam exec job parameters/timeout/start 0", "add rscparam exec job parameters/timeout/start 10000", "add rscparam exec job act/timeout 180",
    "add rscparam exec job parameters/timeout/stop 180s", "add rscparam exec job parameters/timeout/stop -1", "add rscparam exec job act/timeout 0180",
    "add rscparam exec job parameters/act/sync yes", "add rscparam exec job deact/action 9", "add rscparam exec job parameters/act/path ../start.sh",
    "add monparam genw nobody polling/interval 30", "add rscdep exec job nobody", "add rscdep exec job job", "add rscparam exec job act/retry 0 0",
])
def test_what_is_not_known_of_clpcfset_is_refused(configured: Machine, line: str) -> None:
    configured.refused("clpcfset", *line.split())


@pytest.mark.parametrize("line", [
    "", "create lab UTF-8", "add grp failover x", "add srv x 3", "add rscparam exec job act/retry 0", "mod -t resource/exec@job/act/retry",
    "mod -t resource/exec@job/act/retry --set", "mod -t resource/exec@nobody/act/retry --set 0", "mod -t resource/exec@job/act/retry --set x",
    "mod -t resource/exec@job/act/retries --set 0", "mod -t exec@job/act/retry --set 0", "mod -t resource/fip@job/act/retry --set 0",
    "mod -t resource/exec@job/act/retry --set 0 --force", "mod --set 0 -t resource/exec@job/act/retry",
    "mod -t resource/exec@job/parameters/timeout/start --set 0",
    "mod -t resource/exec@job/act/retries --set 0 --nocheck", "mod -t monitor/genw@watch/relation/type --set rsc",
])
def test_what_is_not_known_of_clpcfadm_is_refused(configured: Machine, line: str) -> None:
    configured.good("clpcfadm.py", "add", "mon", "genw", "watch")
    configured.refused("clpcfadm.py", *line.split())


def test_without_clp_conf_nothing_can_be_added(machine: Machine) -> None:
    for command in ("clpcfset", "clpcfadm.py"):
        assert "clp.conf" in machine.refused(command, "add", "mon", "genw", "watch")


def test_the_values_are_in_the_xml_and_the_last_one_counts(configured: Machine) -> None:
    for value in ("30", "1"):
        configured.good("clpcfset", "add", "rscparam", "exec", "job", "act/retry", value)
    root = ElementTree.parse(configured.here / "clp.conf").getroot()
    assert root.findtext("resource/exec[@name='job']/act/retry") == "1"
    assert root.find("resource/exec[@name='job']").get("group") == "jobsiteA"  # type: ignore[union-attr]
    configured.good("clpcfadm.py", "mod", "-t", "resource/exec@job/act/retry", "--set", "2")
    assert "<retry>2</retry>" in (configured.here / "clp.conf").read_text()


def test_both_make_the_same_file_of_the_same_wishes(configured: Machine) -> None:
    first = (configured.here / "clp.conf").read_bytes()
    for line in ("add mon genw watch", "add monparam genw watch relation/type rsc", "add monparam genw watch polling/interval 2"):
        configured.good("clpcfset", *line.split())
    one = (configured.here / "clp.conf").read_bytes()
    (configured.here / "clp.conf").write_bytes(first)
    for line in ("add mon genw watch", "mod -t monitor/genw@watch/polling/interval --set 2", "mod -t monitor/genw@watch/relation/type --set rsc --nocheck"):
        configured.good("clpcfadm.py", *line.split())
    assert (configured.here / "clp.conf").read_bytes() == one != first


# -- clpcfctrl ------------------------------------------------------------------------------------------------------------------------

def push(machine: Machine) -> str:
    """Push the current folder, which is refused for want of a cluster at the latest; return why."""
    return machine.refused("clpcfctrl", "--push", "-x", str(machine.here))


def test_a_folder_in_which_all_is_there_passes_all_checks(configured: Machine) -> None:
    assert "the cluster does not answer" in push(configured)


@pytest.mark.parametrize("words", [(), ("--push",), ("--push", "-x"), ("--push", "-w", "."), ("-x", ".", "--push"), ("--push", "-x", "/nowhere")])
def test_what_is_not_known_of_clpcfctrl_is_refused(configured: Machine, words: tuple[str, ...]) -> None:
    assert "the cluster does not answer" not in configured.refused("clpcfctrl", *words)


@pytest.mark.parametrize("spoil, why", [
    (lambda here: (here / "clp.conf").unlink(), "clp.conf"),
    (lambda here: (here / "clp.conf").write_text("<root>"), "no XML"),
    (lambda here: (here / "scripts/jobsiteA/job/stop.sh").unlink(), "script missing"),
    (lambda here: (here / "scripts/jobsiteA/job/start.sh").chmod(0o644), "cannot be run"),
    (lambda here: (here / "clp.conf").write_text((here / "clp.conf").read_text().replace("<path>start.sh</path>", "<path>/etc/passwd</path>")), "cannot be"),
])
def test_a_folder_in_which_something_is_missing_is_not_pushed(configured: Machine, spoil, why: str) -> None:  # type: ignore[no-untyped-def]
    spoil(configured.here)
    assert why in push(configured)


@pytest.mark.parametrize("lines, why", [
    (["rscparam exec job parameters/timeout/start 60"], "act/timeout is not 180 + 60"),
    (["rscparam exec job parameters/timeout/stop 60", "rscparam exec job deact/timeout 241"], "deact/timeout is not 180 + 60"),
    (["rscparam exec job act/timeout 360"], "act/timeout is not 180 + 1800"),
    (["rsc jobsiteA exec other"], "has no parameters/act/path"),
    (["rsc jobsiteA fip vip"], "has no address"),
    (["mon genw watch"], "has no parameters/path"),
    (["mon genw watch", "monparam genw watch parameters/path genw.sh", "monparam genw watch polling/timing 1"], "its target is no resource"),
    (["mon genw watch", "monparam genw watch parameters/path genw.sh", "monparam genw watch target job"], "has no relation"),
    (["mon genw watch", "monparam genw watch parameters/path genw.sh", "monparam genw watch target job", "monparam genw watch relation/type rsc",
      "monparam genw watch relation/name job"], "script missing"),
    (["srv node3 2"], "two servers"),
])
def test_what_does_not_fit_together_is_not_pushed(configured: Machine, lines: list[str], why: str) -> None:
    for line in lines:
        configured.good("clpcfset", "add", *line.split())
    assert why in push(configured)
