"""`cjc-agent init` on a node: a real disk, JobCenter's simulator, and a systemctl that only restarts."""
from __future__ import annotations

import json
import os
import pathlib
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from lab.changed import text_of
from lab.killing import each_step, tree
from lab.site import NQS_HOME, NQS_SPOOL, Answer, Site, all_processes, answer_of, wait_until
from lab.traced import execs_of
from lab.unit import ANSWER, CALLS, FAKE, SYSTEMCTL, TEXT, UNIT

COMMAND = "/usr/sbin/cjc-agent"
COMMON, LOCAL = pathlib.Path(NQS_HOME, "rc/daemon.conf"), pathlib.Path(NQS_SPOOL, "daemon.conf")
LOCAL_ADDRESS = "10.77.250.250"
WISHES = ("--mount", "--ipcheck-off", "--local-daemon", "SITE", "--local-ipaddress", LOCAL_ADDRESS, "--restart")


@pytest.fixture(scope="module", autouse=True)
def systemctl(node: None) -> Iterator[None]:
    """The fake, and a unit."""
    SYSTEMCTL.write_text(FAKE)
    SYSTEMCTL.chmod(0o755)
    UNIT.write_text(TEXT)
    yield
    SYSTEMCTL.unlink()
    UNIT.unlink()


class Fresh:
    """A node with a disk for the site, an empty one, and what init makes of it."""

    def __init__(self, site: Site, folder: pathlib.Path) -> None:
        self.site, self.folder, self.file = site, folder, folder / "site.conf"
        self.site_conf = site.site_db / "nqs/daemon.conf"
        self.registration = pathlib.Path(NQS_SPOOL, "sites", site.name)
        self.environment = {"PATH": os.environ["PATH"], "HA_RSCTMP": str(site.state), "NQS_SITE": "another"}
        self.kept = {path: path.read_bytes() for path in (COMMON, LOCAL)}
        self.file.write_text(site.configuration(run_fsck="no"))
        self.reset()

    def reset(self) -> None:
        """As if nothing had been done."""
        if self.site.mounted():
            self.site.umount()
        self.site.mount()
        shutil.rmtree(self.site.site_db, ignore_errors=True)
        self.site.umount()
        shutil.rmtree(self.site.state, ignore_errors=True)
        self.registration.unlink(missing_ok=True)
        for path, data in self.kept.items():
            path.unlink(missing_ok=True)
            path.write_bytes(data)
        for left in (*COMMON.parent.glob(".daemon.conf*"), *LOCAL.parent.glob(".daemon.conf*")):
            left.unlink()
        CALLS.write_text("")
        ANSWER.write_text("0\n")

    def command(self, *words: str) -> list[str]:
        """The words of a call."""
        return [COMMAND, "init", "--conf", str(self.file), *words]

    def call(self, *words: str) -> Answer:
        """Call it."""
        answer = answer_of(self.command(*words), self.environment)
        assert all(line.isprintable() for line in (answer.out + answer.said).split("\n")) and "Traceback" not in answer.said, answer
        return answer

    def outcomes(self, *words: str) -> dict[str, str]:
        """Step -> how it ended."""
        told = json.loads(self.call("--json", *words).out)
        return {step["step"]: step["outcome"] for step in told["steps"]}

    def all(self) -> dict[str, object]:
        """All that init could have changed, the disk included; it must not be mounted now."""
        assert not self.site.mounted()
        self.site.mount()
        try:
            disk = tree(self.site.directory, ("lost+found", ".nqs-draft"))  # the SIMULATOR's cjcmksite leaves drafts when it is killed
        finally:
            self.site.umount()
        disk.pop("job_site/nqs/jobs.db", None)  # SQLite's, with times in it
        state = [path.name for path in self.site.state.glob("*") if not path.name.endswith((".lock", ".new"))]  # a reboot takes what a kill has left there
        return {"disk": disk, "common": COMMON.read_bytes(), "local": tree(LOCAL.parent, (self.site.name + ".pids",)), "calls": CALLS.read_text(),
                "state": sorted(state)}


@pytest.fixture
def fresh(site: Site, tmp_path: pathlib.Path) -> Iterator[Fresh]:
    """The node; JobCenter's files are put back afterwards."""
    made = Fresh(site, tmp_path)
    yield made
    for path, data in made.kept.items():
        path.write_bytes(data)


def test_who_cannot_read_on_leaves_no_disk_mounted(fresh: Fresh) -> None:
    words = [*fresh.command(*WISHES)]
    for out in ("> /dev/full", "| head -n 4"):  # the steps of the disk are told in the first four lines
        done = subprocess.run(["/bin/sh", "-c", shlex.join(words) + out], env=fresh.environment, capture_output=True, text=True)
        wait_until(lambda: not fresh.site.mounted())
        assert "Traceback" not in done.stderr, done
    assert fresh.call(*WISHES).code == 0 and not fresh.site.mounted()


def test_from_nothing_to_a_site_that_starts(fresh: Fresh) -> None:
    site = fresh.site
    answer = fresh.call(*WISHES)
    assert answer.code == 0 and answer.said == "", answer
    for words in ("NQS_SITE=%s cjcmksite -d %s -n %s" % (site.name, site.site_db, site.name), "+ipaddress=%s" % site.vip, "+ipaddress=" + LOCAL_ADDRESS,
                  "run systemctl restart jobcentersv", "unmount %s again" % site.directory, "see what is left to do: cjc-agent doctor --conf "):
        assert words in answer.out, answer.out
    assert CALLS.read_text() == "restart jobcentersv\n"
    after = fresh.all()
    assert after["state"] == [] and LOCAL.read_text() == "# SIMULATOR: local site only\nlocal_daemon=SITE\nipaddress=%s\n" % LOCAL_ADDRESS
    site.mount()
    text = fresh.site_conf.read_text()
    assert {"local_daemon=OFF", "ipaddress=" + site.vip, "ipcheck=OFF"} <= {line.split("#")[0].strip() for line in text.split("\n")}
    assert "listen_port" not in text.replace("#listen_port", ""), "none was given"
    site.umount()
    site.start()
    assert fresh.call(*WISHES[:-1]).code == 0 and site.monitor() == 0, "also while it runs"
    site.stop()
    assert LOCAL.read_text().count(LOCAL_ADDRESS) == 1 and CALLS.read_text() == "restart jobcentersv\n"


def test_run_again_it_changes_nothing(fresh: Fresh) -> None:
    assert fresh.call(*WISHES).code == 0
    before, times = fresh.all(), (LOCAL.stat().st_mtime_ns, LOCAL.stat().st_ino)
    answer = fresh.call(*WISHES)
    assert answer.code == 0 and "nothing was to be done: all is as it should be" not in answer.out, "it was mounted"
    assert fresh.outcomes(*WISHES) == {"check": "good", "disk": "done", "site-db": "nothing to do", "note": "nothing to do", "site-conf": "nothing to do",
                                       "unmount": "done", "local-conf": "nothing to do", "restart": "nothing to do"}
    assert fresh.all() == before and (LOCAL.stat().st_mtime_ns, LOCAL.stat().st_ino) == times
    fresh.site.mount()
    assert "nothing was to be done: all is as it should be" in fresh.call(*WISHES).out
    assert fresh.site.mounted(), "we had not mounted it"


def test_the_port_that_the_agent_monitors(fresh: Fresh) -> None:
    answer = fresh.call(*WISHES, "--port", "20817")
    assert answer.code == 0 and "warning: CJC114" in answer.out, "the common file says another one, for the local site"
    fresh.site.mount()
    assert "\nlisten_port=20817\n" in fresh.site_conf.read_text()


def test_dry_run(fresh: Fresh) -> None:
    before = fresh.all()
    answer = fresh.call(*WISHES, "--dry-run")
    assert answer.code == 0 and "nothing was done" in answer.out
    outcomes = fresh.outcomes(*WISHES, "--dry-run")
    assert list(outcomes) == ["check", "disk", "site-db", "note", "site-conf", "unmount", "local-conf", "restart"]
    assert {outcome for name, outcome in outcomes.items() if name != "check"} == {"not done (--dry-run)"}
    assert fresh.all() == before and not fresh.site.state.exists()
    assert fresh.call(*WISHES).code == 0
    before = fresh.all()
    assert fresh.call(*WISHES, "--dry-run").code == 0 and fresh.all() == before


def test_only_cjcmksite_gets_the_site_s_name(fresh: Fresh) -> None:
    fresh.site.environment = fresh.environment
    execs = execs_of(fresh.site, "init", command=tuple(fresh.command(*WISHES)))
    carrying = {one.name: [entry for entry in one.environment if entry.startswith("NQS_SITE=")] for one in execs if one.name not in ("strace", "cjc-agent")}
    wrapper = {"cjc-agent", "sh", "dash"} | {name for name in carrying if name.startswith("python")}
    assert carrying["cjcmksite"] == ["NQS_SITE=" + fresh.site.name]
    assert {name for name, found in carrying.items() if found} - wrapper == {"cjcmksite"}
    assert {"mount", "umount", "systemctl"} <= carrying.keys()


# -- what must not be touched --------------------------------------------------------------------------------------------------------------


def test_a_site_db_is_never_made_anew(fresh: Fresh) -> None:
    site = fresh.site
    assert fresh.call(*WISHES).code == 0
    site.mount()
    jobs = (site.site_db / "nqs/jobs.db").read_bytes()
    (site.site_db / ".cjc-agent-site").unlink()
    shutil.rmtree(site.site_db / "nqs/log")  # not even one that is not whole
    site.umount()
    maker = pathlib.Path(NQS_HOME, "cjcmksite")
    maker.rename(maker.with_name("cjcmksite.aside"))
    maker.write_text("#!/bin/sh\ntouch /run/cjcmksite-called\n")
    maker.chmod(0o755)
    try:
        assert fresh.outcomes(*WISHES)["site-db"] == "nothing to do"
    finally:
        maker.with_name("cjcmksite.aside").rename(maker)
    assert not pathlib.Path("/run/cjcmksite-called").exists()
    site.mount()
    assert (site.site_db / "nqs/jobs.db").read_bytes() == jobs and not (site.site_db / "nqs/log").exists()
    assert (site.site_db / ".cjc-agent-site").read_text() == site.name + "\n"


@pytest.mark.parametrize("whose", ["note", "ipaddress"])
def test_another_site_s(fresh: Fresh, whose: str) -> None:
    site = fresh.site
    assert fresh.call(*WISHES).code == 0
    site.mount()
    if whose == "note":
        (site.site_db / ".cjc-agent-site").write_text("another\n")
    else:
        (site.site_db / ".cjc-agent-site").unlink()
        fresh.site_conf.write_text("ipaddress=10.77.251.1\n")
    site.umount()
    before = fresh.all()
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and ("CJC302" if whose == "note" else "is it this site's? CJC117") in answer.out, answer
    assert "not done: note, site-conf, local-conf, restart" in answer.out
    assert fresh.all() == before


def test_not_on_the_root_file_system(fresh: Fresh) -> None:
    fresh.file.write_text(fresh.site.configuration(device="", directory=""))
    for words in ((), ("--dry-run",)):
        answer = fresh.call(*words)
        assert answer.code == 1 and "lies on no mounted file system of its own" in answer.out, answer
    assert os.listdir(fresh.site.directory) == [] and fresh.call("--mount").code == 2


def test_not_through_a_link(fresh: Fresh) -> None:
    fresh.site.mount()
    fresh.site.site_db.symlink_to("/srv/elsewhere")
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and "is reached through a symbolic link" in answer.out
    assert not os.path.lexists("/srv/elsewhere")
    fresh.site.site_db.unlink()


def test_a_disk_that_is_mounted_elsewhere(fresh: Fresh, tmp_path: pathlib.Path) -> None:
    (tmp_path / "mnt").mkdir()
    subprocess.run(["mount", fresh.site.disk.path, str(tmp_path / "mnt")], check=True)
    try:
        answer = fresh.call(*WISHES)
        assert answer.code == 1 and "is mounted on %s" % (tmp_path / "mnt") in answer.out
        assert os.path.ismount(tmp_path / "mnt") and not fresh.site.mounted() and CALLS.read_text() == ""
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=True)


def test_a_disk_that_another_mount_namespace_has(fresh: Fresh) -> None:
    holder = fresh.site.popen("unshare", "-m", "sh", "-c", "mount %s %s && echo ready && exec sleep 60" % (fresh.site.disk.path, fresh.site.directory),
                              stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"ready\n"
    answer = fresh.call(*WISHES, "--start_timeout", "4s")
    holder.kill()
    holder.wait()
    assert answer.code == 1 and "is in use on this node" in answer.out, answer
    assert not fresh.site.mounted() and list(fresh.site.state.glob("*.init")) == []


def test_never_over_another_mount(fresh: Fresh) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(fresh.site.directory)], check=True)
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and "is mounted there: unmount it" in answer.out
    assert fresh.site.mounted() and os.listdir(fresh.site.directory) == []


def test_who_holds_the_disk_is_not_ended(fresh: Fresh) -> None:
    """An init that was killed had mounted it, and somebody looks around there."""
    fresh.site.mount()
    fresh.site.state.mkdir()
    mark = fresh.site.state / ("cjc-%s.init" % fresh.site.name)
    mark.write_text(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    mark.chmod(0o600)
    holder = fresh.site.popen("sleep", "60", cwd=str(fresh.site.directory))
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and "still mounted" in answer.out and "not done: local-conf, restart" in answer.out, answer
    assert holder.poll() is None and fresh.site.mounted()
    holder.kill()
    holder.wait()
    assert fresh.call(*WISHES).code == 0 and not fresh.site.mounted()


# -- refused -------------------------------------------------------------------------------------------------------------------------------

REFUSED = [
    (("--local-daemon", "SITE", "--local-ipaddress", "VIP"), "is the VIP"), (("--local-ipaddress", "10.0.0.1, VIP"), "is the VIP"),
    (("--local-ipaddress", "node1"), "--local-ipaddress: "), (("--local-ipaddress", "0.0.0.0"), "stands for every address"),
    (("--local-daemon", "on"), "invalid choice"), (("--local-daemon", "SITE"), "give --local-ipaddress"), (("--vip", "x"), "parameter vip"),
    (("--mount", "--device", "", "--directory", ""), "--mount: the parameter `device` is not given"),
]


@pytest.mark.parametrize("words, said", REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_refused(fresh: Fresh, words: tuple[str, ...], said: str) -> None:
    LOCAL.write_text("# no ipaddress\n")
    fresh.kept[LOCAL] = LOCAL.read_bytes()
    before = fresh.all()
    answer = fresh.call(*(word.replace("VIP", fresh.site.vip) for word in words))
    assert answer.code == 2 and answer.out == "" and said in answer.said, answer
    after = fresh.all()
    after["state"] = before["state"]
    assert after == before


def test_a_restart_while_the_site_runs(fresh: Fresh) -> None:
    assert fresh.call(*WISHES).code == 0
    fresh.site.start()
    other = [LOCAL_ADDRESS.replace("250.250", "250.251") if word == LOCAL_ADDRESS else word for word in WISHES]
    answer = fresh.call(*other)
    assert answer.code == 2 and "--restart: site %s runs on this node" % fresh.site.name in answer.said
    assert CALLS.read_text() == "restart jobcentersv\n" and LOCAL_ADDRESS in LOCAL.read_text()
    assert fresh.call(*other, "--yes-restart").code == 0
    assert CALLS.read_text() == "restart jobcentersv\n" * 2 and fresh.site.monitor() == 0
    fresh.site.stop()


def test_a_start_at_work(fresh: Fresh) -> None:
    fresh.site.state.mkdir()
    lock = fresh.site.state / ("cjc-%s.lock" % fresh.site.name)
    holder = fresh.site.popen("/usr/bin/python3", "-c", "import fcntl, os, sys, time; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
                              "fcntl.lockf(f, fcntl.LOCK_EX); os.write(f, b'%d start 1' % os.getpid()); print('ready', flush=True); time.sleep(60)",
                              str(lock), stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"ready\n"
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and answer.out == "" and "start (pid %d) works on this site" % holder.pid in answer.said


# -- where the disk is not -----------------------------------------------------------------------------------------------------------------


def test_a_further_node(fresh: Fresh) -> None:
    answer = fresh.call(*WISHES[1:])
    assert answer.code == 0 and "the cluster site was left out: its disk is not here" in answer.out
    assert LOCAL_ADDRESS in LOCAL.read_text() and CALLS.read_text() == "restart jobcentersv\n"
    assert "job_site" not in str(fresh.all()["disk"])
    assert fresh.outcomes(*WISHES[1:]) == {"check": "good", "disk": "left out", "local-conf": "nothing to do", "restart": "nothing to do"}


def test_without_the_disk_and_without_wishes(fresh: Fresh) -> None:
    answer = fresh.call()
    assert answer.code == 1 and "not mounted: add --mount" in answer.out and "not done: site-db, note, site-conf, local-conf" in answer.out


def test_what_the_cluster_mounts(fresh: Fresh) -> None:
    """`device` empty: it is here, or it is not."""
    fresh.file.write_text(fresh.site.configuration(device="", directory=""))
    fresh.site.mount()
    assert fresh.outcomes("--ipcheck-off") == {"check": "good", "disk": "nothing to do", "site-db": "done", "note": "done", "site-conf": "done",
                                               "local-conf": "nothing to do"}
    assert fresh.site.mounted() and "ipaddress=" + fresh.site.vip in fresh.site_conf.read_text()


# -- failures ------------------------------------------------------------------------------------------------------------------------------


def test_a_failure_half_way_says_how_to_go_on(fresh: Fresh) -> None:
    fresh.registration.write_text("/elsewhere\n")  # the SIMULATOR's cjcmksite refuses
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and "cjcmksite exited 32: correct what it says" in answer.out, answer
    assert "not done: note, site-conf, local-conf, restart" in answer.out and "it has left" not in answer.out and not fresh.site.mounted()
    go_on = answer.out.strip().split("correct it, then go on with: ")[1]
    assert json.loads(fresh.call("--json", *WISHES).out)["go_on"].replace(" --json", "") == go_on
    fresh.registration.unlink()
    done = answer_of([COMMAND, *shlex.split(go_on)[1:]], fresh.environment)
    assert done.code == 0 and CALLS.read_text() == "restart jobcentersv\n", done


def test_a_cjcmksite_that_fails_and_leaves_something(fresh: Fresh) -> None:
    maker = pathlib.Path(NQS_HOME, "cjcmksite")
    with text_of(maker, "#!/bin/sh\nmkdir -p %s/nqs\nexit 9\n" % fresh.site.site_db):
        answer = fresh.call(*WISHES)
    assert answer.code == 1 and "it has left %s/nqs, which the next init keeps: remove it first" % fresh.site.site_db in answer.out, answer


def test_a_restart_that_fails_is_made_up_for(fresh: Fresh) -> None:
    ANSWER.write_text("5\n")
    answer = fresh.call(*WISHES)
    assert answer.code == 1 and "systemctl exited 5: see journalctl -u jobcentersv" in answer.out
    assert "to take effect on this node: systemctl restart jobcentersv" in fresh.call("--local-daemon", "SITE").out
    ANSWER.write_text("0\n")
    assert fresh.outcomes(*WISHES)["restart"] == "done" and fresh.outcomes(*WISHES)["restart"] == "nothing to do"
    assert CALLS.read_text() == "restart jobcentersv\n" * 2


def test_a_node_without_cjcmksite(fresh: Fresh) -> None:
    maker = pathlib.Path(NQS_HOME, "cjcmksite")
    maker.rename(maker.with_name("cjcmksite.aside"))
    try:
        answer = fresh.call(*WISHES)
        assert answer.code == 1 and "CJC208" in answer.out and "not done: disk, site-db, note, site-conf, local-conf, restart" in answer.out
    finally:
        maker.with_name("cjcmksite.aside").rename(maker)


def test_cjcmksite_outlives_an_init_that_was_killed(fresh: Fresh) -> None:
    """The disk is not taken away from under it; once it has ended, init goes on."""
    maker = pathlib.Path(NQS_HOME, "cjcmksite")
    aside = maker.with_name("cjcmksite.aside")
    maker.rename(aside)
    maker.write_text('#!/bin/sh\nwhile [ ! -e /run/go-on ]; do sleep 0.05; done\nexec %s "$@"\n' % aside)
    maker.chmod(0o755)
    try:
        child = fresh.site.popen(*fresh.command(*WISHES), env=fresh.environment, stdout=subprocess.DEVNULL)
        wait_until(lambda: "cjcmksite" in all_processes().values())
        child.kill()
        child.wait()
        again = fresh.site.popen(*fresh.command(*WISHES), env=fresh.environment, stdout=subprocess.PIPE)
        out, _ = again.communicate(timeout=20)
        assert again.returncode == 1 and b"an earlier call of JobCenter's commands still runs: wait for it to end: cjcmksite[" in out, out
        assert fresh.site.mounted() and CALLS.read_text() == ""
        pathlib.Path("/run/go-on").touch()
        wait_until(lambda: not fresh.site.processes())
    finally:
        pathlib.Path("/run/go-on").touch()
        aside.rename(maker)
    assert fresh.outcomes(*WISHES)["site-db"] == "nothing to do"
    assert fresh.all()["calls"] == "restart jobcentersv\n" and os.listdir(fresh.site.directory) == []


# -- kill -9 at every step -----------------------------------------------------------------------------------------------------------------


def test_killed_at_every_step(fresh: Fresh) -> None:
    """Afterwards every file is one of those that there can be, and a second init ends as one that nobody has killed."""
    fresh.reset()
    assert fresh.call(*WISHES).code == 0
    wanted = fresh.all()
    made = {"", LOCAL.read_text(), fresh.kept[LOCAL].decode()}
    steps = []
    for step in each_step(fresh.command(*WISHES), fresh.environment, fresh.reset, "cjcmksite"):
        steps.append(step)
        assert LOCAL.read_text() in made, step
        again = fresh.call(*WISHES)
        assert again.code == 0, (step, again)
        found = fresh.all()
        assert str(found.pop("calls")) in ("restart jobcentersv\n", "restart jobcentersv\n" * 2), step
        assert found == {name: value for name, value in wanted.items() if name != "calls"}, step
    print("\n".join(steps))
    names = {step.split()[0] for step in steps}
    assert {"mount", "umount2", "rename", "fsync"} <= names, steps
