"""Tells people, line by line and while it happens, what is going on in the cluster."""
from __future__ import annotations

import os
import re
import sys
import textwrap
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Optional

from cluster.observer import Event, Violation

WIDTH = 98
NODE_WIDTH = 7
STYLES = {"": "", "good": "\033[32m", "bad": "\033[31m", "dim": "\033[2m", "bold": "\033[1m"}
NODE_COLOURS = ("\033[36m", "\033[35m", "\033[33m", "\033[34m")  # neither green nor red: those mean good and bad
END = "\033[0m"
WORDS = {"up": "power on", "down": "power off", "mounted": "disk {what} mounted", "unmounted": "disk {what} unmounted",
         "vip here": "VIP {detail} is here", "vip gone": "VIP {detail} is gone", "site started": "JobCenter {what} starts ({detail})",
         "site complete": "JobCenter {what} complete ({detail})", "site incomplete": "JobCenter {what} INCOMPLETE: only {detail} left",
         "site gone": "JobCenter {what} has ended"}
EVENT_STYLES = {"site complete": "good", "site incomplete": "bad", "down": "bold"}
DANGERS = {"double mount": "DISK {what} IS MOUNTED ON {nodes} AT ONCE", "double VIP": "VIP {what} IS ON {nodes} AT ONCE",
           "double site": "JOBCENTER {what} RUNS ON {nodes} AT ONCE"}
NUMBER = re.compile(r"[-+]?[\d.,]+(?: ?(?:s|ms|%))?|-|")


class Timeline:
    """Prints to stdout, one line at a time from whatever thread. `began`: time.monotonic() of second 0.

    In colour on a terminal only, unless `colour` says otherwise; never with NO_COLOR in the environment (no-color.org).
    """

    def __init__(self, began: float, colour: Optional[bool] = None) -> None:
        self._began = began
        self._colour = (sys.stdout.isatty() if colour is None else colour) and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._node_colours: dict[str, str] = {}

    def tell(self, words: str, style: str = "", node: str = "") -> None:
        """One line of the story (of a node); what does not fit goes on below. `style`: good, bad, dim, bold or nothing."""
        self._print(monotonic(), node, words, style)

    def event(self, event: Event) -> None:
        """One line: when, where, what. For Observer(on_event=...)."""
        words = WORDS[event.kind].format(what=event.what, detail=event.detail)
        self._print(event.t, event.node, words, EVENT_STYLES.get(event.kind, ""))

    def violation(self, violation: Violation) -> None:
        """What must never happen has begun. For Observer(on_violation=...)."""
        words = DANGERS[violation.kind].format(what=violation.what, nodes=" AND ".join(violation.nodes))
        self._print(violation.t, "", "!!! " + words, "bad")

    def table(self, rows: Sequence[Sequence[object]], headings: Sequence[str]) -> None:
        """Rows below headings, columns aligned, numbers to the right."""
        lines = table_lines(rows, headings)
        with self._lock:
            print("\n".join([self._painted(lines[0], STYLES["bold"]), *lines[1:]]), flush=True)

    def _print(self, t: float, node: str, words: str, style: str) -> None:
        clock = "%6.1f s  " % (t - self._began)
        column = node.ljust(NODE_WIDTH) + " " if node else ""
        indent = words[:len(words) - len(words.lstrip())]
        lines = textwrap.wrap(words, WIDTH - len(clock) - len(column), subsequent_indent=indent) or [""]
        with self._lock:
            head = clock + (self._painted(column, self._colour_of(node)) if node else "")
            blank = " " * (len(clock) + len(column))
            text = "\n".join((blank if number else head) + self._painted(line, STYLES[style]) for number, line in enumerate(lines))
            print(text, flush=True)

    def _colour_of(self, node: str) -> str:
        """By the digit that its name ends in, so that node2 always looks the same; else in order of appearance."""
        digit = re.search(r"\d+$", node)
        number = int(digit.group()) - 1 if digit else len(self._node_colours)
        return self._node_colours.setdefault(node, NODE_COLOURS[number % len(NODE_COLOURS)])

    def _painted(self, text: str, code: str) -> str:
        return code + text + END if self._colour and code else text


def table_lines(rows: Sequence[Sequence[object]], headings: Sequence[str]) -> list[str]:
    """The lines of a table: headings, a rule, rows."""
    texts = [[str(cell) for cell in row] for row in rows]
    columns = [[heading, *cells] for heading, cells in zip(headings, zip(*texts))] if texts else [[heading] for heading in headings]
    widths = [max(map(len, column)) for column in columns]
    right = [len(column) > 1 and all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(cells, widths, right)).rstrip()

    return [line(headings), "  ".join("-" * width for width in widths), *map(line, texts)]
