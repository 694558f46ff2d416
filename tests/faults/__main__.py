"""`make faults`: plays every row of the fault matrix on throwaway nodes, prints the table as it grows, writes it to docs/faults.md and .json.

    python tests/faults [--only WORDS] [--quick]

Three nodes side by side share the rows of one node, a cluster beside them plays its own. Exits 1 when anything was wrong.
--only: the rows whose title contains the words; in the documents they take the place of what was seen of them before.
"""
from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from faults import cluster, engine, matrix  # noqa: E402
from faults.engine import Seen  # noqa: E402
from lab.run_in_node import die_with_parent  # noqa: E402
from lab.site import prepare_node  # noqa: E402

NODES = 3
CLUSTER = "cluster"
LANES = [CLUSTER, *("%d" % number for number in range(NODES))]
TAKEN_OVER = {cluster.TAKEN_OVER: "node2 took over", cluster.REFUSED: "nothing started on node2"}
MEANING = {0: "0 good", 1: "1 failed", 2: "2 bad directory", 4: "4 not permitted", 5: "5 not installed", 6: "6 misconfigured", 7: "7 not running",
           190: "190 degraded"}
printing = threading.Lock()


def rows(faults: Iterable[Any], options: argparse.Namespace) -> list[Any]:
    """The rows that were asked for."""
    return [fault for fault in faults if options.only in fault.title and (fault.quick or not options.quick)]


# -- on a node ----------------------------------------------------------------------------------------------------------------------

def lane(name: str, options: argparse.Namespace) -> None:
    """Play our share of the rows; tell each result as a line of JSON."""
    if name == CLUSTER:
        player, share = cluster, rows(cluster.FAULTS, options)
    else:
        prepare_node()
        player, share = engine, rows(matrix.FAULTS, options)[int(name)::NODES]
    for fault in share:
        for moment in player.moments(fault):
            folder = pathlib.Path(tempfile.mkdtemp())
            tell(player.play(fault, moment, folder))
            shutil.rmtree(folder, ignore_errors=True)


def tell(seen: Seen) -> None:
    """One line for `listen`."""
    print(json.dumps(asdict(seen)), flush=True)


# -- outside ------------------------------------------------------------------------------------------------------------------------

def listen(name: str, arguments: list[str]) -> list[Seen]:
    """Run one lane on a node of its own; print what it sees as it comes, and return all of it. What is no result is shown as it is."""
    command = [sys.executable, str(ROOT / "tests/lab/run_in_node.py"), "env", "CJC_LAB=1", sys.executable, str(ROOT / "tests/faults"), "--lane", name]
    found = []
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, errors="replace", preexec_fn=die_with_parent) as program:
        assert program.stdout
        for line in program.stdout:
            try:
                seen = Seen(**json.loads(line))
            except (ValueError, TypeError):
                sys.stderr.write(line)
                continue
            found.append(seen)
            with printing:
                print(words(seen), flush=True)
    if program.returncode != 0:
        found.append(Seen("lane " + name, "", wrong=["ended with exit code %d" % program.returncode]))
    return found


def words(seen: Seen) -> str:
    """One line of the table, and one for each thing that was wrong."""
    line = "%-5s %-60s %-18s %3d %5.1f s  %s" % ("WRONG" if seen.wrong else "ok", seen.fault, seen.moment, seen.code, seen.seconds, seen.reason[:128])
    return "\n".join([line.rstrip(), *("      %s" % what for what in seen.wrong)])


def markdown(seen: Iterable[Seen]) -> str:
    """The page for the documents."""
    seen = list(seen)
    titles = list(dict.fromkeys(one.fault for one in seen))
    lines = ["# The fault matrix", "",
             "Written by `make faults`: do not edit. Every row was played for real, on a throwaway node (Linux %s). %d faults, %d calls, %d wrong." % (
                 platform.release().partition("-")[0], len(titles), len(seen), sum(bool(one.wrong) for one in seen)), "",
             "*When*: the call that meets the fault: a probe or a start of a stopped site, a monitor or a stop of a site that was running.",
             "*Answer*: its exit code. *Time*: measured / the cluster's timeout, in seconds.",
             "After each row the fault is healed, and the site must stop without a trace and start again. JobCenter is the simulator."]
    for layer, those in by_layer(seen).items():
        meaning = TAKEN_OVER if layer == CLUSTER else MEANING
        lines += ["", "## " + layer, "", "| fault | when | answer | time | reason |", "|---|---|---|---|---|"]
        for one in those:
            lines.append("| %s | %s | %s | %.1f / %.0f | %s |" % (
                cell(one.fault.partition(": ")[2]), one.moment, meaning.get(one.code, str(one.code)) + (" **wrong**" if one.wrong else ""), one.seconds,
                one.timeout, cell(one.reason)))
    return "\n".join(lines) + "\n"


def by_layer(seen: Iterable[Seen]) -> dict[str, list[Seen]]:
    """layer -> its results, by row."""
    found: dict[str, list[Seen]] = collections.defaultdict(list)
    for one in seen:
        found[one.fault.partition(": ")[0]].append(one)
    return found


def cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description="play the fault matrix")
    parser.add_argument("--only", default="", metavar="WORDS")
    parser.add_argument("--quick", action="store_true", help="only the rows that every CI run plays")
    parser.add_argument("--lane", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lane:
        lane(options.lane, options)
        return 0
    arguments = ["--only", options.only, *(["--quick"] if options.quick else [])]
    with concurrent.futures.ThreadPoolExecutor(len(LANES)) as pool:
        seen = [one for found in pool.map(lambda name: listen(name, arguments), LANES) for one in found]
    wrong = [one for one in seen if one.wrong]
    print("\n%d faults, %d calls, %d wrong" % (len({one.fault for one in seen}), len(seen), len(wrong)))
    if not options.quick:
        write(seen, keep=bool(options.only))
    return 1 if wrong else 0


def write(seen: list[Seen], keep: bool) -> None:
    """Write the documents; `keep`: of the rows that were not played, what they say already."""
    order = [fault.title for fault in (*matrix.FAULTS, *cluster.FAULTS)]
    played = {one.fault for one in seen}
    before = [Seen(**one) for one in json.loads((ROOT / "docs/faults.json").read_text(encoding="utf-8"))] if keep else []
    seen = seen + [one for one in before if one.fault not in played and one.fault in order]
    seen.sort(key=lambda one: order.index(one.fault) if one.fault in order else len(order))
    (ROOT / "docs/faults.md").write_text(markdown(seen), encoding="utf-8")
    (ROOT / "docs/faults.json").write_text(json.dumps([asdict(one) for one in seen], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("written: docs/faults.md, docs/faults.json")


if __name__ == "__main__":
    sys.exit(main())
