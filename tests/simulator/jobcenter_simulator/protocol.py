"""The line protocol between clients and the net daemon.

A request is one line, `VERB` or `VERB JSON`: `PING`, `LIST`, `LEDGER`, `SUBMIT {"key":..., "command":...}`.
The answer is one line: `OK JSON` or `ERROR text`.
"""
import json
import socket
import sqlite3

from . import jobs
from .outcome import NOT_REACHABLE, REFUSED_BY_SITE, Refusal

LONGEST_LINE = 1 << 20
CLIENT_SECONDS = 10


def ask(host, port, request, timeout):
    """Send one request line; return the decoded answer. Refuse if nobody answers within `timeout` seconds."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(request.encode() + b"\n")
            with connection.makefile("rb") as reader:
                answer = reader.readline().decode()
    except OSError as error:
        raise Refusal(NOT_REACHABLE, f"no answer from {host} port {port}: {error}") from None
    word, _, rest = answer.strip().partition(" ")
    if word != "OK":
        raise Refusal(REFUSED_BY_SITE if word else NOT_REACHABLE,
                      f"{host} port {port}: {rest or 'connection closed without an answer'}")
    return json.loads(rest)


def serve(connection, answer):
    """Read one request from a client, write `answer(verb, argument)` back, close. Runs in its own thread."""
    with connection:
        try:
            connection.settimeout(CLIENT_SECONDS)
            with connection.makefile("rb") as reader:
                line = reader.readline(LONGEST_LINE).decode().strip()
            verb, _, argument = line.partition(" ")
            connection.sendall(reply(answer, verb, argument).encode() + b"\n")
        except (OSError, ValueError):
            pass  # a client that went away or speaks something else


def reply(answer, verb, argument):
    """Return the answer line for a request; whatever goes wrong becomes an ERROR line."""
    try:
        return "OK " + json.dumps(answer(verb, argument))
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        return f"ERROR {verb}: {type(error).__name__} {error}".replace("\n", " ")


class Answers:
    """What the net daemon of a site answers. `submitted` is called after a new job is on the disk."""

    def __init__(self, site_name, node, database, submitted):
        self.site_name = site_name
        self.node = node
        self.database = database
        self.submitted = submitted

    def __call__(self, verb, argument):
        if verb == "PING":
            return {"simulator": "SIMULATOR", "site": self.site_name, "node": self.node}
        if verb == "LIST":
            return jobs.listing(self.database, "jobs")
        if verb == "LEDGER":
            return jobs.listing(self.database, "runs")
        if verb == "SUBMIT":
            wanted = json.loads(argument)
            job, new = jobs.submit(self.database, str(wanted["key"]), str(wanted["command"]))
            self.submitted()
            return {"job": job, "new": new}
        raise ValueError("unknown request")
