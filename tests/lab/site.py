"""A cluster site of the lab: its disk, its address, JobCenter's simulator, and the agent called as Pacemaker calls it."""
from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

from lab import disk

PROJECT = pathlib.Path(__file__).resolve().parents[2]
AGENT = "/usr/lib/ocf/resource.d/cjc/jobcenter"
NQS_HOME, NQS_SPOOL = "/usr/lib/nqs", "/usr/spool/nqs"
LINK = "vip0"
numbers = itertools.count(1)


@functools.cache
def prepare_node() -> None:
    """Install the agent and the simulator (the node's overlay takes it all), and make a link for the VIPs. Once, whoever asks again."""
    subprocess.run(["make", "-s", "-C", str(PROJECT), "install"], check=True)
    subprocess.run([str(PROJECT / "tests/simulator/install")], check=True, stdout=subprocess.DEVNULL)
    for words in ("link add %s type veth peer name vip1", "link set vip1 up", "link set %s up"):
        subprocess.run(["ip", *words.replace("%s", LINK).split()], check=True)


class Answer:
    """What one call of the agent answered: exit `code`, what it `said` on stderr, its `seconds`, and the one exit `reason`."""

    def __init__(self, code: int, out: str, said: str, seconds: float) -> None:
        self.code, self.out, self.said, self.seconds = code, out, said, seconds
        self.reasons = [line[len("ocf-exit-reason:"):] for line in said.split("\n") if line.startswith("ocf-exit-reason:")]

    @property
    def reason(self) -> str:
        """The exit reason; there must be exactly one."""
        assert len(self.reasons) == 1, self.said
        return self.reasons[0]

    def __repr__(self) -> str:
        return "<%d after %.2f s: %s>" % (self.code, self.seconds, self.said.strip())


def answer_of(command: list[str], environment: dict[str, str]) -> Answer:
    """Run a command of the agent's to its end."""
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


class Site:
    """One site with a disk and a VIP of its own. `parameters` are the agent's; `environment` is what Pacemaker sets besides."""

    def __init__(self, folder: pathlib.Path, fstype: str = "ext4", name: str = "", vip: str = "", directory: str = "") -> None:
        number = next(numbers)
        self.name = name or "job%d" % number
        self.vip = vip or "10.77.%d.%d" % (number // 250, number % 250 + 1)  # 251 to 254 are for others
        self.disk = self.make_disk(folder, fstype)
        self.directory = pathlib.Path(directory or "/srv/" + self.name)  # on the root file system: /tmp is a mount of its own on the node
        self.directory.mkdir()
        self.site_db = self.directory / "job_site"
        self.state = folder / "state"
        self.parameters = {"site": self.name, "site_db": str(self.site_db), "device": self.disk.path, "directory": str(self.directory),
                           "vip": self.vip}
        self.environment = {"PATH": os.environ["PATH"], "OCF_ROOT": "/usr/lib/ocf", "OCF_RESOURCE_INSTANCE": "rsc-" + self.name,
                            "OCF_RESKEY_CRM_meta_timeout": "30000", "OCF_RESKEY_CRM_meta_interval": "10000", "HA_RSCTMP": str(self.state),
                            "HA_LOGFACILITY": "none", "HA_LOGFILE": str(folder / "ha.log")}
        self.log = folder / "ha.log"
        self.children: list[subprocess.Popen[bytes]] = []
        self.caller: list[str] = []  # a command that runs the agent: `prlimit ...`, `strace ...`
        self.address("add")
        self.mount()
        self.simulator("cjcmksite", "-d", str(self.site_db), "-n", self.name, "-i", self.vip)
        self.umount()

    def make_disk(self, folder: pathlib.Path, fstype: str) -> disk.Disk:
        """The site's disk, with a file system on it."""
        return disk.make(str(folder / "disk.img"), 32 if fstype == "ext4" else 320, fstype)

    # -- the agent ----------------------------------------------------------------------------------------------------------------

    def call(self, action: str, *more: str, **environment: str) -> Answer:
        """Call the installed agent; keywords in capitals are environment variables, others are parameters that replace ours."""
        return answer_of([*self.caller, AGENT, action, *more], self.call_environment(**environment))

    def configuration(self, **changes: str) -> str:
        """The text of a configuration file: the agent's parameters, replaced by `changes` ("" leaves one out)."""
        return "".join("%s = %s\n" % pair for pair in {**self.parameters, **changes}.items() if pair[1])

    def call_environment(self, **changes: str) -> dict[str, str]:
        """The environment of a call."""
        parameters = dict(self.parameters, **{name: value for name, value in changes.items() if name.islower()})
        return dict(self.environment, **{"OCF_RESKEY_" + name: value for name, value in parameters.items()},
                    **{name: value for name, value in changes.items() if not name.islower()})

    def start(self, **changes: str) -> None:
        """Start the site; it must work."""
        answer = self.call("start", **changes)
        assert answer.code == 0, answer

    def stop(self, **changes: str) -> None:
        """Stop the site; it must work and leave nothing."""
        answer = self.call("stop", **changes)
        assert answer.code == 0, answer
        self.assert_nothing_left()

    def monitor(self, level: int = 0, **changes: str) -> int:
        """The exit code of a recurring monitor."""
        return self.call("monitor", OCF_CHECK_LEVEL=str(level), **changes).code

    def probe(self, **changes: str) -> int:
        """The exit code of a probe."""
        return self.call("monitor", OCF_RESKEY_CRM_meta_interval="0", **changes).code

    def assert_nothing_left(self) -> None:
        """No mount, no process, no record."""
        assert not self.mounted()
        assert not self.processes()
        assert not list(self.state.glob("*.json"))

    # -- the node -----------------------------------------------------------------------------------------------------------------

    def address(self, verb: str) -> None:
        """`ip addr add` or `del` of the VIP."""
        subprocess.run(["ip", "addr", verb, self.vip + "/24", "dev", LINK], check=True)

    def mount(self, *options: str) -> None:
        """Mount the disk by hand."""
        subprocess.run(["mount", *options, self.disk.path, str(self.directory)], check=True)

    def umount(self) -> None:
        """Unmount it by hand."""
        subprocess.run(["umount", str(self.directory)], check=True)

    def mounted(self) -> bool:
        """Whether anything is mounted on the mount point."""
        return (" %s " % self.directory) in pathlib.Path("/proc/self/mountinfo").read_text()

    def processes(self) -> dict[int, str]:
        """pid -> name of all processes that carry the site's NQS_SITE, and of the simulator's daemons that dropped it but are in the pid file."""
        return {pid: name for pid, name in all_processes().items() if ("NQS_SITE=" + self.name) in environment_of(pid)}

    def daemons(self) -> dict[str, int]:
        """Name -> pid of the simulator's daemons of this site."""
        return {name: pid for pid, name in self.processes().items() if name.startswith("jcsim-") and not just_forked(pid, name)}

    def popen(self, *command: str, **more: object) -> subprocess.Popen[bytes]:
        """Start a process that the teardown ends."""
        child = subprocess.Popen(list(command), **more)  # type: ignore[call-overload]
        self.children.append(child)
        return child

    # -- JobCenter ----------------------------------------------------------------------------------------------------------------

    def simulator(self, command: str, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the simulator's commands by hand, as the site's administrator would."""
        values = dict({"PATH": os.environ["PATH"], "NQS_SITE": self.name}, **environment)
        return subprocess.run([NQS_HOME + "/" + command, *arguments], env=values, check=check, capture_output=True, text=True,
                              start_new_session=True, timeout=60)

    def faults(self, text: str) -> dict[str, str]:
        """The parameter that makes the simulator fail on purpose."""
        return {"environment": "JCSIM_FAULTS=" + text}

    def recorded(self) -> set[int]:
        """The pids of the daemons in the site's record."""
        return {pid for pid, _ in json.loads((self.state / ("cjc-%s.json" % self.name)).read_text())["daemons"]}

    def start_beside_a_job(self, note: pathlib.Path) -> None:
        """Start the site as after a failover: a job that the stop before has put back runs before this start is at its end."""
        self.start()
        self.noting_job(note, "exec sleep 1000")
        self.stop()
        note.unlink()
        self.start(**self.status_waits_for(note))
        assert int(note.read_text()) in self.processes()

    def noting_job(self, note: pathlib.Path, *command: str) -> None:
        """Submit a job, a shell `command`, that notes its pid before anything else each time it runs; return once it does."""
        self.simulator("qsub", "-s", self.name, "--", "echo $$ >%s.new; mv %s.new %s; %s" % (note, note, note, "; ".join(command)))
        wait_until(note.exists)

    def status_waits_for(self, note: pathlib.Path) -> dict[str, str]:
        """The parameter that makes status, once the site has daemons, answer when the job has made its note: it runs before a start is at its end."""
        path = note.with_suffix(".cjcpw")
        path.write_text('#!/bin/sh\n[ "$1" != status ] || [ ! -e %s/sites/%s.pids ] || until [ -e %s ]; do sleep 0.01; done\nexec %s/cjcpw "$@"\n'
                        % (NQS_SPOOL, self.name, note, NQS_HOME))
        path.chmod(0o755)
        return {"cjcpw": str(path)}

    def close(self) -> None:
        """End what is left of the site on this node."""
        for child in self.children:
            child.kill()
            child.wait()
        pids = pathlib.Path(NQS_SPOOL, "sites", self.name + ".pids")
        named = [int(pid) for pid in re.findall(r"\d+", pids.read_text())] if pids.exists() else []
        for pid in [*self.processes(), *(pid for pid in named if all_processes().get(pid, "").startswith("jcsim-"))]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["fsfreeze", "-u", str(self.directory)], check=False, stderr=subprocess.DEVNULL)
        wait_until(lambda: not self.mounted() or subprocess.run(["umount", str(self.directory)], check=False, stderr=subprocess.DEVNULL).returncode == 0)
        subprocess.run(["ip", "addr", "del", self.vip + "/24", "dev", LINK], check=False, stderr=subprocess.DEVNULL)
        self.disk.close()


def missing(programs: dict[str, str]) -> list[str]:
    """Given program -> Debian package, return those that this machine does not have: "crm (package crmsh)" ..."""
    return ["%s (package %s)" % pair for pair in programs.items() if shutil.which(pair[0]) is None]


def all_processes() -> dict[int, str]:
    """pid -> name of everything that lives on this node."""
    found = {}
    for name in os.listdir("/proc"):  # not glob: it looks at each path, and one that ends under its eyes is an error
        try:
            text = pathlib.Path("/proc/%d/stat" % int(name)).read_text()
        except (OSError, ValueError):
            continue
        if text.rsplit(")", 1)[1].split()[0] != "Z":
            found[int(name)] = text.split("(", 1)[1].rsplit(")", 1)[0]
    return found


def command_of(pid: int) -> str:
    """The command line of a process, "" when it has gone or cannot be read (see environment_of)."""
    return _contents(pid, "cmdline").replace("\0", " ")


def just_forked(pid: int, name: str) -> bool:
    """Whether a process that had this name has it from its parent: until its exec a job has name and environment of the scheduler that starts it."""
    try:
        parent = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[1]
        return pathlib.Path("/proc/%s/comm" % parent).read_text().strip() == name
    except OSError:
        return False  # ended meanwhile


def environment_of(pid: int) -> list[str]:
    """The NAME=value entries of a process; none of one that hangs in D state with its memory map locked, for which reading them waits."""
    return _contents(pid, "environ").split("\0")


def _contents(pid: int, name: str) -> str:
    found: list[str] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            found.append(pathlib.Path("/proc/%d/%s" % (pid, name)).read_text(errors="replace"))
    with contextlib.suppress(OSError):
        if pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0] != "D":
            read()
        else:  # in a thread that may wait for it
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            reader.join(0.5)
    return "".join(found)


def wait_until(condition, seconds: float = 30.0) -> None:  # type: ignore[no-untyped-def]
    """Wait until a condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited %.0f s in vain" % seconds
        time.sleep(0.02)
