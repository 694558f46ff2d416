"""A slip of the pen does not bring a healthy site down, and what is not known is never taken for stopped."""
from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest

from lab.site import AGENT, Site


@pytest.mark.parametrize("slip", [{"vip_wait": "soon"}, {"trace": "maybe"}, {"status_running": "x"}, {"device": "dev/sdb1"}, {"port": "0x"}])
def test_a_slip_in_a_parameter_is_warned_about_while_the_site_runs(site: Site, slip: dict[str, str]) -> None:
    site.start()
    for level in (0, 20):
        assert site.monitor(level, **slip) == 0
    name = next(iter(slip))
    assert "parameter %s:" % name in site.log.read_text()
    answer = site.call("start", **slip)
    assert answer.code == 6 and answer.reason.startswith("parameter %s:" % name)
    assert site.monitor() == 0, "a refused start touches nothing"
    site.stop(**slip)


@pytest.mark.parametrize("slip", [{"device": "dev/sdb1"}, {"directory": "srv/x"}])
def test_a_bad_device_without_a_record_is_no_disk_of_the_cluster_s(site: Site, slip: dict[str, str]) -> None:
    assert site.probe(**slip) == 7 and site.call("stop", **slip).code == 0, "nothing is there"
    site.mount()
    for answer in (site.call("monitor", OCF_RESKEY_CRM_meta_interval="0", **slip), site.call("monitor", **slip), site.call("stop", **slip)):
        assert answer.code == 1, "its disk may be the one that is mounted here"
        assert site.disk.path in answer.reason and "correct the parameters" in answer.reason
    assert site.mounted(), "whose it is is not known"


@pytest.mark.parametrize("cluster_s_disk", [False, True])
@pytest.mark.parametrize("lack", ["not executable", "no such user", "no licence"])
def test_a_probe_where_cjcpw_cannot_run_goes_by_evidence(site: Site, tmp_path: pathlib.Path, lack: str, cluster_s_disk: bool) -> None:
    if cluster_s_disk:
        site.parameters.update(device="", directory="")
        site.mount()
    licence = pathlib.Path("/usr/lib/nqs/license")
    aside = licence.with_name("license.aside")
    (tmp_path / "cjcpw").write_text("#!/bin/sh\n")
    (tmp_path / "cjcpw").chmod(0o644)
    changes = {"not executable": {"cjcpw": str(tmp_path / "cjcpw")}, "no such user": {"user": "nosuch"}, "no licence": {}}[lack]
    if lack == "no licence":
        licence.rename(aside)
    try:
        assert site.probe(**changes) == 7
        listener = site.popen("/usr/bin/python3", "-I", "-c", "import socket, time; s = socket.create_server((%r, 20816)); print(1, flush=True); "
                              "time.sleep(1000)" % site.vip, stdout=subprocess.PIPE, start_new_session=True, cwd="/", env={})
        assert listener.stdout and listener.stdout.readline()
        assert site.probe(**changes) == 1
        assert site.call("start", **changes).code in (1, 4, 5)
    finally:
        if aside.exists():
            aside.rename(licence)


def test_a_site_db_behind_a_symbolic_link_is_refused_with_its_real_path(site: Site, tmp_path: pathlib.Path) -> None:
    """Mounts are known by their real path: behind a link none would be found, and a running site would seem stopped."""
    link = pathlib.Path("/srv/link-" + site.name)
    link.symlink_to(site.directory)
    site.parameters.update(device="", directory="")
    site.mount()
    try:
        for action, level in (("start", "0"), ("validate-all", "10")):
            answer = site.call(action, site_db="%s/job_site" % link, OCF_CHECK_LEVEL=level)
            assert answer.code == 2, answer
            assert "symbolic link" in answer.reason and "write %s" % site.site_db in answer.reason
        assert not site.processes()
    finally:
        link.unlink()


def test_a_caller_that_ignores_sigchld(site: Site) -> None:
    """bash, RHEL's /bin/sh, hands the disposition on to us; and so did Pacemaker once."""
    def call(action: str) -> tuple[int, str]:
        done = subprocess.run(["bash", "--posix", AGENT, action], env=site.call_environment(OCF_RESKEY_CRM_meta_timeout="10000"),
                              capture_output=True, text=True, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        return done.returncode, done.stderr
    assert [call(action) for action in ("start", "monitor", "stop", "monitor")] == [(0, ""), (0, ""), (0, ""), (7, "")]
    site.assert_nothing_left()
    assert [call("start"), call("monitor")] == [(0, ""), (0, "")]
    ignored = pathlib.Path("/proc/%d/status" % next(iter(site.daemons().values()))).read_text().split("SigIgn:")[1].split()[0]
    assert not int(ignored, 16) >> (signal.SIGCHLD - 1) & 1, "JobCenter's daemons wait for their jobs"
    assert os.path.ismount(site.directory)
