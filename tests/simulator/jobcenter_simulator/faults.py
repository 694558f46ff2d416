"""Faults on purpose. See README.md for the switches.

They are read from `<nqs_spool>/simulator.faults` (lines `key = value`) and from the environment
variable JCSIM_FAULTS ("key=value,key=value"), which wins.
"""
import os
import time

from .outcome import say


class Faults:
    """The switches that are set: a name -> the list of its words ("a:1+b" -> ["a:1", "b"])."""

    def __init__(self, switches):
        self.switches = switches

    @classmethod
    def load(cls, spool):
        """Read the file in `spool` and the environment; without either, no fault is set."""
        try:
            with open(f"{spool}/simulator.faults", encoding="utf-8", errors="surrogateescape") as file:
                entries = file.read().split("\n")
        except OSError:
            entries = []
        entries += os.environ.get("JCSIM_FAULTS", "").split(",")
        switches = {}
        for entry in entries:
            name, equals, value = entry.split("#", 1)[0].partition("=")
            if equals:
                switches[name.strip()] = value.strip().split("+")
        return cls(switches)

    def argument(self, switch, word):
        """Return the text after `word:` in the value of `switch`, "" for the bare word, None if absent."""
        for candidate in self.switches.get(switch, []):
            name, _, argument = candidate.strip().partition(":")
            if name == word:
                return argument
        return None

    def has(self, switch, word):
        """Is `word` among the words of `switch`?"""
        return self.argument(switch, word) is not None

    def number(self, switch, default=0.0):
        """Return the value of a switch that is one plain number."""
        return float(self.switches[switch][0]) if switch in self.switches else default

    def disturb_output(self):
        """Print the `output` and `invalid_utf8` noise that precedes what a command says."""
        length = int(self.number("output"))
        if length:
            line = b"SIMULATOR noise: output on purpose\n"
            noise = memoryview((line * (length // len(line) + 1))[:length])
            while noise:
                noise = noise[os.write(1, noise):]
        if self.number("invalid_utf8"):
            os.write(1, b"SIMULATOR noise: not UTF-8: \xff\xfe \xa5\xb8\xa5\xe7\xa5\xd6 \x80\n")

    def disturb_command(self, verb):
        """Be slow, hang, die or fail as told for `verb`. Return an exit code, or None to go on."""
        if self.has(verb, "slow"):
            time.sleep(float(self.argument(verb, "slow")))
        if self.has(verb, "hang"):
            while True:
                time.sleep(3600)
        if self.has(verb, "signal"):
            import signal  # late: it brings in enum, which status does not need
            number = int(self.argument(verb, "signal"))
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.has(verb, "fail"):
            say(f"{verb} fails on purpose")
            return int(self.argument(verb, "fail"))
        if self.has(verb, "lie"):
            say(f"{verb}: all is well (this is a lie on purpose)")
            return int(self.argument(verb, "lie") or 0)
        return None
