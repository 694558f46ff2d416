"""A site that was started by hand, before the agent ever ran, is seen, not restarted, and can be stopped."""
from __future__ import annotations

import json

from lab.site import Site


def test_a_running_site_is_adopted(site: Site) -> None:
    site.mount()
    site.simulator("cjcpw", "start")
    daemons = site.daemons()
    assert site.probe() == 0
    record = json.loads((site.state / ("cjc-%s.json" % site.name)).read_text())
    assert {pid for pid, _ in record["daemons"]} <= set(daemons.values()) and record["daemons"]
    site.start()
    assert site.daemons() == daemons, "not restarted"
    assert [site.monitor(level) for level in (0, 10, 20)] == [0, 0, 0]
    site.stop()
    assert site.monitor() == 7


def test_a_site_that_was_started_again_by_hand_is_recorded_anew(site: Site) -> None:
    site.start()
    path = site.state / ("cjc-%s.json" % site.name)
    first = json.loads(path.read_text())["daemons"]
    site.simulator("cjcpw", "stop")
    site.simulator("cjcpw", "start")
    assert site.monitor() == 0
    second = json.loads(path.read_text())["daemons"]
    assert {pid for pid, _ in second} <= set(site.daemons().values()) and second and not {tuple(pair) for pair in first} & {tuple(pair) for pair in second}
    written = path.stat().st_mtime_ns
    assert site.monitor() == 0 and path.stat().st_mtime_ns == written, "once"
    site.stop()


def test_an_adopted_site_can_be_stopped_without_any_probe(site: Site) -> None:
    site.mount()
    site.simulator("cjcpw", "start")
    site.stop()


def test_adoption_does_not_condemn_who_only_inherited_the_variable(site: Site) -> None:
    site.mount()
    site.simulator("cjcpw", "start")
    bystander = site.popen("sleep", "1000", env={"NQS_SITE": site.name, "PATH": "/usr/bin:/bin"}, start_new_session=True, cwd="/")
    assert site.probe() == 0
    record = json.loads((site.state / ("cjc-%s.json" % site.name)).read_text())
    assert bystander.pid not in {pid for pid, _ in record["daemons"]}
    assert site.call("stop").code == 0
    assert bystander.poll() is None and not site.mounted()


def test_a_state_folder_that_cannot_be_written_does_not_make_a_running_site_fail(site: Site) -> None:
    site.start()
    answer = site.call("monitor", HA_RSCTMP="/proc/no-such-folder")
    assert answer.code == 0
    assert "record" in site.log.read_text()
    answer = site.call("stop", HA_RSCTMP="/proc/no-such-folder")
    assert answer.code == 0
