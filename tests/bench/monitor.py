"""`make bench`: what one healthy monitor (level 0, a cjcpw that costs nothing) costs, against one round of the monitors that a user would
set up instead of us: ocf:heartbeat:Filesystem + IPaddr2 + anything. Alternating in one run; the ratio of the medians is what counts.

Runs on a throwaway node. Exit 0 when both ratios are at most BAR.
"""
from __future__ import annotations

import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab.site import AGENT, LINK, Site, prepare_node

HEARTBEAT = "/usr/lib/ocf/resource.d/heartbeat/"
ROUNDS = int(os.environ.get("ROUNDS", "40"))
BAR = 0.25


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command that must say 0; return its wall and CPU time (with all its children) in seconds."""
    null = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environment, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit("bench: %s said %d" % (" ".join(command), os.waitstatus_to_exitcode(status)))
    return wall, usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure and print; return whether the bar was missed."""
    folder = pathlib.Path(tempfile.mkdtemp())
    prepare_node()
    site = Site(folder)
    bystander = site.popen("/bin/sleep", "100000")
    (folder / "pid").write_text(str(bystander.pid))
    try:
        site.start(cjcpw="/bin/true")
        ours = site.call_environment(cjcpw="/bin/true")
        common = dict(site.environment)
        theirs = [
            ("Filesystem", dict(common, OCF_RESKEY_device=site.disk.path, OCF_RESKEY_directory=str(site.directory), OCF_RESKEY_fstype="ext4")),
            ("IPaddr2", dict(common, OCF_RESKEY_ip=site.vip, OCF_RESKEY_cidr_netmask="24", OCF_RESKEY_nic=LINK)),
            ("anything", dict(common, OCF_RESKEY_binfile="/bin/sleep", OCF_RESKEY_cmdline_options="100000", OCF_RESKEY_pidfile=str(folder / "pid"))),
        ]
        samples: dict[str, list[tuple[float, float]]] = {"ours": [], "the three": []}
        for number in range(ROUNDS + 3):
            one = measure([AGENT, "monitor"], ours)
            three = [measure([HEARTBEAT + name, "monitor"], environment) for name, environment in theirs]
            if number >= 3:  # warm caches first
                samples["ours"].append(one)
                samples["the three"].append((sum(row[0] for row in three), sum(row[1] for row in three)))
        return report(samples)
    finally:
        site.close()


def report(samples: dict[str, list[tuple[float, float]]]) -> int:
    """Print min / median / max and the ratios; return 1 when a ratio is above the bar."""
    print("one monitor, %d rounds, alternating; milliseconds min / median / max" % len(samples["ours"]))
    worst = 0.0
    for column, what in enumerate(("wall", "CPU")):
        medians = {}
        for name, rows in samples.items():
            values = [row[column] * 1000 for row in rows]
            medians[name] = statistics.median(values)
            print("  %-4s %-10s %6.1f / %6.1f / %6.1f" % (what, name, min(values), medians[name], max(values)))
        ratio = medians["ours"] / medians["the three"]
        worst = max(worst, ratio)
        print("  %-4s ratio      %.3f (bar %.2f)" % (what, ratio, BAR))
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
