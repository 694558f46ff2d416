"""`cjc-agent status`, and the history of starts and stops that it shows: real ones, on a real node."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab.site import AGENT, LINK, Answer, Site, answer_of, wait_until

COMMAND = "/usr/sbin/cjc-agent"
COMMON = pathlib.Path("/usr/lib/nqs/rc/daemon.conf")


@pytest.fixture
def conf(site: Site, tmp_path: pathlib.Path) -> pathlib.Path:
    """The site's configuration file."""
    path = tmp_path / "site.conf"
    path.write_text(site.configuration())
    return path


def status(site: Site, *words: str) -> Answer:
    """Call `cjc-agent status`."""
    return answer_of([COMMAND, "status", *words], {"HA_RSCTMP": str(site.state), "PATH": os.environ["PATH"], "TZ": "UTC"})


def seen(site: Site, *words: str) -> dict[str, Any]:
    """What `cjc-agent status --json` says: of the site by its parameters, where no other words are given."""
    given = words or tuple("--%s=%s" % pair for pair in site.parameters.items())
    answer = status(site, "--json", *given)
    assert answer.code in (0, 1), answer
    found: dict[str, Any] = json.loads(answer.out)
    assert answer.code == (0 if found["state"] in ("running", "stopped") else 1)
    return found


def history(site: Site) -> list[tuple[str, str, list[str], bool]]:
    """(action, outcome, steps, idle) of the last actions, the oldest first."""
    return [(one["action"], one["outcome"], [name for name, _ in one["steps"]], one["idle"]) for one in reversed(seen(site)["history"])]


START = ("start", "good", ["check", "lock", "disk", "vip", "site"], False)
STOP = ("stop", "good", ["lock", "site", "disk"], False)


# -- the history -----------------------------------------------------------------------------------------------------------------------


def test_starts_and_stops_are_noted_with_what_their_steps_took(site: Site) -> None:
    site.call("stop")
    assert history(site) == [], "nothing of it was ever here"
    took = site.call("start", **site.faults("start=slow:0.5")).seconds
    site.start()
    site.stop()
    site.stop()
    assert history(site) == [START, (*START[:3], True), STOP]
    first = seen(site)["history"][-1]
    steps = dict(first["steps"])
    assert 0.5 <= steps["site"] <= first["seconds"] <= took and sum(steps.values()) <= first["seconds"] + 0.005 and first["reason"] == ""
    assert abs(first["began"] - (site.state / ("cjc-%s.history" % site.name)).stat().st_mtime) < 60


def test_a_failed_start_is_noted_and_the_stop_after_it_is_not(site: Site) -> None:
    answer = site.call("start", **site.faults("start=fail:4"))
    assert answer.code == 1
    site.stop()
    assert history(site) == [("start", "failed", ["check", "lock", "disk", "vip", "site", "take down"], False)]
    assert seen(site)["history"][0]["reason"] == answer.reason


def test_a_stop_that_finds_a_disk_or_daemons_alone_is_noted(site: Site) -> None:
    site.mount()
    site.stop()
    assert history(site) == [("stop", "good", ["lock", "site", "disk"], True)]
    site.parameters.update(device="", directory="")
    site.mount()
    site.simulator("cjcpw", "start")
    assert site.call("stop").code == 0
    assert history(site)[1:] == [STOP]
    assert site.call("stop").code == 0
    assert len(history(site)) == 2, "the cluster's disk is no business of ours"
    site.umount()


def test_only_the_last_are_kept_and_the_last_good_ones(site: Site) -> None:
    site.start()
    site.stop()
    for _ in range(23):
        assert site.call("start", port="x").code == 6
    assert history(site) == [START, STOP, *[("start", "misconfigured", ["check"], False)] * 18]


def test_each_site_has_its_own(site: Site, tmp_path: pathlib.Path) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    try:
        other.environment["HA_RSCTMP"] = site.environment["HA_RSCTMP"]
        other.state = site.state
        site.start()
        other.call("start", port="x")
        assert history(site) == [START] and history(other) == [("start", "misconfigured", ["check"], False)]
        site.stop()
    finally:
        other.close()


@pytest.fixture
def small_state(site: Site) -> Iterator[pathlib.Path]:
    """The state folder as a small file system of its own, with a history in it."""
    site.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "state", str(site.state)], check=True)
    try:
        site.start()
        site.stop()
        yield site.state
    finally:
        subprocess.run(["umount", str(site.state)], check=True)


def test_a_full_state_folder_costs_the_entry_alone(site: Site, small_state: pathlib.Path) -> None:
    with (small_state / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    assert site.call("start").code == 0
    assert site.call("stop").code == 0
    (small_state / "fill").unlink()
    assert history(site) == [START, STOP]


def test_a_read_only_state_folder_costs_the_entry_alone(site: Site, small_state: pathlib.Path) -> None:
    site.start()
    subprocess.run(["mount", "-o", "remount,ro", str(small_state)], check=True)
    answer = site.call("stop")
    assert answer.code == 0 and "history" not in answer.said, answer
    subprocess.run(["mount", "-o", "remount,rw", str(small_state)], check=True)
    assert history(site) == [START, STOP, START]


def test_a_killed_start_leaves_the_history_as_it_was_and_is_told(site: Site) -> None:
    site.start()
    site.stop()
    start = site.popen(AGENT, "start", env=site.call_environment(**site.faults("start=hang")), stderr=subprocess.DEVNULL, start_new_session=True)
    path = site.state / ("cjc-%s.json" % site.name)
    wait_until(lambda: path.exists() and len(site.processes()) > 0)
    work = seen(site)["at_work"]
    assert (work["action"], work["pid"]) == ("start", start.pid) and 0 <= work["seconds"] < 30
    start.kill()
    start.wait()
    found = seen(site)
    assert found["at_work"] is None and found["record"]["finished"] is False and found["state"] == "failed"
    assert history(site) == [START, STOP]
    assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="6000").code == 0
    assert history(site) == [START, STOP, STOP]


# -- what is shown ---------------------------------------------------------------------------------------------------------------------


def test_a_running_site(site: Site, conf: pathlib.Path) -> None:
    site.start()
    found = seen(site, "--conf", str(conf))
    daemons = site.daemons()
    assert (found["site"], found["state"], found["node"]) == (site.name, "running", os.uname().nodename)
    assert {name: layer["state"] for name, layer in found["layers"].items()} == dict.fromkeys(("disk", "vip", "site"), "running")
    assert found["vips"] == [{"address": site.vip, "interface": LINK, "worth": "usable"}]
    assert sorted(found["daemons"]) == sorted("%s[%d]" % pair for pair in daemons.items()) and found["unseen"] == ""
    assert found["listeners"] == [{"address": site.vip, "processes": ["jcsim-net[%d]" % daemons["jcsim-net"]]}]
    assert found["record"] == {"instance": "rsc-" + site.name, "finished": True, "daemons": len(daemons), "alive": len(daemons)}
    assert found["settings"]["device"] == site.disk.path and found["cjcpw"].endswith("/cjcpw") and found["source"] == str(conf)
    assert found["timeouts"] == {"start": "180s", "stop": "180s", "monitor": "30s"} and found["changed"] == found["problems"] == []
    text = status(site, "--conf", str(conf)).out
    assert text.startswith("site %s: running\n" % site.name) and "%s on %s" % (site.vip, LINK) in text and "\nlast starts and stops" in text
    site.stop()


def test_a_stopped_site_and_one_whose_disk_is_not_here(site: Site, conf: pathlib.Path) -> None:
    site.start()
    site.stop()
    site.address("del")
    for device in (site.disk.path, "/dev/disk/by-label/no-such-disk"):
        found = seen(site, "--conf", str(conf), "--device", device)
        assert {name: layer["state"] for name, layer in found["layers"].items()} == dict.fromkeys(("disk", "vip", "site"), "stopped")
        assert (found["state"], found["record"], found["daemons"], found["listeners"]) == ("stopped", None, [], [])
        assert found["vips"] == [{"address": site.vip, "interface": "", "worth": ""}] and len(found["history"]) == 2
    assert "%s (not on this node)" % site.vip in status(site, "--conf", str(conf)).out
    site.address("add")


def test_where_the_port_is_from(site: Site, conf: pathlib.Path) -> None:
    common = COMMON.read_text()
    own = site.site_db / "nqs/daemon.conf"
    words = ("--conf", str(conf))
    try:
        COMMON.unlink()
        assert (seen(site, *words)["port"], seen(site, *words)["port_from"]) == (20816, "default")
        COMMON.write_text("# for all\nlisten_port=20900\n")
        assert (seen(site, *words)["port"], seen(site, *words)["port_from"]) == (20900, "%s:2" % COMMON)
        site.start()
        assert seen(site, *words)["port_from"] == "%s:2" % COMMON
        own.write_text(own.read_text().rstrip("\n") + "\nlisten_port=20901\n")
        found = seen(site, *words)
        assert found["port"] == 20900 and found["listeners"] and found["port_from"].startswith("as it was started; %s:" % own)
        assert found["port_from"].endswith(" has 20901 now")
        assert seen(site, *words, "--port", "20900")["port_from"] != "parameter port", "it was not started with it"
    finally:
        COMMON.write_text(common)
        site.stop()
    assert seen(site, *words, "--port", "20902")["port_from"] == "parameter port"


def test_what_was_changed_since_the_start_is_shown_and_does_not_count(site: Site, conf: pathlib.Path) -> None:
    site.start(environment="PASSWORD=old")
    conf.write_text(site.configuration(vip="10.66.0.1", environment="PASSWORD=new"))
    found = seen(site, "--conf", str(conf))
    assert found["state"] == "running" and found["settings"]["vip"] == site.vip
    assert found["changed"] == [{"name": "vip", "started_with": site.vip, "now": "10.66.0.1"},
                                {"name": "environment", "started_with": "(hidden)", "now": "(hidden)"}]
    text = status(site, "--conf", str(conf)).out
    assert "vip: 10.66.0.1 now, started with %s" % site.vip in text and "PASSWORD" not in text
    site.stop()
    assert seen(site, "--conf", str(conf))["changed"] == []


def test_a_file_that_is_not_right_does_not_hide_what_runs(site: Site, conf: pathlib.Path) -> None:
    site.start()
    conf.write_text(site.configuration() + "prot = 1\nport = x\n")
    found = seen(site, "--conf", str(conf))
    assert found["state"] == "running" and ["prot" in found["problems"][0], "port" in found["problems"][1]] == [True, True]
    site.stop()
    answer = status(site, "--conf", str(conf))
    assert answer.code == 2 and "unknown parameter 'prot'" in answer.said and answer.out == ""


def test_the_only_site_of_this_node_is_found(site: Site) -> None:
    """No cluster answers, and no file tells of it: what was started here does."""
    answer = status(site)
    assert answer.code == 2 and "which site is meant? There is no /etc/cjc-agent/*.conf" in answer.said
    site.start()
    assert status(site).out.startswith("site %s: running\n" % site.name)
    site.stop()


def test_what_is_not_well_is_named(site: Site, conf: pathlib.Path) -> None:
    site.start()
    site.address("del")
    found = seen(site, "--conf", str(conf))
    assert found["state"] == "failed" and found["reason"].startswith("vip: ") and found["layers"]["site"]["state"] == "running"
    site.address("add")
    for pid in site.daemons().values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not site.daemons())
    found = seen(site, "--conf", str(conf))
    assert found["state"] == "failed" and found["layers"]["site"]["state"] == "failed" and (found["record"]["alive"], found["daemons"]) == (0, [])
    site.stop()


def test_a_cjcpw_that_hangs_is_waited_for_once(site: Site, conf: pathlib.Path) -> None:
    site.start()
    conf.write_text(site.configuration())
    pathlib.Path("/usr/spool/nqs/simulator.faults").write_text("status = hang\n")
    try:
        answer = status(site, "--json", "--conf", str(conf), "--monitor_timeout", "4s")
    finally:
        pathlib.Path("/usr/spool/nqs/simulator.faults").unlink()
    found = json.loads(answer.out)
    assert answer.code == 1 and answer.seconds < 6 and "did not end within" in found["layers"]["site"]["detail"]
    assert len(found["daemons"]) == 3 and found["listeners"] and found["history"]
    site.stop()


def test_a_history_and_a_record_that_cannot_be_believed_are_told(site: Site, conf: pathlib.Path) -> None:
    site.start()
    site.stop()
    path = site.state / ("cjc-%s.history" % site.name)
    path.write_text("[{")
    path.with_suffix(".json").symlink_to(path)
    found = seen(site, "--conf", str(conf))
    assert found["history"] == [] and found["history_doubt"] == "%s: not a history of site %s: remove it" % (path, site.name)
    assert str(path.with_suffix(".json")) in found["record_doubt"]
    path.with_suffix(".json").unlink()
    site.start()
    assert history(site) == [START]
    site.stop()


LISTENER = "import socket, sys, time; s = socket.create_server((sys.argv[1], int(sys.argv[2]))); print('ready', flush=True); time.sleep(1000)"


def test_a_stranger_at_the_port_is_named(site: Site, conf: pathlib.Path) -> None:
    stranger = site.popen(sys.executable, "-c", LISTENER, site.vip, "20816", stdout=subprocess.PIPE)
    assert stranger.stdout is not None and stranger.stdout.readline() == b"ready\n"
    found = seen(site, "--conf", str(conf))
    assert found["state"] == "failed" and found["listeners"][0]["processes"][0].endswith("[%d]" % stranger.pid)
