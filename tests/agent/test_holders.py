"""Who holds the mount, who listens at the port, and what is mounted where: stop ends and unmounts the site's own, and nothing else."""
from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest

from lab import disk
from lab.neighbours import LISTEN, AtTerminal, python, shell
from lab.site import AGENT, Site, all_processes, environment_of, wait_until

SLEEP = "/bin/sleep"


@pytest.fixture
def other(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    """Another file system, mounted. To be named before `site`, whose teardown ends those who use it."""
    made = disk.make(str(tmp_path / "other.img"), 8)
    folder = pathlib.Path("/srv/other-" + os.path.basename(made.path))
    folder.mkdir()
    subprocess.run(["mount", made.path, str(folder)], check=True)
    (folder / "shared").mkdir()
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    made.close()


def bind_below(site: Site, folder: pathlib.Path) -> pathlib.Path:
    """Bind-mount a folder of another file system below the site's mount."""
    below = site.directory / "below"
    below.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(below)], check=True)
    return below


# -- below the mount, elsewhere, in another namespace --------------------------------------------------------------------------------


def test_a_busy_bind_mount_below_ours_costs_nobody_else_of_its_file_system_the_life(other: pathlib.Path, site: Site) -> None:
    shutil.copy(SLEEP, other / "program")
    site.start()
    below = bind_below(site, other / "shared")
    bystander = site.popen(str(other / "program"), "1000", cwd="/", start_new_session=True)
    wait_until(lambda: os.readlink("/proc/%d/exe" % bystander.pid) == str(other / "program"))
    with AtTerminal(SLEEP, "1000", cwd=str(below)) as holder:
        site.stop()
        assert not holder.alive(), "it kept the mount busy"
    assert bystander.poll() is None, "it uses the same file system elsewhere"


def test_a_busy_bind_mount_of_dev_shm_costs_nobody_with_shared_memory_the_life(site: Site) -> None:
    script = "import mmap, time; f = open('/dev/shm/%s', 'w+b'); f.truncate(4096); m = mmap.mmap(f.fileno(), 4096); f.close(); " % site.name
    bystander = python(site, script + "print('ready', flush=True); time.sleep(1000)")
    site.start()
    below = bind_below(site, pathlib.Path("/dev/shm"))
    try:
        with AtTerminal(SLEEP, "1000", cwd=str(below)):
            site.stop()
        assert bystander.poll() is None
    finally:
        os.unlink("/dev/shm/" + site.name)


def test_a_container_with_a_mount_of_its_own_at_our_path_is_no_holder(site: Site) -> None:
    enter = "mount -t tmpfs inner %s && cd %s && echo ready && exec sleep 1000" % (site.directory, site.directory)
    namespace = ("unshare", "--mount", "--propagation", "private")
    before = shell(site, enter, *namespace)
    site.start()
    assert before.pid not in site.recorded()
    after = shell(site, "umount %s && %s" % (site.directory, enter), *namespace)
    assert site.call("monitor", **site.faults("status=lie:1")).reason.find("sleep[") < 0
    site.stop()
    assert before.poll() is None and after.poll() is None


def test_who_held_the_mount_while_the_site_was_adopted_is_no_daemon_of_it(site: Site) -> None:
    site.mount()
    site.simulator("cjcpw", "start")
    (site.directory / "file").write_text("x")
    script = ("import subprocess, sys, time; f = open(sys.argv[1]); print('ready', flush=True); sys.stdin.readline(); f.close(); "
              "p = subprocess.Popen(['sleep', '1000'], start_new_session=True); print(p.pid, flush=True); time.sleep(1000)")
    backup = python(site, script, str(site.directory / "file"), stdin=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"})
    assert site.monitor() == 0
    assert backup.pid not in site.recorded() and set(site.daemons().values()) == site.recorded()
    assert backup.stdin and backup.stdout
    backup.stdin.write(b"let go\n")
    backup.stdin.flush()
    child = int(backup.stdout.readline())
    try:
        site.stop()
        assert backup.poll() is None and child in all_processes()
    finally:
        os.kill(child, signal.SIGKILL)


def stop_from_within(site: Site, milliseconds: int) -> str:
    """Stop the site from a shell that stands in its mount; return what was said."""
    done = subprocess.run(["sh", "-c", "cd %s; %s stop; echo $?; echo alive" % (site.directory, AGENT)],
                          env=site.call_environment(OCF_RESKEY_CRM_meta_timeout=str(milliseconds)), capture_output=True, text=True)
    assert done.stdout == "1\nalive\n"
    return done.stderr


def test_a_caller_who_stands_in_the_mount_is_not_killed(site: Site) -> None:
    site.start()
    assert "%s (ext4) on %s is still mounted, held by sh[" % (site.disk.path, site.directory) in stop_from_within(site, 3000)
    assert not site.processes()
    site.stop()


def test_a_caller_who_stands_in_the_mount_is_named(site: Site) -> None:
    site.mount()
    said = [stop_from_within(site, 2000) for _ in range(4)]  # whether there is a last look without time is a matter of milliseconds
    assert all("held by sh[" in words and "(working directory)" in words for words in said), said


def test_who_holds_a_disk_of_the_cluster_s_that_turned_read_only_is_ended(site: Site) -> None:
    site.parameters.update(device="", directory="")
    site.mount()
    (site.site_db / "x").write_text("x")
    holder = shell(site, "exec 9<%s/x; echo ready; exec sleep 1000" % site.site_db)
    subprocess.run(["mount", "-o", "remount,ro", str(site.directory)], check=True)
    assert site.call("stop").code == 0
    assert holder.wait(timeout=5) == -signal.SIGTERM
    assert site.mounted()


def test_stop_thaws_before_it_asks_the_daemons_to_end(site: Site) -> None:
    site.start()
    subprocess.run(["fsfreeze", "-f", str(site.directory)], check=True)
    logger = site.daemons()["jcsim-log"]  # writes all the time: it cannot end while the file system is frozen
    wait_until(lambda: pathlib.Path("/proc/%d/stat" % logger).read_text().rsplit(")", 1)[1].split()[0] == "D")
    site.stop(OCF_RESKEY_CRM_meta_timeout="12000")
    assert not site.log.exists(), "they could end by themselves: there was no TERM or KILL to tell of"


def test_a_stranger_on_our_mount_point_is_left_there(other: pathlib.Path, site: Site) -> None:
    subprocess.run(["mount", "--bind", str(other), str(site.directory)], check=True)
    innocent = shell(site, "cd %s; echo ready; exec sleep 1000" % site.directory)
    for action in ("monitor", "start"):
        answer = site.call(action)
        assert answer.code == 1 and answer.reason.startswith("disk: %s should carry %s" % (site.directory, site.disk.path)), answer
    for device in (site.disk.path, "/dev/no-such-disk"):
        assert site.call("stop", device=device).code == 0, "nothing of ours is left"
        assert site.mounted() and innocent.poll() is None
    assert site.probe(device="/dev/no-such-disk") == 1, "in doubt 1, never 7"


# -- at the port, at a terminal ------------------------------------------------------------------------------------------------------


def listening(site: Site, port: int = 20816) -> bool:
    """Whether anybody accepts connections at the site's address."""
    with socket.socket() as client:
        return client.connect_ex((site.vip, port)) == 0


def test_a_listener_at_a_terminal_is_no_stopped_site(site: Site) -> None:
    with AtTerminal("/usr/bin/python3", "-I", "-c", LISTEN, site.vip, "20816") as found:
        found.wait_for(b"ready")
        answer = site.call("monitor", OCF_RESKEY_CRM_meta_interval="0")
        assert answer.code == 1 and "[%d]" % found.pid in answer.reason
        answer = site.call("stop")
        assert (answer.code == 0) == (not listening(site)), answer
        assert site.probe() == (1 if listening(site) else 7)


def test_a_site_that_was_started_by_hand_at_a_terminal_is_stopped(site: Site) -> None:
    """It carries the variable, listens on VIP:port and holds the site DB: whatever it is, 0 must not be said beside it. The shell lives."""
    site.parameters.update(device="", directory="")
    site.mount()
    (site.site_db / "x").write_text("x")
    carried = {"NQS_SITE": site.name, "PATH": "/usr/bin:/bin"}
    hold = "exec 9<%s/x; exec /usr/bin/python3 -I -c \"$0\" %s 20816" % (site.site_db, site.vip)
    with AtTerminal("/bin/sh", "-i", environment=carried) as operator, AtTerminal("/bin/sh", "-c", hold, LISTEN, environment=carried) as daemon:
        daemon.wait_for(b"ready")
        assert "NQS_SITE=" + site.name in environment_of(operator.pid)
        assert site.probe() == 1
        assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="6000", **site.faults("stop=lie")).code == 0
        assert not daemon.alive() and not listening(site)
        assert operator.alive()
        assert site.probe() == 7


def write_port(site: Site, port: int) -> None:
    """Set listen_port in the site's own daemon.conf."""
    path = site.site_db / "nqs/daemon.conf"
    text = path.read_text()
    assert "#listen_port=20816" in text
    path.write_text(text.replace("#listen_port=20816", "listen_port=%d" % port))


@pytest.mark.parametrize("when", ["before the start", "after it"])
def test_the_site_s_own_port_counts(site: Site, when: str) -> None:
    site.mount()
    if when == "before the start":
        write_port(site, 20817)
    site.umount()
    site.start()
    if when == "after it":
        write_port(site, 20817)
        site.simulator("cjcpw", "stop")
        site.simulator("cjcpw", "start")
    assert listening(site, 20817) and not listening(site)
    assert [site.monitor(level) for level in (0, 10)] == [0, 0]
    answer = site.call("monitor", **site.faults("status=lie:1"))
    assert answer.code == 1 and "jcsim-net[%d]" % site.daemons()["jcsim-net"] in answer.reason
    site.stop()
