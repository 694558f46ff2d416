"""qsub -- COMMAND: submit a job to a site."""
import argparse
import json
import os
import shlex

from .. import outcome
from ..outcome import say
from .client import add_destination, send


def main(arguments):
    """Entry point; `arguments` without the program name."""
    parser = argparse.ArgumentParser(prog="qsub", description="SIMULATOR: submit a job")
    add_destination(parser)
    parser.add_argument("--key", help="the same key again gives the same job again")
    parser.add_argument("--quiet", action="store_true", help="print only the job's number")
    parser.add_argument("command", nargs="+", metavar="COMMAND",
                        help="one word: a shell command line; several: a program and its arguments")
    options = outcome.parse_arguments(parser, arguments)
    return outcome.run(submit, options)


def submit(options):
    """Submit the job; returns once the site has it on its disk."""
    command = options.command[0] if len(options.command) == 1 else shlex.join(options.command)
    key = options.key or os.urandom(16).hex()
    accepted = send(options, "SUBMIT " + json.dumps({"key": key, "command": command}))
    if options.quiet:
        print(accepted["job"], flush=True)
    else:
        say(f"job {accepted['job']} accepted" + ("" if accepted["new"] else " before: key is known"))
    return outcome.OK
