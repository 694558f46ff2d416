"""`user`: cjcpw and the daemons run as that user, with its groups and none of ours."""
from __future__ import annotations

import pathlib
import subprocess

import pytest

from lab.site import Site, environment_of

USER = "jcuser"


@pytest.fixture
def owned(site: Site) -> Site:
    """The site belongs to a user of its own, who is in one more group."""
    for command in (["groupadd", "-f", "jcgroup"], ["useradd", "-M", "-d", "/var/jchome", "-G", "jcgroup", USER]):
        subprocess.run(command, check=False, capture_output=True)
    site.mount()
    subprocess.run(["chown", "-R", USER, str(site.site_db), "/usr/spool/nqs"], check=True)
    site.umount()
    site.parameters.update(user=USER)
    return site


def test_the_site_runs_as_the_user(owned: Site) -> None:
    owned.start()
    assert [owned.monitor(level) for level in (0, 10, 20)] == [0, 0, 0]
    uid = subprocess.run(["id", "-u", USER], check=True, capture_output=True, text=True).stdout.strip()
    groups = set(subprocess.run(["id", "-G", USER], check=True, capture_output=True, text=True).stdout.split())
    for pid in owned.daemons().values():
        status = dict(line.split(":\t", 1) for line in pathlib.Path("/proc/%d/status" % pid).read_text().split("\n") if ":\t" in line)
        assert status["Uid"].split() == [uid] * 4
        assert set(status["Groups"].split()) == groups and "0" not in groups
        assert int(status["CapEff"], 16) == 0
        environment = environment_of(pid)
        assert {"USER=" + USER, "LOGNAME=" + USER, "HOME=/var/jchome", "NQS_SITE=" + owned.name} <= set(environment)
    owned.stop()
