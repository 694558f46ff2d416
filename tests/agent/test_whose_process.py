"""Whose process is it: stop ends the site's own, and nobody else's. All real processes."""
from __future__ import annotations

import os
import pathlib
import pty
import signal
import subprocess

import pytest

from lab.site import Site, all_processes, environment_of, wait_until


def alive(pid: int) -> bool:
    return pid in all_processes()


def test_an_operator_s_shell_on_a_terminal_lives(site: Site) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/sh", ["sh", "-i"], {"NQS_SITE": site.name, "PATH": "/usr/bin:/bin", "PS1": "$ "})
    try:
        wait_until(lambda: "NQS_SITE=" + site.name in environment_of(pid))
        site.start()
        assert site.call("stop").code == 0
        assert alive(pid) and not site.mounted() and not site.daemons()
        assert site.monitor() == 7
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def test_a_service_launched_by_a_job_lives_and_is_named(site: Site) -> None:
    site.start()
    note = site.directory / "service.pid"
    site.simulator("qsub", "-s", site.name, "--", "setsid sh -c 'echo $$ > %s.tmp; mv %s.tmp %s; cd /; exec sleep 1000' </dev/null >/dev/null 2>&1 &"
                   % (note, note, note))
    wait_until(note.exists)
    service = int(note.read_text())
    wait_until(lambda: all_processes().get(service) == "sleep")
    wait_until(lambda: int(pathlib.Path("/proc/%d/stat" % service).read_text().rsplit(")", 1)[1].split()[1]) == 1)
    assert "NQS_SITE=" + site.name in environment_of(service)
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="12000")
    try:
        assert answer.code == 0, answer
        assert alive(service) and not site.mounted() and not site.daemons()
        assert site.monitor() == 7, "it makes monitor say nothing either"
        assert site.log.read_text().count("sleep[%d]" % service) == 1, "named once"
    finally:
        os.kill(service, signal.SIGKILL)


def test_a_daemon_that_ignores_term_dies(site: Site) -> None:
    site.start(**site.faults("daemons=ignore-term,stop_wait=1"))
    assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="10000").code == 0
    site.assert_nothing_left()
    assert "sending KILL" in site.log.read_text()


@pytest.mark.parametrize("hold", ["", "+no-hold"])
def test_a_daemon_that_rewrote_its_environment_is_found(site: Site, hold: str) -> None:
    """It listens on VIP:port; without no-hold it holds the mount, too."""
    site.simulator("cjcpw", "stop", check=False)
    site.mount()
    site.simulator("cjcpw", "start", JCSIM_FAULTS="daemons=rewrite-environ%s,stop=lie" % hold)
    listener = next(pid for pid, name in all_processes().items() if name == "jcsim-net" and pid_of_site(site, pid))
    wait_until(lambda: not any(entry.startswith("NQS_SITE=") for entry in environment_of(listener)))
    # no record, no variable: a status that says stopped must not be believed
    answer = site.call("monitor", **site.faults("status=lie:1"))
    assert answer.code == 1
    assert "jcsim-net[%d]" % listener in answer.reason
    assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="5000", **site.faults("stop=lie")).code == 0
    assert not alive(listener) and not site.mounted()


def pid_of_site(site: Site, pid: int) -> bool:
    return str(pid) in pathlib.Path("/usr/spool/nqs/sites", site.name + ".pids").read_text().split()


def test_a_daemon_that_holds_the_mount_without_the_variable_is_found(site: Site) -> None:
    site.start()
    (site.site_db / "x").write_text("x")
    holder = site.popen("sh", "-c", "exec 9<%s/x; echo ready; exec sleep 1000" % site.site_db, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout and holder.stdout.readline() == b"ready\n"
    answer = site.call("monitor", **site.faults("status=lie:1"))
    assert answer.code == 1 and "sleep[%d]" % holder.pid in answer.reason
    site.stop()
    assert holder.wait(timeout=5) == -signal.SIGTERM


def test_a_daemon_of_another_site_lives(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    try:
        other.start()
        site.start()
        daemons = other.daemons()
        site.stop()
        assert other.daemons() == daemons and other.monitor(20) == 0
        site.start()
        other.stop()
        assert site.monitor(20) == 0
    finally:
        other.close()


def test_two_sites_on_one_disk(site: Site) -> None:
    """`device` empty: the cluster's own Filesystem resource mounts the disk; one site's end leaves the other untouched."""
    site.parameters.update(device="", directory="")
    site.mount()
    second_vip = site.vip.replace("10.77.", "10.78.")
    subprocess.run(["ip", "addr", "add", second_vip + "/24", "dev", "vip0"], check=True)
    second = {"site": site.name + "b", "site_db": str(site.directory / "second"), "vip": second_vip}
    site.simulator("cjcmksite", "-d", second["site_db"], "-n", second["site"], "-i", second_vip)
    try:
        site.start()
        site.start(**second)
        assert site.call("stop").code == 0
        assert site.monitor(20, **second) == 0 and site.monitor() == 7
        site.start()
        assert site.call("stop", **second).code == 0
        assert site.monitor(20) == 0 and site.monitor(**second) == 7
        assert site.call("stop").code == 0
    finally:
        site.call("stop", **second)
        subprocess.run(["ip", "addr", "del", second_vip + "/24", "dev", "vip0"], check=True)


def listener(site: Site, address: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that listens at the site's port on an address."""
    script = "import socket, time; s = socket.create_server((%r, 20816)); print('ready', flush=True); time.sleep(1000)" % address
    child = site.popen("/usr/bin/python3", "-I", "-c", script, env=environment, stdout=subprocess.PIPE, start_new_session=True, cwd="/")
    assert child.stdout and child.stdout.readline() == b"ready\n"
    return child


def test_the_local_site_s_daemon_at_the_same_port_lives(site: Site) -> None:
    """local_daemon=SITE: local and cluster site live together on one port, each on its own address."""
    local = listener(site, "127.0.0.1", {})
    assert site.monitor() == 7
    site.start()
    assert site.monitor(10) == 0
    site.stop()
    assert local.poll() is None and site.monitor() == 7


def test_a_foreign_listener_on_the_vip_is_named_before_the_start(site: Site) -> None:
    foreign = listener(site, site.vip, {"NQS_SITE": "anotherSite"})
    answer = site.call("start")
    assert answer.code == 1
    assert "something listens on %s:20816 (python3" % site.vip in answer.reason and "[%d]" % foreign.pid in answer.reason
    assert not site.mounted() and foreign.poll() is None
    assert site.monitor() == 1, "VIP:port is taken: that is not `stopped`"
    foreign.kill()
    foreign.wait()
    site.start()


@pytest.mark.parametrize("fault, code, words", [("", 0, ""), ("stop=lie", 1, "call it from elsewhere")])
def test_the_agent_may_be_called_by_a_job(site: Site, fault: str, code: int, words: str) -> None:
    """Whoever called us, and we ourselves, are descendants of a recorded daemon then: never ended by us, and 0 is not said beside them."""
    site.start(**site.faults(fault))
    out = pathlib.Path("/tmp/stop-by-job-" + site.name)
    exports = "".join("export %s='%s'\n" % pair for pair in site.call_environment(OCF_RESKEY_CRM_meta_timeout="6000").items())
    script = pathlib.Path(str(out) + ".sh")
    script.write_text("cd /\n%s/usr/lib/ocf/resource.d/cjc/jobcenter stop 2>%s.err\necho $? >%s\n" % (exports, out, out))
    site.simulator("qsub", "-s", site.name, "--", "setsid sh %s; :" % script)
    wait_until(out.exists, 40)
    wait_until(lambda: out.read_text() != "")
    said = pathlib.Path("%s.err" % out).read_text()
    assert int(out.read_text()) == code and words in said, said
    assert (site.mounted(), bool(site.daemons())) == (bool(code), bool(code))


def test_a_hung_status_call_is_not_a_daemon(site: Site) -> None:
    """The agent is killed while its status call hangs: what is left over is not counted, and ended by the next stop."""
    site.start()
    call = site.popen("/usr/lib/ocf/resource.d/cjc/jobcenter", "monitor", env=site.call_environment(**site.faults("status=hang")))
    wait_until(lambda: any("CJC_AGENT_CALL=1" in environment_of(pid) for pid in site.processes()))
    leftover = next(pid for pid in site.processes() if "CJC_AGENT_CALL=1" in environment_of(pid))
    call.kill()
    call.wait()
    assert alive(leftover)
    site.simulator("cjcpw", "stop")
    site.umount()
    os.unlink(site.state / ("cjc-%s.json" % site.name))
    assert site.monitor() == 7, "the left-over call is no sign of a running site"
    assert site.call("stop").code == 0
    assert not alive(leftover)


def test_jobs_end_with_the_site_whatever_they_made_of_their_environment(site: Site) -> None:
    site.start(**site.faults("stop=lie"))
    note = site.directory / "job.pid"
    site.simulator("qsub", "-s", site.name, "--", "exec env -i /bin/sh -c 'echo $$ > %s.tmp; mv %s.tmp %s; cd /; while :; do sleep 1000; done'"
                   % (note, note, note))
    wait_until(note.exists)
    job = int(note.read_text())
    assert not any(entry.startswith("NQS_SITE=") for entry in environment_of(job))
    assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="10000").code == 0
    assert not alive(job), "the job runs again on the other node: it must not go on here"
    site.assert_nothing_left()


def test_pid_used_again_is_not_taken_for_a_recorded_daemon(site: Site) -> None:
    import json
    bystander = site.popen("sleep", "1000", start_new_session=True)
    site.start()
    path = site.state / ("cjc-%s.json" % site.name)
    record = json.loads(path.read_text())
    record["daemons"].append([bystander.pid, 12345])  # the pid is right, the start time is another process's
    path.write_text(json.dumps(record))
    path.chmod(0o600)
    site.stop(OCF_RESKEY_CRM_meta_timeout="12000")
    assert bystander.poll() is None
