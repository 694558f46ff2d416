"""`make demo-single`: one node, one cluster site, through the installed OCF agent. Runs on a throwaway node; exits 0 only if all went well."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab.site import AGENT, Site, missing, prepare_node, wait_until

NEEDED = {"mount": "mount", "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "make": "make", "fsck": "util-linux", "blkid": "util-linux"}
BEGAN = time.monotonic()
COLOURS = {"good": "\033[32m", "bad": "\033[31m", "dim": "\033[2m", "": ""} if sys.stdout.isatty() else dict.fromkeys(("good", "bad", "dim", ""), "")
END = "\033[0m" if sys.stdout.isatty() else ""
MEANING = {0: "running", 1: "FAILED", 7: "not running"}


class Unexpected(Exception):
    """The story did not go as it should."""


def tell(words: str, colour: str = "") -> None:
    """One line of the account, with the seconds since the beginning."""
    print("%s%6.1f s  %s%s" % (COLOURS[colour], time.monotonic() - BEGAN, words, END), flush=True)


def agent(site: Site, action: str, expected: int, level: int = 0) -> None:
    """Call the agent, tell what it answered, insist on the expected code."""
    answer = site.call(action, OCF_CHECK_LEVEL=str(level))
    meaning = MEANING.get(answer.code, "?") if action == "monitor" else "done" if answer.code == 0 else "FAILED"
    depth = " (level %d)" % level if action == "monitor" else ""
    tell("        agent %s%s -> %d %s, %.2f s" % (action, depth, answer.code, meaning, answer.seconds), "good" if answer.code == expected else "bad")
    for reason in answer.reasons:
        tell("        it says: " + reason, "dim")
    if answer.code != expected:
        raise Unexpected("%s answered %d, expected %d:\n%s" % (action, answer.code, expected, answer.said))


def submit(site: Site, count: int, seconds: float = 0.05) -> list[int]:
    """Submit jobs; return the numbers that were acknowledged."""
    numbers = [int(site.simulator("qsub", "-s", site.name, "--quiet", "--", "sleep %g" % seconds).stdout) for _ in range(count)]
    tell("        submitted and acknowledged: job%s" % (" %d" % numbers[0] if count == 1 else "s %d to %d" % (numbers[0], numbers[-1])))
    return numbers


def listed(site: Site, *options: str) -> list[dict[str, str]]:
    """What SIMULATOR qstat lists."""
    answer = json.loads(site.simulator("qstat", "-s", site.name, "--json", *options).stdout)
    return answer["ledger" if options else "jobs"]


def done(site: Site) -> set[int]:
    """The numbers of the jobs that are done."""
    return {int(row["id"]) for row in listed(site) if row["state"] == "done"}


def story(site: Site) -> None:
    """What happens, in order."""
    tell("[1] nothing runs yet: the shared disk is not mounted, the VIP %s is here" % site.vip)
    agent(site, "monitor", 7)
    tell("[2] start: check and mount %s on %s, see the VIP, call cjcpw with NQS_SITE=%s for that command only" % (
        site.disk.path, site.directory, site.name))
    agent(site, "start", 0)
    for level in (0, 10, 20):
        agent(site, "monitor", 0, level)
    tell("        daemons: " + ", ".join("%s[%d]" % pair for pair in sorted(site.daemons().items())))
    jobs = submit(site, 5)
    wait_until(lambda: set(jobs) <= done(site))
    tell("        all of them are done", "good")
    tell("[3] a daemon is killed while a long job runs")
    jobs += submit(site, 1, seconds=1.0)
    os.kill(site.daemons()["jcsim-net"], signal.SIGKILL)
    wait_until(lambda: "jcsim-net" not in site.daemons())
    agent(site, "monitor", 1)
    tell("[4] recovery, as the cluster would do it: stop, then start")
    agent(site, "stop", 0)
    agent(site, "start", 0)
    agent(site, "monitor", 0, 10)
    wait_until(lambda: set(jobs) <= done(site))
    runs = [row for row in listed(site, "--ledger") if row["job"] == jobs[-1]]
    if len(runs) < 2:
        raise Unexpected("job %d was running when the daemon was killed, but the ledger shows one run only" % jobs[-1])
    tell("        job %d, which was running, has run again: the ledger shows %d runs, the last one done" % (jobs[-1], len(runs)), "good")
    tell("[5] stop: the site, then the disk; 0 only after seeing that nothing is left")
    jobs += submit(site, 2)
    wait_until(lambda: set(jobs) <= done(site))
    agent(site, "stop", 0)
    agent(site, "monitor", 7)
    site.assert_nothing_left()
    check = subprocess.run(["fsck.ext4", "-n", "-f", site.disk.path], capture_output=True, text=True, check=False)
    if check.returncode:
        raise Unexpected("the file system is not clean: " + check.stdout)
    print()
    print("jobs acknowledged %d, done %d, lost 0; file system clean; no mount, process or record left" % (len(jobs), len(jobs)))


def main() -> int:
    """Tell the story; return 0 when all went well."""
    if missing(NEEDED):
        print("demo: missing on this machine: %s: install them (Debian: apt-get install ...)" % ", ".join(missing(NEEDED)), file=sys.stderr)
        return 2
    print("cjc-agent: one cluster site on one node. JobCenter is a SIMULATOR (tests/simulator), all else is real: agent, disk, address, processes.")
    print("It happens on a throwaway node in namespaces of its own; nothing of it is left on this machine.\n", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="demo-"))
    prepare_node()
    tell("agent installed on the node: %s" % AGENT)
    site = Site(folder, name="jobsiteA", vip="10.0.2.50", directory="/share")  # the seed's names
    tell("site DB of site %s made on %s (ext4) with SIMULATOR cjcmksite -d %s -n %s" % (site.name, site.disk.path, site.site_db, site.name))
    try:
        story(site)
    except (Unexpected, AssertionError, subprocess.SubprocessError) as error:
        tell("the demo FAILED: %s" % (error or type(error).__name__), "bad")
        return 1
    finally:
        site.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
