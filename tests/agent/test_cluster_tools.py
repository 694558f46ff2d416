"""The checkers and tools that users have: ocf-tester, crmsh, pcs, crm_resource, on the installed agent."""
from __future__ import annotations

import subprocess

import pytest

from lab.site import AGENT, Site


def run(*command: str) -> str:
    """Run a tool; it must say 0. Return what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_ocf_tester(site: Site) -> None:
    options = [word for name, value in site.parameters.items() for word in ("-o", "%s=%s" % (name, value))]
    said = run("ocf-tester", "-n", "t", *options, "-o", "cjcpw=/usr/lib/nqs/cjcpw", AGENT)
    assert said.strip().endswith("%s passed all tests" % AGENT)
    assert not site.mounted() and not site.processes()


def test_meta_data_is_valid_for_the_ocf_1_0_dtd() -> None:
    done = subprocess.run("%s meta-data | xmllint --noout --valid -" % AGENT, shell=True, cwd="/usr/share/resource-agents", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_crm_ra_info() -> None:
    said = run("crm", "ra", "info", "ocf:cjc:jobcenter")
    for words in ("site* (string): Cluster site name", "vip_wait (time, [10s])", "monitor       timeout=30s interval=10s"):
        assert words in said, said


def test_pcs_resource_describe() -> None:
    said = run("pcs", "resource", "describe", "ocf:cjc:jobcenter")
    for words in ("ocf:cjc:jobcenter - JobCenter cluster site", "site (required) (unique group: site)", "monitor:", "start:"):
        assert words in said, said


def test_crm_resource_shows_the_meta_data() -> None:
    assert "reload-agent" in run("crm_resource", "--show-metadata", "ocf:cjc:jobcenter")


@pytest.mark.parametrize(("parameters", "good"), [(["site=jobsiteA", "site_db=/share/job_site"], True), (["site=job site", "site_db=/share/x"], False),
                                                  (["site=jobsiteA"], False)])
def test_crm_resource_validate(parameters: list[str], good: bool) -> None:
    done = subprocess.run(["crm_resource", "--validate", "--class", "ocf", "--provider", "cjc", "--agent", "jobcenter",
                           *[word for parameter in parameters for word in ("--option", parameter)]], capture_output=True, text=True)
    assert (done.returncode == 0) == good, done
