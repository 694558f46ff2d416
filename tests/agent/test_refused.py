"""What the doctor finds in daylight a start refuses at night, by the same rule, before it has started anything; and takes down what it brought up."""
from __future__ import annotations

import pathlib

import pytest

from lab.changed import replaced, text_of
from lab.healthy import VERSION, install_package
from lab.site import NQS_HOME, Site

COMMON = pathlib.Path(NQS_HOME, "rc/daemon.conf")


@pytest.mark.parametrize("version, code, rule", [("15.2-1", 5, "CJC210"), (VERSION, 0, ""), ("", 0, "")])
def test_another_version(site: Site, tmp_path: pathlib.Path, version: str, code: int, rule: str) -> None:
    install_package(tmp_path, VERSION)
    answer = site.call("start", version=version)
    assert answer.code == code, answer
    if rule:
        assert answer.reason == "site: %s: JobCenter here is %s, `version` wants %s: install the same one" % (rule, VERSION, version)
        site.assert_nothing_left()
        assert site.call("validate-all", OCF_CHECK_LEVEL="10", version=version).code == 5
        assert site.probe(version=version) == 7 and site.call("stop", version=version).code == 0


def test_a_version_that_cannot_be_told_is_only_warned_about(site: Site) -> None:
    path = pathlib.Path(NQS_HOME, "bin/cjcpw")
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexec %s/cjcpw \"$@\"\n" % NQS_HOME)
    path.chmod(0o755)
    site.start(version=VERSION, cjcpw=str(path))
    assert "no package owns %s" % path in site.log.read_text()
    path.unlink()


def test_the_site_db_of_another_site(site: Site) -> None:
    site.start()
    site.stop()
    site.mount()
    note = site.site_db / ".cjc-agent-site"
    assert note.read_text() == site.name + "\n", "the first start has noted whose it is"
    note.write_text("jobsiteX\n")
    site.umount()
    answer = site.call("start")
    assert answer.code == 1 and answer.reason.startswith("site: CJC302: %s is the site DB of jobsiteX: " % site.site_db)
    site.assert_nothing_left()


def test_a_running_site_is_never_refused(site: Site) -> None:
    """What was edited for the next start is not held against a site that runs."""
    site.start()
    (site.site_db / ".cjc-agent-site").write_text("jobsiteX\n")
    with replaced(COMMON, "listen_port=20816", "listen_port=x"):
        assert site.call("start").code == 0 and site.monitor(10) == 0


@pytest.mark.parametrize("line, port, rule", [("listen_port=208160", "", "CJC113"), ("listen_port=20817", "20816", "CJC115"), ("listen_port=20817", "", "")])
def test_ports(site: Site, line: str, port: str, rule: str) -> None:
    with replaced(COMMON, "listen_port=20816", line):
        answer = site.call("start", **({"port": port} if port else {}))
        assert answer.code == (1 if rule else 0), answer
        if rule:
            assert answer.reason.startswith("site: %s: %s" % (rule, line)) and "%s:3" % COMMON in answer.reason
            site.assert_nothing_left()
        else:
            site.stop()


def test_a_note_that_cannot_be_read_or_written_stops_nobody(site: Site) -> None:
    site.mount()
    (site.site_db / ".cjc-agent-site").mkdir()
    site.umount()
    site.start()
    assert "look into the site DB" in site.log.read_text()


def test_the_licence_by_its_rule(site: Site) -> None:
    with text_of(pathlib.Path(NQS_HOME, "license/jobcenter_key.dat"), "JobCenter MG/SV\n"):
        answer = site.call("start")
    assert answer.code == 5 and answer.reason.startswith("site: CJC204: licence ")
