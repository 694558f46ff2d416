"""NQS_SITE is in the environment of JobCenter's own commands and their children, and of no other process that the agent starts."""
from __future__ import annotations

import pytest

from lab.site import AGENT, Site, wait_until
from lab.traced import execs_of


@pytest.mark.parametrize("exported", ["", "otherSite", "same"])
def test_nqs_site_reaches_jobcenter_s_commands_only(site: Site, exported: str) -> None:
    caller = {"NQS_SITE": site.name if exported == "same" else exported} if exported else {}
    seen_with, seen_without = set(), set()
    for action in ("start", "monitor", "reload-agent", "stop", "validate-all"):
        changes = dict(caller, OCF_CHECK_LEVEL="20", run_fsck="force")
        execs = execs_of(site, action, **changes)
        # the first exec is strace's own: the wrapper with the environment the *caller* gave it
        assert execs[0].program == AGENT
        for program, environment in ((call.line, call.environment) for call in execs[1:]):
            sites = [entry for entry in environment if entry.startswith("NQS_SITE=")]
            if program.startswith("/usr/lib/nqs/"):
                assert sites == ["NQS_SITE=" + site.name], (action, program)
                seen_with.add(program)
            elif sites:
                # only what a JobCenter command has started itself may have it, and then with the right value
                assert sites == ["NQS_SITE=" + site.name], (action, program)
                assert program.startswith("/usr/bin/python3") and "/usr/lib/nqs/" in program, (action, program)
            else:
                seen_without.add(program.split()[0].rsplit("/", 1)[-1])
            if "cjcpw start" not in program:
                continue
            assert "CJC_AGENT_CALL=1" not in environment
    assert {"/usr/lib/nqs/cjcpw start", "/usr/lib/nqs/cjcpw stop", "/usr/lib/nqs/cjcpw status"} <= seen_with
    assert {"mount", "umount", "fsck.ext4"} <= seen_without and any(name.startswith("python3") for name in seen_without), seen_without


def test_jobs_and_daemons_do_inherit_it(site: Site) -> None:
    site.start()
    out = site.directory / "env"
    site.simulator("qsub", "-s", site.name, "--", "env > %s.tmp; mv %s.tmp %s" % (out, out, out))
    wait_until(out.exists)
    lines = out.read_text().split("\n")
    assert "NQS_SITE=" + site.name in lines
    assert not [line for line in lines if line.startswith(("OCF_", "HA_", "CJC_AGENT"))]


def test_values_of_the_environment_are_in_no_log(site: Site) -> None:
    site.start(environment="PASSWORD=very-secret", HA_debug="1", trace="1", OCF_TRACE_FILE=str(site.state.parent / "trace"))
    assert "very-secret" not in site.log.read_text() + (site.state.parent / "trace").read_text()
