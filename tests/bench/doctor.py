"""`make bench`: how long a doctor takes on a healthy node, all rules, with a name service that answers; and beside it, in the same run, a Python
that does nothing. Alternating; the site runs here in one half of the rounds, and is elsewhere in the other.

Runs on a throwaway node. Exit 0 when the slowest one took at most BAR seconds (the issue's bar for all rules on a node).
"""
from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab.healthy import Healthy
from lab.site import prepare_node

ROUNDS = int(os.environ.get("ROUNDS", "10"))
BAR = 2.0


def nothing() -> float:
    """Seconds of a Python that does nothing."""
    began = time.perf_counter()
    subprocess.run(["/usr/bin/python3", "-c", "pass"], check=True)
    return time.perf_counter() - began


def doctor(healthy: Healthy) -> float:
    """Seconds of a doctor, which must find nothing."""
    began = time.perf_counter()
    healthy.call("doctor", check=True)
    return time.perf_counter() - began


def main() -> int:
    """Measure and print; return whether the bar was missed."""
    prepare_node()
    healthy = Healthy(pathlib.Path(tempfile.mkdtemp()))
    slowest = 0.0
    try:
        print("one doctor, %d rounds; seconds min / median / max" % ROUNDS)
        for where in ("active", "standby"):
            getattr(healthy, where)()
            doctor(healthy)  # warm caches first
            rows = [(doctor(healthy), nothing()) for _ in range(ROUNDS)]
            times, idle = ([row[column] for row in rows] for column in (0, 1))
            slowest = max(slowest, *times)
            print("  %-8s %5.2f / %5.2f / %5.2f, %.0f times a Python that does nothing" % (
                where, min(times), statistics.median(times), max(times), statistics.median(times) / statistics.median(idle)))
    finally:
        healthy.close()
    print("  slowest  %5.2f s (bar %.1f s)" % (slowest, BAR))
    return int(slowest > BAR)


if __name__ == "__main__":
    sys.exit(main())
