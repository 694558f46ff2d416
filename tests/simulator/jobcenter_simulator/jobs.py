"""Queue and ledger of a site: SQLite in the site DB.

A job is acknowledged only after its commit is on the disk (rollback journal, synchronous=EXTRA), so it
survives the loss of a node. FULL is not enough: it does not sync the folder after the journal was
deleted, and a journal that is there again after a power cut takes the commit back (sqlite.org,
PRAGMA synchronous; tests/cluster/test_failover.py). The ledger (table `runs`) has one row for every
time that a job was started, on whichever node: it shows whether a failover lost a job or ran one
twice at a time.
"""
import contextlib
import sqlite3
import time

LOCK_WAIT_SECONDS = 10
SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, client_key TEXT UNIQUE NOT NULL, command TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    submitted REAL NOT NULL, ended REAL, exit_code INTEGER);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES jobs (id), node TEXT NOT NULL,
    pid INTEGER, started REAL NOT NULL, ended REAL, exit_code INTEGER,
    outcome TEXT NOT NULL CHECK (outcome IN ('running', 'done', 'failed', 'stopped', 'lost')));
"""


@contextlib.contextmanager
def opened(path):
    """Open the database for one transaction and close it again.

    Nothing is kept open between transactions: what holds the mount is each daemon's log file.
    """
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=LOCK_WAIT_SECONDS,
                                 isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # rolls back what was not committed


def create(path):
    """Make an empty database."""
    open(path, "x").close()
    with opened(path) as database:
        for statement in SCHEMA.split(";"):
            database.execute(statement)


def submit(path, key, command):
    """Add a job. Return (job id, was it new); a key that is known gives the job it has already."""
    with opened(path) as database:
        known = database.execute("SELECT id FROM jobs WHERE client_key = ?", (key,)).fetchone()
        if known:
            return known["id"], False
        job = database.execute("INSERT INTO jobs (client_key, command, state, submitted)"
                               " VALUES (?, ?, 'queued', ?)", (key, command, time.time())).lastrowid
    return job, True


def listing(path, table):
    """Return all rows of `jobs` or `runs` as dictionaries."""
    with opened(path) as database:
        return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY id")]


def put_back_lost(path):
    """Queue again what a dead node or a killed scheduler left running. Return how many jobs."""
    with opened(path) as database:
        database.execute("UPDATE runs SET outcome = 'lost', ended = ? WHERE outcome = 'running'", (time.time(),))
        return database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'").rowcount


def claim(path, node, limit):
    """Mark up to `limit` queued jobs as running on `node`. Return their (run id, job id, command).

    Marked before they are started: a job may be started once too often after a crash, never unrecorded.
    """
    if limit < 1:
        return []
    claimed = []
    with opened(path) as database:
        queued = database.execute("SELECT id, command FROM jobs WHERE state = 'queued' ORDER BY id LIMIT ?",
                                  (limit,)).fetchall()
        for job in queued:
            database.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job["id"],))
            run = database.execute("INSERT INTO runs (job, node, started, outcome) VALUES (?, ?, ?, 'running')",
                                   (job["id"], node, time.time())).lastrowid
            claimed.append((run, job["id"], job["command"]))
    return claimed


def note_pid(path, run, pid):
    """Write into the ledger which process a run is."""
    with opened(path) as database:
        database.execute("UPDATE runs SET pid = ? WHERE id = ?", (pid, run))


def finish(path, run, exit_code):
    """A run ended by itself: so did its job."""
    outcome = "done" if exit_code == 0 else "failed"
    with opened(path) as database:
        now = time.time()
        database.execute("UPDATE runs SET outcome = ?, ended = ?, exit_code = ? WHERE id = ?",
                         (outcome, now, exit_code, run))
        database.execute("UPDATE jobs SET state = ?, ended = ?, exit_code = ?"
                         " WHERE id = (SELECT job FROM runs WHERE id = ?)", (outcome, now, exit_code, run))


def put_back_stopped(path, runs):
    """The site was stopped while these runs went on: their jobs wait for the next start."""
    with opened(path) as database:
        for run in runs:
            database.execute("UPDATE runs SET outcome = 'stopped', ended = ? WHERE id = ?", (time.time(), run))
            database.execute("UPDATE jobs SET state = 'queued' WHERE id = (SELECT job FROM runs WHERE id = ?)",
                             (run,))
