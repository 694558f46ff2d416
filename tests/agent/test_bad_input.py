"""Bad input: the promised code, one clear reason, and stop still stops."""
from __future__ import annotations

import os
import subprocess
import time

import pytest

from lab.site import AGENT, Site, wait_until

# what is given instead of the good value, and what the reason must name besides the parameter
BAD = [
    ("site", "", "is not given"),
    ("site", None, "is not given"),
    ("site", "a/b", "'a/b'"),
    ("site", "../../etc/x", "no site name"),
    ("site", "a b", "no site name"),
    ("site", "a\nb", "control character"),
    ("site", "a;reboot", "no site name"),
    ("site", "-a", "no site name"),
    ("site", "a" * 64, "at most 63"),
    ("site_db", "", "is not given"),
    ("site_db", None, "is not given"),
    ("site_db", "share/job_site", "not an absolute path"),
    ("site_db", "/share/../etc", "climbs"),
    ("site_db", "/", "root folder"),
    ("site_db", "/elsewhere/job_site", "does not lie below"),
    ("directory", "", "is needed with device"),
    ("directory", "share", "not an absolute path"),
    ("device", "sdb1", "no device"),
    ("device", "--bind", "no device"),
    ("device", "LABEL=", "no device"),
    ("device", "-o:/x", "no device"),
    ("fstype", "-ext4", "no file system type"),
    ("fstype", "nfs4", "does not go with"),
    ("options", "rw, noatime", "white space"),
    ("run_fsck", "maybe", "auto, force, no"),
    ("vip", "0.0.0.0", "stands for every address"),
    ("vip", "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6", "at most 5"),
    ("vip", "10.0.0.256", "not an IPv4 or IPv6 address"),
    ("vip", "jobcenter.example.com", "not an IPv4 or IPv6 address"),
    ("vip", "10.0.0.1,10.0.0.1", "twice"),
    ("vip", "10.0.0.1,,10.0.0.2", "not an IPv4"),
    ("vip_wait", "soon", "no time span"),
    ("vip_wait", "-1s", "no time span"),
    ("vip_wait", "1e3", "no time span"),
    ("port", "0", "1 to 65535"),
    ("port", "70000", "1 to 65535"),
    ("port", "x", "1 to 65535"),
    ("port", "२०", "1 to 65535"),
    ("nqs_home", "usr/lib/nqs", "not an absolute path"),
    ("nqs_spool", "spool", "not an absolute path"),
    ("cjcpw", "bin/cjcpw", "neither a bare command name"),
    ("cjcpw", "-x", "neither a bare command name"),
    ("start_args", "start 'unfinished", "no closing quotation"),
    ("stop_args", "\"", "no closing quotation"),
    ("status_args", "a\\", "no escaped character"),
    ("cjcpw_mode", "daemon", "command, resident"),
    ("status_running", "yes", "no exit code"),
    ("status_running", "0,,2", "no exit code"),
    ("status_running", "256", "no exit code"),
    ("status_running", "127", "could not be run"),
    ("status_stopped", "0", "one thing only"),
    ("user", "root; id", "no login name"),
    ("environment", "NAME", "not NAME=value"),
    ("environment", "1A=x", "not NAME=value"),
    ("environment", "NQS_SITE=other", "set by the agent"),
    ("environment", "CJC_AGENT_CALL=1", "set by the agent"),
    ("stop_escalation", "fast", "no time span"),
    ("trace", "maybe", "neither 1 nor 0"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """One site for the whole table: every row brings it back to stopped."""
    made = Site(tmp_path_factory.mktemp("bad"))
    yield made
    made.close()


@pytest.mark.parametrize(("name", "value", "named"), BAD, ids=["%s=%r" % (row[0], row[1] if row[1] is None else row[1][:20]) for row in BAD])
def test_bad_parameters(shared: Site, name: str, value: str | None, named: str) -> None:
    changes = {name: value if value is not None else ""}
    missing = dict(shared.parameters)
    if value is None:
        missing.pop(name)
        changes = {}
    before, shared.parameters = shared.parameters, missing
    try:
        for action in ("validate-all", "start"):
            answer = shared.call(action, **changes)
            assert answer.code == 6, answer
            parameter = "status_stopped" if name == "status_stopped" else name
            assert answer.reason.startswith("parameter %s: " % parameter) and named in answer.reason
        assert shared.probe(**changes) == 7, "a probe goes by evidence"
        assert shared.monitor(**changes) in (1, 7)
    finally:
        shared.parameters = before
    shared.start()
    shared.parameters = missing
    try:
        assert shared.monitor(**changes) == 0, "a slip of the pen does not bring a healthy site down; never 5 or 6 from a recurring monitor"
        assert "monitoring with" in shared.log.read_text()
        os.truncate(shared.log, 0)
        assert shared.call("stop", **changes).code == 0
    finally:
        shared.parameters = before
    shared.assert_nothing_left()


@pytest.mark.parametrize("words", [(), ("Start",), ("start", "stop"), ("",), ("start;id",), ("promote",), ("--help",)])
def test_unknown_actions(site: Site, words: tuple[str, ...]) -> None:
    done = subprocess.run([AGENT, *words], env=site.call_environment(), capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.count("ocf-exit-reason:") == 1 and "meta-data" in done.stderr
    assert not site.mounted()


def test_two_starts_at_once(site: Site) -> None:
    callers = [site.popen(AGENT, "start", env=site.call_environment(**site.faults("start=slow:1"))) for _ in range(3)]
    assert [caller.wait(timeout=40) for caller in callers] == [0, 0, 0]
    assert sorted(site.daemons()) == ["jcsim-log", "jcsim-net", "jcsim-sched"] and len(site.processes()) == 3
    site.stop()


def test_a_stop_waits_for_a_start_within_its_own_time(site: Site) -> None:
    starting = site.popen(AGENT, "start", env=site.call_environment(**site.faults("start=slow:4")))
    wait_until(site.mounted)
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="2500")
    assert answer.code == 1 and answer.seconds < 2.5
    assert answer.reason.startswith("lock: start (pid %d)" % starting.pid)
    assert site.call("stop").code == 0, "with enough time it waits and then stops"
    assert starting.wait(timeout=10) == 0
    site.assert_nothing_left()


def test_the_lock_dies_with_its_holder(site: Site) -> None:
    starting = site.popen(AGENT, "start", env=site.call_environment(**site.faults("start=slow:60")))
    wait_until(lambda: "cjcpw" in "".join(site.processes().values()) or site.processes())
    starting.kill()
    starting.wait()
    began = time.monotonic()
    assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="10000").code == 0
    assert time.monotonic() - began < 10
    assert not site.mounted() and not site.processes()


@pytest.mark.parametrize("action", ["stop", "monitor"])
def test_missing_product_files_stand_in_nobody_s_way(site: Site, action: str) -> None:
    site.start()
    for changes in ({"cjcpw": "/no/such/cjcpw"}, {"nqs_home": "/no/such/home"}, {"cjcpw": "/etc/passwd"}, {"user": "nobody-at-all"}):
        if action == "monitor":
            assert site.monitor(**changes) == 1
            continue
        os.unlink(site.state / ("cjc-%s.json" % site.name))  # stop has nothing but the bad parameters
        assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="10000", **changes).code == 0
        site.assert_nothing_left()
        site.start()


def test_what_a_node_lacks_has_its_own_codes(site: Site) -> None:
    table = [
        ({"cjcpw": "/no/such/cjcpw"}, 5, "cjcpw is not installed"),
        ({"cjcpw": "no-such-cjcpw"}, 5, "cjcpw is not installed"),
        ({"cjcpw": "/etc/passwd"}, 4, "not an executable file"),
        ({"cjcpw": "/etc"}, 4, "not an executable file"),
        ({"nqs_home": "/no/such/home", "cjcpw": "/usr/lib/nqs/cjcpw"}, 5, "licence /no/such/home/license/jobcenter_key.dat"),
        ({"licence_pattern": "no such option"}, 5, "jclicreg"),
        ({"user": "nobody-at-all"}, 5, "user nobody-at-all"),
        ({"directory": "/srv/no-such", "site_db": "/srv/no-such/x"}, 2, "mkdir -p /srv/no-such"),
        ({"directory": "/etc/passwd", "site_db": "/etc/passwd/x"}, 2, "is no directory"),
    ]
    for changes, code, words in table:
        for action in ("start", "validate-all"):
            answer = site.call(action, OCF_CHECK_LEVEL="10", **changes)
            assert answer.code == code, (changes, answer)
            assert words in answer.reason
        assert site.call("validate-all", **changes).code == 0, "level 0 looks at the parameters only"
        assert site.probe(**changes) == 7
        assert site.call("stop", **changes).code == 0
    assert not site.mounted()


def test_a_symbolic_link_as_mount_point_is_refused(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    link = tmp_path / "link"
    link.symlink_to(site.directory)
    answer = site.call("start", directory=str(link), site_db=str(link / "job_site"))
    assert answer.code == 2 and "write %s" % site.directory in answer.reason


def test_a_record_that_cannot_be_believed_is_no_obstacle(site: Site) -> None:
    record = site.state / ("cjc-%s.json" % site.name)
    for text in ("", "{", "[]", "null", '{"settings": 1}', "\0" * 100, "[" * 100000):
        site.start()
        record.write_text(text)
        record.chmod(0o600)
        assert site.monitor() == 0
        record.write_text(text)
        site.stop()
    site.start()
    record.unlink()
    record.symlink_to("/etc/passwd")
    assert site.call("stop").code == 0
    assert open("/etc/passwd").read()
