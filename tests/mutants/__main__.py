"""`make mutants`: break the core in every listed way, and see the named tests fail.

    tests/mutants [--smoke] [NUMBER ...]      all, or only those of the list (1 is the first)

First the named tests must pass on the whole core. Each mutant lives on a throwaway node of its own (tests/lab), in a copy of the project
on the node's /tmp: nothing here is changed, and nothing stays when it ends, also after Ctrl-C. Caught is a mutant when each of its tests
has *failed*; a test that could not be collected or set up, was skipped or took too long has caught nothing.

--smoke runs a healthy life (start, monitor, stop) on every mutant instead: it must pass, or the mutant is caught by just any test.
"""
from __future__ import annotations

import argparse
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from lab.run_in_node import die_with_parent  # noqa: E402
from mutants.mutants import MUTANTS, Mutant, agent  # noqa: E402

PROJECT = pathlib.Path(__file__).resolve().parents[2]
COPY = pathlib.Path("/tmp/cjc-agent-mutant")  # on the node
AT_ONCE = 2
BOUND, BOUND_OF_ALL = 120.0, 400.0  # seconds for one mutant; for the named tests on the whole core
LIFE = agent("lifecycle", "a_site_starts_answers_and_stops")
PYTEST = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfEs"]


class Run:
    """Tests on a node of their own: of the whole core (`number` 0), or of the mutant with that number."""

    def __init__(self, number: int, tests: tuple[str, ...], bound: float) -> None:
        self.number, self.tests, self._bound = number, tests, bound
        self._began = time.monotonic()
        self.seconds = 0.0
        self._output = tempfile.TemporaryFile("w+", errors="replace")
        command = [sys.executable, str(PROJECT / "tests/lab/run_in_node.py"), sys.executable, str(pathlib.Path(__file__).parent), "--inside", str(number)]
        # a session of its own: Ctrl-C is ours to pass on
        self._node = subprocess.Popen([*command, *tests], cwd=PROJECT, env=dict(os.environ, CJC_LAB="1"), stdin=subprocess.DEVNULL,
                                      stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent)

    def over(self) -> bool:
        """Whether it has ended; one that takes too long is ended now."""
        self.seconds = time.monotonic() - self._began
        if self._node.poll() is None and self.seconds > self._bound:
            self.end()
        return self._node.poll() is not None

    def end(self) -> None:
        """End it, and with its node all that it has started."""
        self._node.terminate()
        self._node.wait()

    @property
    def code(self) -> int:
        """pytest's exit code."""
        return self._node.returncode

    def said(self) -> str:
        """What pytest and the node said."""
        self._output.seek(0)
        return self._output.read()

    def named(self, word: str) -> list[str]:
        """The tests (functions) that pytest lists at the end as FAILED or ERROR, each once."""
        return list(dict.fromkeys(re.findall(r"^%s (\S+?::\w+)" % word, self.said(), re.MULTILINE)))


def inside(number: int, tests: list[str]) -> None:
    """On the node: copy the project, break the copy, become pytest."""
    shutil.copytree(PROJECT, COPY, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info"))
    if number:
        broken(COPY, MUTANTS[number - 1])
    os.chdir(COPY)
    os.execv(PYTEST[0], [*PYTEST, *tests])


def broken(project: pathlib.Path, mutant: Mutant) -> None:
    """Break a copy of the project."""
    file = project / mutant.file
    text = file.read_text()
    assert text.count(mutant.old) == 1, mutant
    file.write_text(text.replace(mutant.old, mutant.new))


def complaint(run: Run, smoke: bool) -> str:
    """Why a run did not end as it must; "" when it did."""
    failed = run.named("FAILED")
    missed = [test for test in run.tests if test not in failed]
    lives = run.code == 0 and "\nSKIPPED " not in run.said()
    if run.code != (1 if failed else 0) or run.named("ERROR"):
        return "ERROR: pytest has no result (exit code %d after %.0f s)" % (run.code, run.seconds)
    if run.number == 0:
        return "" if lives else "ERROR: without any mutant they do not all pass: %s" % ", ".join(failed or ["some are skipped"])
    if smoke:
        return "" if lives != MUTANTS[run.number - 1].dead else "a healthy site %s" % ("lives" if lives else "does not live")
    return "SURVIVED: passed by %s" % ", ".join(missed) if missed else ""


def report(run: Run, smoke: bool) -> bool:
    """Print one line of the table; return whether all is as it must be."""
    wrong = complaint(run, smoke)
    name = MUTANTS[run.number - 1].name if run.number else "(nothing: %d tests pass)" % len(run.tests)
    tests = ", ".join(test.rpartition("::test_")[2] for test in run.named("FAILED"))
    print("%3s  %-76s  %5.1f s  %s" % (run.number or "", name, run.seconds, wrong or tests), flush=True)
    if wrong:
        print("\n".join("     | " + line for line in run.said().splitlines()[-25:]), flush=True)
    return not wrong


def listed(text: str) -> int:
    """Given a word of the command line, return the number in the list that it is."""
    if text not in map(str, range(1, len(MUTANTS) + 1)):
        raise argparse.ArgumentTypeError("%s is none of 1 to %d" % (text, len(MUTANTS)))
    return int(text)


def main() -> int:
    """Run them all, some at once; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests/mutants", description="Break the core in every listed way, and see the named tests fail.")
    parser.add_argument("--smoke", action="store_true", help="see that a healthy site still lives with them")
    parser.add_argument("numbers", type=listed, nargs="*", metavar="NUMBER", help="only these")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("mutants: needs root (namespaces, mounts and loop devices): run it with sudo", file=sys.stderr)
        return 2
    numbers = options.numbers or range(1, len(MUTANTS) + 1)
    waiting = collections.deque((number, LIFE if options.smoke else MUTANTS[number - 1].tests, BOUND) for number in numbers)
    if not options.smoke:
        tests = {test: None for _, named, _ in waiting for test in named}
        kinds = [tuple(test for test in tests if test.startswith("tests/%s/" % kind)) for kind in ("agent", "unit")]  # the longer one first
        waiting.extendleft((0, named, BOUND_OF_ALL) for named in reversed(kinds) if named)
    print(" no  %-76s  %7s  %s" % ("what is broken", "", "" if options.smoke else "caught by"), flush=True)
    began, caught = time.monotonic(), 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: list[Run] = []
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(Run(*waiting.popleft()))
            time.sleep(0.02)
            for run in [run for run in running if run.over()]:
                running.remove(run)
                good = report(run, options.smoke)
                if run.number == 0 and not good:
                    return 1
                caught += good and run.number != 0
    except KeyboardInterrupt:
        print("mutants: interrupted", file=sys.stderr)
        return 130
    finally:
        for run in running:
            run.end()
    print("%d of %d %s in %.0f s" % (caught, len(numbers), "as listed" if options.smoke else "caught", time.monotonic() - began))
    return 0 if caught == len(numbers) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(int(sys.argv[2]), sys.argv[3:])
    sys.exit(main())
