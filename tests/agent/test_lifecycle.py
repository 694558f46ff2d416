"""start, monitor, stop of a healthy site, and what monitor says when one thing of it is hurt."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess

import pytest

from lab import disk
from lab.site import NQS_SPOOL, Site, all_processes, environment_of, wait_until


def test_a_site_starts_answers_and_stops(site: Site) -> None:
    assert site.monitor() == 7
    assert site.probe() == 7
    site.start()
    assert len(site.daemons()) >= 3
    assert [site.monitor(level) for level in (0, 10, 20)] == [0, 0, 0]
    assert site.probe() == 0
    site.stop()
    assert site.monitor() == 7
    assert site.probe() == 7


def test_starting_and_stopping_twice_is_no_failure(site: Site) -> None:
    site.start()
    daemons = site.daemons()
    site.start()
    assert site.daemons() == daemons, "a running site must not be restarted"
    site.stop()
    site.stop()


def test_success_is_silent(site: Site) -> None:
    answers = [site.call(action) for action in ("start", "monitor", "start", "stop", "stop", "monitor")]
    assert [answer.said + answer.out for answer in answers] == [""] * 6
    assert not site.log.exists() or site.log.read_text() == ""


def test_success_is_told_at_debug(site: Site) -> None:
    site.call("start", HA_debug="1")
    assert "mounted %s" % site.disk.path in site.log.read_text()


def test_jobs_are_run_by_the_started_site(site: Site) -> None:
    site.start()
    site.simulator("qsub", "-s", site.name, "--", "echo ran > %s/ran" % site.directory)
    wait_until((site.directory / "ran").exists)


@pytest.mark.parametrize("before", [[], ["stopped"]], ids=["submitted after the start", "put back by the stop before"])
def test_a_job_that_runs_when_cjcpw_stop_fails_runs_again(site: Site, tmp_path: pathlib.Path, before: list[str]) -> None:
    """Its daemons are ended before it is: one that lived on would note the job as failed, and nobody would run it again. After a failover a
    job that was put back runs before the start is at its end."""
    stubborn = site.faults("daemons=ignore-term")
    runs, note = site.directory / "runs", tmp_path / "job.pid"
    site.start(**stubborn if not before else {})
    site.noting_job(note, "echo >> %s" % runs, "[ $(wc -l < %s) -gt %d ] || exec sleep 1000" % (runs, len(before) + 1))
    wait_until(lambda: runs.exists() and len(runs.read_text()) == 1)
    if before:
        site.stop()
        note.unlink()
        site.start(**stubborn, **site.status_waits_for(note))
        wait_until(lambda: len(runs.read_text()) == 2)
    pathlib.Path(NQS_SPOOL, "simulator.faults").write_text("stop = fail:4\n")
    try:
        site.stop()
    finally:
        pathlib.Path(NQS_SPOOL, "simulator.faults").unlink()
    site.start()
    ledger = ("qstat", "-s", site.name, "--ledger", "--json")
    wait_until(lambda: [row["outcome"] for row in json.loads(site.simulator(*ledger).stdout)["ledger"]] == [*before, "lost", "done"])


def test_a_job_that_runs_before_the_start_is_at_its_end_is_no_daemon(site: Site, tmp_path: pathlib.Path) -> None:
    site.start_beside_a_job(tmp_path / "job.pid")
    assert site.recorded() == set(site.daemons().values())


def test_the_record_tells_what_was_started(site: Site) -> None:
    site.start()
    path = site.state / ("cjc-%s.json" % site.name)
    assert path.stat().st_mode & 0o777 == 0o600
    record = json.loads(path.read_text())
    assert {pid for pid, _ in record["daemons"]} == set(site.daemons().values())
    assert {name: record["settings"][name] for name in site.parameters} == site.parameters
    assert record["settings"]["vip_wait"] == "10s", "the effective settings, defaults included"
    assert record["disk"]["path"] == site.disk.path


@pytest.mark.parametrize("level", [0, 10, 20])
def test_a_killed_daemon_is_seen(site: Site, level: int) -> None:
    site.start()
    os.kill(site.daemons()["jcsim-net"], signal.SIGKILL)
    wait_until(lambda: "jcsim-net" not in site.daemons())
    answer = site.call("monitor", OCF_CHECK_LEVEL=str(level))
    assert answer.code == 1
    assert "cjcpw status exited 2" in answer.reason
    site.stop()


def test_all_daemons_killed_is_failed_not_stopped(site: Site) -> None:
    site.start()
    for pid in site.daemons().values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not site.daemons())
    answer = site.call("monitor")
    assert answer.code == 1
    assert "was started on this node and is gone" in answer.reason
    site.stop()
    assert site.monitor() == 7


def test_a_missing_vip_is_seen_only_while_the_site_runs(site: Site) -> None:
    site.address("del")
    assert site.monitor() == 7
    site.address("add")
    site.start()
    site.address("del")
    answer = site.call("monitor")
    assert answer.code == 1
    assert answer.reason.startswith("vip: %s is not on this node" % site.vip)
    site.stop()


def test_start_waits_for_the_vip_and_then_gives_up(site: Site) -> None:
    site.address("del")
    answer = site.call("start", vip_wait="1s")
    assert answer.code == 1
    assert answer.reason.startswith("vip: %s is not on this node" % site.vip)
    assert answer.seconds >= 1
    site.assert_nothing_left()
    late = site.popen("sh", "-c", "sleep 0.5; ip addr add %s/24 dev vip0" % site.vip)
    site.start()
    late.wait()


def test_a_vip_on_a_link_that_is_down_does_not_count(site: Site) -> None:
    site.start()
    subprocess.run(["ip", "link", "set", "vip0", "down"], check=True)
    try:
        answer = site.call("monitor")
    finally:
        subprocess.run(["ip", "link", "set", "vip0", "up"], check=True)
    assert answer.code == 1
    assert "link down" in answer.reason


def test_a_stopped_listener_is_seen_at_level_10(site: Site) -> None:
    site.start()
    listener = site.daemons()["jcsim-net"]
    os.kill(listener, signal.SIGSTOP)
    assert site.monitor(0) == 0
    answer = site.call("monitor", OCF_CHECK_LEVEL="10")
    assert answer.code == 1
    assert "jcsim-net[%d]" % listener in answer.reason
    os.kill(listener, signal.SIGCONT)
    assert site.monitor(10) == 0


def test_status_that_lies_is_seen_at_level_10(site: Site) -> None:
    site.start(cjcpw="/bin/true", vip="")
    assert site.monitor(0, cjcpw="/bin/true", vip="") == 0
    answer = site.call("monitor", OCF_CHECK_LEVEL="10", cjcpw="/bin/true", vip="")
    assert answer.code == 1
    assert "no process of site" in answer.reason


def test_a_full_disk_is_degraded_at_level_20(site: Site) -> None:
    site.start()
    with open(site.directory / "filler", "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with pytest.raises(OSError):
                while True:
                    file.write(b"x" * size)
    assert site.monitor(10) == 0
    answer = site.call("monitor", OCF_CHECK_LEVEL="20")
    assert answer.code == 190
    assert "is full" in answer.reason
    os.unlink(site.directory / "filler")
    assert site.monitor(20) == 0
    assert not list(site.site_db.glob(".cjc-agent-check*"))


def test_a_disk_that_became_read_only_is_seen(site: Site) -> None:
    site.start(options="errors=remount-ro")
    pathlib.Path("/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(site.disk.path)).write_text("an error made by a test")
    answer = site.call("monitor")
    assert answer.code == 1
    assert answer.reason.startswith("disk: ") and "read-only" in answer.reason
    site.stop()


def test_a_start_on_a_read_only_device_fails(site: Site) -> None:
    subprocess.run(["blockdev", "--setro", site.disk.path], check=True)
    try:
        answer = site.call("start", run_fsck="no")
    finally:
        subprocess.run(["blockdev", "--setrw", site.disk.path], check=True)
    assert answer.code == 1
    assert answer.reason.startswith("disk: ")
    site.assert_nothing_left()


def test_a_disk_left_mounted_is_failed_not_stopped(site: Site) -> None:
    site.mount()
    answer = site.call("monitor", OCF_RESKEY_CRM_meta_interval="0")
    assert answer.code == 1
    assert "is mounted though the site is stopped" in answer.reason
    site.stop()


def test_another_device_on_the_mount_point_is_named(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    other = disk.make(str(tmp_path / "other.img"), 8)
    subprocess.run(["mount", other.path, str(site.directory)], check=True)
    try:
        for action in ("monitor", "start"):
            answer = site.call(action)
            assert answer.code == 1
            assert other.path in answer.reason and site.disk.path in answer.reason
    finally:
        site.umount()
        other.close()


def test_our_device_mounted_elsewhere_is_named(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", site.disk.path, str(elsewhere)], check=True)
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="8000")
    assert answer.code == 1
    assert str(elsewhere) in answer.reason and str(site.directory) in answer.reason
    site.stop()
    assert str(elsewhere) not in open("/proc/self/mountinfo").read()


def test_a_device_in_use_in_another_mount_namespace_is_not_mounted(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = "mount %s %s && echo mounted && exec sleep 1000" % (site.disk.path, site.directory)
    holder = site.popen("unshare", "--mount", "--propagation", "private", "sh", "-c", script, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"mounted\n"
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="3000")
    assert answer.code == 1
    assert "in use on this node" in answer.reason
    assert not site.mounted()
    holder.kill()
    holder.wait()
    site.start()


def test_stop_sees_a_device_that_another_mount_namespace_keeps(site: Site) -> None:
    site.start()
    holder = site.popen("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo copied; exec sleep 1000", stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"copied\n"
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="3000")
    assert answer.code == 1, "the disk is still in use: 0 would let another node mount it"
    assert "sleep[%d]" % holder.pid in answer.reason
    assert holder.poll() is None, "nobody is killed after the umount has succeeded"
    assert site.monitor() == 1
    holder.kill()
    holder.wait()
    site.stop()


def test_stop_thaws_a_frozen_file_system(site: Site) -> None:
    site.start()
    site.simulator("cjcpw", "stop")
    subprocess.run(["fsfreeze", "-f", str(site.directory)], check=True)
    site.stop()


def test_stop_ends_who_holds_the_mount(site: Site) -> None:
    site.start()
    (site.directory / "held").write_text("x")
    holders = [site.popen("sh", "-c", "cd %s && trap '' TERM && echo ready && while :; do sleep 1000; done" % site.directory,
                          stdout=subprocess.PIPE, start_new_session=True),
               site.popen("sh", "-c", "exec 9<%s/held; echo ready; exec sleep 1000" % site.directory, stdout=subprocess.PIPE, start_new_session=True)]
    for holder in holders:
        assert holder.stdout and holder.stdout.readline() == b"ready\n"
    site.stop()
    for holder in holders:
        assert holder.wait(timeout=5) != 0
    assert "held" in site.log.read_text() or "TERM" in site.log.read_text()


def test_nested_mounts_go_first(site: Site) -> None:
    site.start()
    (site.directory / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "nested", str(site.directory / "below")], check=True)
    site.stop()


def test_label_answered_by_two_devices_is_refused(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    subprocess.run(["e2label", site.disk.path, "TWICE"], check=True)
    assert site.call("start", device="LABEL=TWICE").code == 0
    assert site.monitor(device="LABEL=TWICE") == 0
    site.stop()
    twin = disk.make(str(tmp_path / "twin.img"), 8, "ext4", "-L", "TWICE")
    try:
        answer = site.call("start", device="LABEL=TWICE")
    finally:
        twin.close()
    assert answer.code == 1
    assert site.disk.path in answer.reason and twin.path in answer.reason
    assert not site.mounted()


def test_monitor_of_a_labelled_disk_needs_no_blkid(site: Site) -> None:
    subprocess.run(["e2label", site.disk.path, "LBL" + site.name], check=True)
    site.start(device="LABEL=LBL" + site.name)
    traced = subprocess.run(["strace", "-f", "-e", "trace=execve", "/usr/lib/ocf/resource.d/cjc/jobcenter", "monitor"],
                            env=site.call_environment(device="LABEL=LBL" + site.name), capture_output=True, text=True)
    assert traced.returncode == 0
    assert "blkid" not in traced.stderr


def test_an_absent_device_is_stopped_for_a_probe_and_an_error_for_a_start(site: Site) -> None:
    assert site.probe(device="/dev/no-such-disk") == 7
    assert site.call("stop", device="/dev/no-such-disk").code == 0
    answer = site.call("start", device="/dev/no-such-disk")
    assert answer.code == 1
    assert answer.reason.startswith("disk: /dev/no-such-disk: No such file")


def test_a_damaged_file_system_is_repaired_or_refused_by_fsck(site: Site) -> None:
    subprocess.run(["debugfs", "-w", "-R", "ssv state 2", site.disk.path], check=True, capture_output=True)  # marked as having errors
    site.start(run_fsck="auto")
    site.stop()
    for command in ("clri <2>", "ssv state 2"):  # the root folder is gone: nothing that fsck -p may repair
        subprocess.run(["debugfs", "-w", "-R", command, site.disk.path], check=True, capture_output=True)
    answer = site.call("start")
    assert answer.code == 1 and "exited 4" in answer.reason and "run fsck on %s by hand" % site.disk.path in answer.reason
    subprocess.run(["dd", "if=/dev/zero", "of=" + site.disk.path, "bs=1k", "count=4", "conv=notrunc"], check=True, capture_output=True)
    answer = site.call("start", fstype="ext4")
    assert answer.code == 1
    assert "fsck" in answer.reason
    assert not site.mounted()


def test_disk_mounted_by_the_cluster_is_verified_and_left_alone(site: Site) -> None:
    site.parameters.update(device="", directory="")
    answer = site.call("start")
    assert answer.code == 1
    assert "lies on no mounted file system of its own" in answer.reason
    assert site.monitor() == 7
    site.mount()
    assert site.monitor() == 7
    site.start()
    assert site.monitor(20) == 0
    assert site.call("stop").code == 0
    assert site.mounted() and not site.processes()
    assert site.monitor() == 7


def test_daemons_dead_on_the_cluster_s_disk_are_failed_not_stopped(site: Site) -> None:
    site.parameters.update(device="", directory="")
    site.mount()
    site.start()
    for pid in site.daemons().values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not site.daemons())
    assert site.monitor() == 1, "a record of this boot: it was started here and is gone"
    assert site.call("stop").code == 0
    assert site.monitor() == 7


@pytest.mark.parametrize("fstype", ["xfs"])
def test_other_file_systems(tmp_path, fstype: str) -> None:  # type: ignore[no-untyped-def]
    site = Site(tmp_path, fstype)
    try:
        site.start()
        assert site.monitor(20) == 0
        site.stop()
    finally:
        site.close()


def test_a_failed_start_takes_down_what_it_brought_up(site: Site) -> None:
    answer = site.call("start", **site.faults("start=fail:9"))
    assert answer.code == 1
    assert "cjcpw start exited 9" in answer.reason
    site.assert_nothing_left()
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="8000", **site.faults("status=lie:1"))
    assert answer.code == 1
    assert "the site does not come up" in answer.reason
    assert answer.seconds < 8
    site.assert_nothing_left()


def test_stop_that_lies_is_not_believed(site: Site) -> None:
    site.start(**site.faults("stop=lie"))  # a stop acts on what the site was started with
    began = site.daemons()
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="6000")
    assert answer.code == 0 and "sending TERM to jcsim-" in site.log.read_text(), answer
    assert not [pid for pid in began.values() if pid in all_processes()]
    site.assert_nothing_left()


def test_a_status_that_says_stopped_is_not_believed_while_daemons_live(site: Site) -> None:
    """Nothing else speaks against it: the cluster's disk may be mounted on a node where the site is stopped, and there is no record."""
    site.parameters.update(device="", directory="")
    site.mount()
    site.start()
    os.unlink(site.state / ("cjc-%s.json" % site.name))
    answer = site.call("monitor", OCF_RESKEY_CRM_meta_interval="0", **site.faults("status=lie:3"))
    assert answer.code == 1 and "processes left" in answer.reason and "jcsim-net[" in answer.reason
    assert site.call("stop").code == 0


def test_hung_commands_never_pass_the_timeout(site: Site) -> None:
    site.start()
    site.parameters.update(site.faults("status=hang,stop=hang"))
    answer = site.call("monitor", OCF_RESKEY_CRM_meta_timeout="3000")
    assert answer.code == 1 and answer.seconds < 3
    assert "did not end within" in answer.reason
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="8000")
    assert answer.code == 0 and answer.seconds < 8, answer
    site.assert_nothing_left()


def test_reload_agent_takes_a_new_parameter_over(site: Site) -> None:
    site.start()
    daemons = site.daemons()
    answer = site.call("reload-agent", vip_wait="3s")
    assert answer.code == 0
    record = json.loads((site.state / ("cjc-%s.json" % site.name)).read_text())
    assert record["settings"]["vip_wait"] == "3s" and len(record["daemons"]) >= 3
    assert site.daemons() == daemons
    assert site.call("reload-agent", vip_wait="soon").code == 1
    site.stop()
    assert site.call("reload-agent").code == 1


def test_trace_tells_every_step(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "trace"
    site.start(trace="1", OCF_TRACE_FILE=str(path))
    text = path.read_text()
    assert "run mount" in text and "cjcpw start exited 0" in text
    assert path.stat().st_mode & 0o777 == 0o600
    site.stop(OCF_TRACE_RA="1")
    usual = list(pathlib.Path("/var/lib/heartbeat/trace_ra/jobcenter").glob("rsc-%s.stop.*" % site.name))
    assert len(usual) == 1 and "cjcpw stop exited 0" in usual[0].read_text()


def test_daemons_inherit_the_promised_environment(site: Site) -> None:
    site.start(environment="EXTRA='a b'", TZ="Asia/Tokyo", LANG="ja_JP.eucJP", SECRET="x")
    pid = site.daemons()["jcsim-sched"]
    environment = dict(entry.split("=", 1) for entry in environment_of(pid) if "=" in entry)
    assert environment["NQS_SITE"] == site.name
    assert environment["EXTRA"] == "a b" and environment["TZ"] == "Asia/Tokyo"
    assert environment["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin" and environment["HOME"] == "/root"
    assert not {"SECRET", "OCF_ROOT", "HA_RSCTMP", "CJC_AGENT_CALL", "OCF_RESKEY_site"} & set(environment)
    assert environment.get("LANG") != "ja_JP.eucJP"
    assert os.readlink("/proc/%d/cwd" % pid) == "/"
