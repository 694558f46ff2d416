"""How a command ends: exit codes, refusals, and what it says."""
import os
import sys

OK = 0
# cjcpw status
STOPPED = 1
PARTLY_RUNNING = 2
SITE_UNKNOWN = 3
# cjcpw stop
DAEMONS_LEFT = 4
# cjcpw start
NO_NQS_SITE = 10
NOT_REGISTERED = 11
LICENCE_MISSING = 12
LICENCE_WITHOUT_CJC = 13
SITE_DB_MISSING = 14
SITE_DB_OF_ANOTHER = 15
BAD_DAEMON_CONF = 16
NO_IPADDRESS = 17
ADDRESS_NOT_HERE = 18
PORT_TAKEN = 19
DAEMON_FAILED = 20
START_WHILE_PARTLY_RUNNING = 21
DAEMON_DIED = 22
# cjcmksite
BAD_SITE_NAME = 30
SITE_DB_EXISTS = 31
REGISTERED_ELSEWHERE = 32
CANNOT_CREATE = 33
# qsub, qstat
NOT_REACHABLE = 40
NO_DESTINATION = 41
REFUSED_BY_SITE = 42
# all commands; EX_USAGE and EX_SOFTWARE of sysexits.h
USAGE = 64
UNEXPECTED = 70


class Refusal(Exception):
    """A command will not go on; `code` is its exit code, the text tells the operator why."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def say(text, descriptor=1):
    """Print one line marked SIMULATOR. A reader who has gone away is no reason to fail."""
    command = os.path.basename(sys.argv[0])
    line = f"SIMULATOR {command}: {text}\n".encode("utf-8", "backslashreplace")
    try:
        os.write(descriptor, line)
    except OSError:
        pass


def complain(text):
    """Print one line to standard error."""
    say(text, descriptor=2)


def run(command, *arguments):
    """Return the exit code of `command(*arguments)`; a Refusal is printed and gives its own code.

    Anything unexpected gives 70: Python's own 1 would be taken for "stopped".
    """
    try:
        return command(*arguments)
    except Refusal as refusal:
        complain(str(refusal))
        return refusal.code
    except Exception as error:  # pylint: disable=broad-except
        complain(f"{type(error).__name__}: {error}")
        return UNEXPECTED


def parse_arguments(parser, arguments):
    """Return `parser`'s result; wrong usage ends with 64, because 2 means "partly running" here."""
    def refuse(text):
        complain(f"{text}; usage: {parser.format_usage().split(':', 1)[1].strip()}")
        sys.exit(USAGE)
    parser.error = refuse
    return parser.parse_args(arguments)
