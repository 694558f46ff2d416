"""qstat: list the jobs of a site, or its ledger."""
import argparse
import json

from .. import outcome
from ..outcome import say
from .client import add_destination, send

COLUMNS = {"jobs": ("id", "state", "exit_code", "client_key", "command"),
           "ledger": ("id", "job", "node", "pid", "outcome", "exit_code", "started", "ended")}


def main(arguments):
    """Entry point; `arguments` without the program name."""
    parser = argparse.ArgumentParser(prog="qstat", description="SIMULATOR: list jobs")
    add_destination(parser)
    parser.add_argument("--ledger", action="store_true", help="every run of every job, not the jobs")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = outcome.parse_arguments(parser, arguments)
    return outcome.run(show, options)


def show(options):
    """Print the list."""
    title = "ledger" if options.ledger else "jobs"
    rows = send(options, "LEDGER" if options.ledger else "LIST")
    if options.json:
        print(json.dumps({"simulator": "SIMULATOR", title: rows}), flush=True)
        return outcome.OK
    say(f"{title}: {' | '.join(COLUMNS[title])}")
    for row in rows:
        say(" | ".join("-" if row[name] is None else str(row[name]) for name in COLUMNS[title]))
    return outcome.OK
