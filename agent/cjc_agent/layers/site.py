"""The site layer: JobCenter's daemons of one cluster site, started, stopped and asked through cjcpw."""
from __future__ import annotations

import os

from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError, State
from cjc_agent.settings import child_environment, values
from cjc_agent.settings.parameters import DEFAULT_PORT, Settings
from cjc_agent.tools import processes
from cjc_agent.tools.command import NEVER_RAN, STUCK, Result, Runner
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import Log
from cjc_agent.tools.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from cjc_agent.layers.ownership import Census
    from cjc_agent.tools.processes import Process

GRACEFUL, TERM, KILL = 0.50, 0.10, 0.05  # shares of a stop's budget; the rest is the disk's
GRACEFUL_MOST = 0.80  # even when `stop_escalation` asks for more
ENOUGH = 0.3  # seconds in which a status call can answer
SEE_LOG = "see JobCenter's own log"

# rules (operator/checks) that a start refuses, too
NO_COMMAND, NOT_EXECUTABLE, WRITABLE_COMMAND, OTHER_VERSION, NO_USER = "CJC205", "CJC206", "CJC207", "CJC210", "CJC211"


class Site:
    """One cluster site on this node. `scope` returns the folder and device of the site DB's mount, None while it is not there."""

    def __init__(self, settings: Settings, runner: Runner, log: Log, record: Optional[Record], scope: Callable[[], Optional[tuple[str, str]]],
                 deadline: Deadline) -> None:
        self._settings, self._runner, self._log, self._record = settings, runner, log, record
        self._scope, self._deadline = scope, deadline
        self._ports: dict[bool, int] = {}  # as read from daemon.conf; with and without the site's own file
        self.daemons = list(record.daemons) if record else []
        self.resident = record.resident if record else None
        self.before = record.before if record else None
        self.launched = False  # whether this action has called cjcpw start
        self.found = False  # whether this action's stop has found anything to stop
        self._unended: list[Process] = []  # what a stop could not end

    def port(self) -> int:
        """Return the TCP port: as set; as recorded, while a daemon lives that was started with it or the site's own file is not to be read;
        else as in daemon.conf, read in a child."""
        if self._settings.port:
            return self._settings.port
        mounted, recorded = self._scope() is not None, self._record.port if self._record else 0
        if self._record and recorded and (not mounted or _any_lives(self._record.daemons)):  # daemon.conf may have been edited for the next start
            return recorded
        if mounted not in self._ports:
            from cjc_agent.settings import daemon_conf  # a healthy monitor does not need it
            site_db = self._settings.site_db if mounted else ""
            result = self._runner.call("read daemon.conf", lambda: str(daemon_conf.listen_port(self._settings.nqs_home, site_db)),
                                       self._deadline.share(0.15).part(5.0))  # a dead server must not cost a stop its time
            self._ports[mounted] = int(result.output) if result.ok else recorded or DEFAULT_PORT
            if not result.ok:
                self._log.warning("site: %s: taking port %d: correct the file, or set `port`" % (result.words(), self._ports[mounted]))
        return self._ports[mounted]

    def state(self, disk_up: bool, probing: bool = False) -> State:
        """RUNNING, STOPPED or FAILED. `disk_up` false: cjcpw is not called, and processes and listeners alone decide.

        `probing`: where cjcpw cannot be run at all, decide by that evidence too.
        """
        if not disk_up or not self._settings.site:
            return self._by_evidence()
        answer = self._status(self._deadline)
        if answer.exit_code in self._settings.status_running:
            return self._resident_state()
        if answer.exit_code in self._settings.status_stopped:
            state = self._by_evidence()
            return state if state.stopped else State(FAILED, answer.words("but " + state.reason))
        if probing and answer.exit_code in NEVER_RAN:
            return self._by_evidence()
        return State(FAILED, answer.words("site %s: %s" % (self._settings.site, self._remedy(answer))))

    def _remedy(self, answer: Result) -> str:
        """What to do about a call of cjcpw that went wrong."""
        settings = self._settings
        if answer.outcome == STUCK:
            return "a file system does not answer: check it - %s, %s or %s" % (settings.site_db, settings.nqs_home, settings.nqs_spool)
        return "correct it or set `cjcpw`" if answer.exit_code in NEVER_RAN else SEE_LOG

    def _runs(self, deadline: Deadline) -> bool:
        answer = self._status(deadline)
        if answer.outcome == STUCK:  # nobody could see whether a start has worked: while it lives no other status call is made
            raise LayerError(answer.words(self._remedy(answer)))
        return answer.exit_code in self._settings.status_running and self._resident_state().running

    def _resident_state(self) -> State:
        if self._settings.cjcpw_mode == "resident" and self.resident:
            process = processes.read(self.resident[0])
            if process is None or process.identity != self.resident or process.dead:
                return State(FAILED, "status says running, but the resident cjcpw (pid %d) has ended: %s" % (self.resident[0], SEE_LOG))
        return State(RUNNING, self._settings.site)

    def _by_evidence(self) -> State:
        census = self.census()
        evidence = census.evidence()
        if not evidence:
            return State(STOPPED, "no process and no listener of the site is left")
        return State(FAILED, evidence)

    def census(self) -> Census:
        """Take one look at the node's processes."""
        from cjc_agent.layers import ownership  # a healthy monitor needs none of it
        settings = self._settings
        recorded = [*self.daemons, *([self.resident] if self.resident else [])]
        look = ownership.Look(settings.site, settings.vip, self.port(), settings.nqs_home, recorded, self.before, self._scope(), self.resident)
        return ownership.take(look, self._runner, self._deadline)

    def _cjcpw(self, what: str, arguments: tuple[str, ...], deadline: Deadline, call: bool) -> Result:
        return self._runner.run("cjcpw " + what, self._programs(), list(arguments), deadline,
                                child_environment.make(self._settings, call), self._settings.user)

    def _programs(self) -> list[str]:
        return values.programs_of(self._settings.cjcpw, self._settings.nqs_home)

    def _status(self, deadline: Deadline) -> Result:
        return self._cjcpw("status", self._settings.status_args, deadline, call=True)

    # -- start ---------------------------------------------------------------------------------------------------------------------

    def start(self, deadline: Deadline, note: Callable[[], object], disk_was_up: bool) -> bool:
        """Bring the site up; return whether anything was started, in either case only after status said that it runs. Raise LayerError.

        The disk must be up now. `disk_was_up` false: this action has mounted it, so that no site was running, unless something of it is
        seen; then cjcpw need not be asked. `note` is called when all is known that a stop needs, should we not live to see the end of
        this start.
        """
        before = _without_mere_holders(self._census_without_leftovers())
        if disk_was_up or before.evidence():
            if self._runs(deadline.share(0.5)):
                return False
            before = _without_mere_holders(self.census())  # status took its time: what has come or gone meanwhile?
        if before.evidence():
            raise LayerError(before.evidence())
        if deadline.expired():
            raise LayerError("no time left to start site %s: see what took it, or give the start a longer timeout" % self._settings.site)
        self._refuse_wrong_site_db(deadline)
        self.before = sorted(process.identity for process in before.candidates.values())
        note()
        self.launched = True
        if self._settings.cjcpw_mode == "resident":
            self._start_resident(deadline)
        else:
            result = self._cjcpw("start", self._settings.start_args, deadline, call=False)
            if not result.ok:
                raise LayerError(result.words(self._remedy(result)))
            self._wait_running(deadline, 0)
        self.learn_daemons()
        state = self._resident_state()  # it may have ended while status was asked
        if not state.running:
            raise LayerError(state.reason)
        return True

    def _refuse_wrong_site_db(self, deadline: Deadline) -> None:
        """Raise LayerError when what the site DB says is not what was asked for. What cannot be read is JobCenter's to judge."""
        from cjc_agent.settings import daemon_conf, site_db
        settings = self._settings
        result = self._runner.call("look into the site DB before the start",
                                   lambda: site_db.complaint(settings.site_db, settings.site) or daemon_conf.port_complaint(settings), deadline.share(0.2))
        if result.ok and result.output:
            raise LayerError(result.output)
        if not result.ok:
            self._log.warning("site: %s" % result.words())

    def note_owner(self, deadline: Deadline) -> None:
        """Note in the site DB whose it is, where that is not noted yet; that it cannot be is no failure."""
        from cjc_agent.settings import site_db
        settings = self._settings
        self._runner.call("note the site's name", lambda: site_db.note(settings.site_db, settings.site), deadline.part(2.0))

    def _start_resident(self, deadline: Deadline) -> None:
        output = _syslog_descriptor(self._log)
        try:
            pid = self._runner.spawn("cjcpw (resident)", self._programs(), list(self._settings.start_args),
                                     child_environment.make(self._settings, call=False), self._settings.user, output)
        except OSError as error:
            raise LayerError("cjcpw could not be started: %s: end processes that are not needed" % error.strerror) from error
        finally:
            os.close(output)
        process = processes.read(pid)
        self.resident = process.identity if process else None
        self._wait_running(deadline, pid)

    def _wait_running(self, deadline: Deadline, resident: int) -> None:
        """Wait until status says running. `resident` is the pid of a cjcpw that must not end meanwhile, or 0."""
        answer = None
        for _ in deadline.polls(first=0.02, longest=0.5):
            if answer and deadline.left() < ENOUGH:
                break  # what it answered while it had time tells more than a last call without any
            if resident:
                ended, status = os.waitpid(resident, os.WNOHANG)
                if ended:
                    self.resident = None
                    how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit code %d" % os.WEXITSTATUS(status)
                    raise LayerError("the resident cjcpw ended with %s before the site was running: see syslog" % how)
            answer = self._status(deadline)
            if answer.exit_code in self._settings.status_running:
                return
            if answer.exit_code in NEVER_RAN:
                break
        remedy, said = (self._remedy(answer), answer.words()) if answer else ("raise the operation's timeout", "no time left")
        raise LayerError("cjcpw start went well, but the site does not come up: %s - %s" % (remedy, said))

    def learn_daemons(self) -> None:
        """See which daemons the site has now, for the record. A job that runs already is none of them: it ends when it is done, and a stop
        tells it to end after its daemons. Nor is who merely holds the mount, a backup say."""
        census = self.census()
        if self._settings.cjcpw_mode == "resident" and not self.resident and census.complete:
            try:
                self.resident = self._find_resident(census)
            except TimeoutError:
                return
            census = self.census()  # whose children the daemons are is known now
        if not census.complete:
            return  # the start stays unfinished, in the record too: then whatever was not there before it is the site's
        self.daemons = sorted(process.identity for pid, process in census.daemons.items() if pid not in census.mere_holders and pid not in census.jobs)
        self.before = None
        if _nobody(census):  # what status says is what counts; but who reads the log should know
            self._log.warning("site: status says running, but no process of site %s is found: %s" % (self._settings.site, SEE_LOG))

    def is_another_life(self) -> bool:
        """Whether none of the daemons known from the record lives any more: a site that runs all the same was started again by hand."""
        return bool(self.daemons) and not _any_lives(self.daemons)

    def _find_resident(self, census: Census) -> Optional[tuple[int, int]]:
        name = self._settings.cjcpw.rsplit("/", 1)[-1].encode()

        def look(pid: int) -> str:
            words = processes.contents(pid, "cmdline").split(b"\0")  # the program, or the script an interpreter runs
            return "yes" if any(word.rsplit(b"/", 1)[-1] == name for word in words[:4]) else ""

        answers = self._runner.each("look for the resident cjcpw", list(census.candidates), look, self._deadline)
        found = [census.candidates[pid].identity for pid, answer in answers.items() if answer]
        return found[0] if found else None

    # -- stop ----------------------------------------------------------------------------------------------------------------------

    def _census_without_leftovers(self) -> Census:
        """Take one look at the node's processes; end what is left of our own killed status and stop calls."""
        census = self.census()
        calls = list(census.calls.values())
        if calls:
            import signal
            self._log.warning("site: ending what an earlier call left behind: %s" % processes.describe(calls))
            for process in calls:
                processes.send(process, signal.SIGKILL)
            processes.wait_gone(calls, self._deadline.part(1.0))
            census = self.census()
        return census

    def stop(self, disk_up: bool, deadline: Deadline) -> None:
        """Take the site down by every avenue: cjcpw (only while the disk is up), TERM, KILL. Raise LayerError, naming what is left.

        Every step judges by a census that was taken after the step before it had ended; none is taken twice where nothing was done.
        """
        census = self._census_without_leftovers()
        total = deadline.left()  # where product files are on a dead server, the first look takes seconds
        known = {process.identity: process for process in census.daemons.values()}  # also jobs, whose parents are about to end
        self.found = bool(known)
        jobs = {process.identity for process in census.jobs.values()}
        if disk_up and self._settings.site:
            given = self._settings.stop_escalation
            census = self._stop_gracefully(deadline.part(min(given, total * GRACEFUL_MOST) if given >= 0 else total * GRACEFUL), known)
        for word, share in (("TERM", TERM), ("KILL", KILL)):
            left = _left(known, census)
            if not left:
                break
            self._log.warning("site: sending %s to %s" % (word, processes.describe(left)))
            census = self._signal_until_gone(known, jobs, census, word, deadline.part(total * share))
        if census.inherited:
            self._log.info("site: left alone, they only inherited NQS_SITE: %s" % processes.describe(census.inherited))
        left = _left(known, census)
        if left:
            self._unended = left
            raise LayerError(_cannot_be_ended(left))
        if census.evidence():
            raise LayerError(census.evidence())

    def left_after_stop(self) -> str:
        """Words for what says now, after a stop, that the site is not stopped; "" for nothing. Who could not be ended counts also when its
        parents, which told whose it is, have gone."""
        left = [process for process in self._unended if processes.alive(process)]
        return _cannot_be_ended(left) if left else self.census().evidence()

    def _stop_gracefully(self, deadline: Deadline, known: dict[tuple[int, int], Process]) -> Census:
        """Stop the site through cjcpw, unless none of it is `known` and status says that it is stopped; return a census taken afterwards."""
        if not known and self._status(deadline.share(0.5)).exit_code in self._settings.status_stopped:
            return self.census()
        self.found = True
        if self._settings.cjcpw_mode == "resident" and not self._settings.stop_args:
            self._term_resident(deadline)
        else:
            result = self._cjcpw("stop", self._settings.stop_args, deadline, call=True)
            if not result.ok:
                self._log.warning("site: %s" % result.words())
                return self.census()
        for _ in deadline.polls():
            census = self.census()
            waited_for = [process for process in known.values() if process.pid not in census.mere_holders]  # those do not go by waiting
            if not set(census.daemons) - set(census.mere_holders) and not any(map(processes.alive, waited_for)):
                break
        return census

    def _term_resident(self, deadline: Deadline) -> None:
        import signal
        process = processes.read(self.resident[0]) if self.resident else None
        if process and process.identity == self.resident:
            processes.send(process, signal.SIGTERM)
            processes.wait_gone([process], deadline)

    def _signal_until_gone(self, known: dict[tuple[int, int], Process], jobs: set[tuple[int, int]], census: Census, word: str,
                           deadline: Deadline) -> Census:
        """Send TERM or KILL (`word`) to what is left, and whatever takes its place, until nothing is left or the deadline passes.

        `jobs` come after the daemons: a daemon that lives while its job is ended may note that job as failed, and it would not run again.
        `census` says what is left now; return one taken after the last signal.
        """
        import signal
        number = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL}[word]
        daemons_first = deadline.share(0.5)  # of KILL: one in D state must not save the jobs; no job gets TERM while a daemon lives
        told = set()
        if word == "KILL":  # who is stopped makes no children that nobody has seen
            for process in _left(known, census):
                processes.send(process, signal.SIGSTOP)
            census = self.census()
        for _ in deadline.polls(first=0.02, longest=0.2):
            left = _left(known, census)
            jobs = jobs | {process.identity for process in census.jobs.values()}
            daemons = [process for process in left if process.identity not in jobs]
            aimed = left if not daemons or (word == "KILL" and daemons_first.expired()) else daemons
            for process in aimed:
                if process.identity not in told:
                    processes.send(process, number)
                    if process.state == "T":  # else TERM waits until somebody else sends CONT
                        processes.send(process, signal.SIGCONT)
                    told.add(process.identity)
            processes.wait_gone(aimed, deadline.part(0.2))
            census = self.census()
            if not _left(known, census):
                break
        return census

    # -- deeper looks --------------------------------------------------------------------------------------------------------------

    def check_service(self, deadline: Deadline) -> str:
        """Level 10: connect to every VIP:port and look at the listener's process; return what is wrong and what to do, or ""."""
        from cjc_agent.tools import addresses
        port = self.port()
        for vip in self._settings.vip:
            complaint = addresses.connect(vip, port, min(5.0, deadline.left() / 2))
            if complaint:
                return "no TCP connection to %s port %d: %s: %s" % (vip, port, complaint, SEE_LOG)
        census = self.census()
        if _nobody(census):
            return "status says running, but no process of site %s is found: %s" % (self._settings.site, SEE_LOG)
        if not census.complete:  # what was not seen may be there, and stopped
            return "; ".join(census.obstacles)
        # the kernel accepts connections for a stopped process too (tried); a job, the child of a daemon, may have been stopped on purpose
        known = {*self.daemons, self.resident}
        frozen = [process for process in census.daemons.values() if process.state in ("T", "t") and (
            process.pid in census.listeners or process.identity in known and (process.ppid not in census.daemons or self._is_resident(process.ppid)))]
        return "%s stopped by a signal: send CONT, or restart the site" % processes.describe(frozen) if frozen else ""

    def _is_resident(self, pid: int) -> bool:
        return self.resident is not None and self.resident[0] == pid

    def host_complaint(self) -> tuple[int, str]:
        """Look whether this node has what a start needs; return (OCF code 0, 4 or 5, words; with 0 a warning). It runs in a child that may be abandoned."""
        result = self._runner.call("look at product files", lambda: _look(self._settings, self._programs()), self._deadline.part(10.0))
        if not result.ok:
            user = " - or how user %s is looked up" % self._settings.user if self._settings.user not in ("", "root") else ""
            return 1, result.words("check the file system of %s%s" % (self._settings.nqs_home, user))
        code, _, words = result.output.partition(" ")
        if code == "0" and self._settings.version:
            other = self._other_version()
            return (5, other) if other else (0, words)
        return int(code), words

    def _other_version(self) -> str:
        """Words for a version of JobCenter that is not the one that `version` wants. One that cannot be found out is only warned about."""
        from cjc_agent.tools import packages
        # the package manager knows a program by where it really lies
        there = self._runner.call("look for cjcpw", lambda: os.path.realpath(next(path for path in self._programs() if os.path.exists(path))),
                                  self._deadline.part(5.0))
        here, doubt = "", "no package owns " + there.output
        try:
            here = packages.owner(there.output, self._runner, self._deadline.part(10.0))[1] if there.ok else ""
        except TimeoutError as error:
            doubt = str(error)
        if not here:
            self._log.warning("site: which version of JobCenter this is cannot be told: `version` is not checked - " + doubt)
        wanted = self._settings.version
        return "%s: JobCenter here is %s, `version` wants %s: install the same one" % (OTHER_VERSION, here, wanted) if here not in ("", wanted) else ""


def _without_mere_holders(census: Census) -> Census:
    """Who merely holds the mount, a backup say, does not keep a site from starting."""
    for pid in census.mere_holders:
        census.daemons.pop(pid)
    return census


def _any_lives(identities: list[tuple[int, int]]) -> bool:
    """Whether at least one of these (pid, start) still lives."""
    found = (processes.read(pid) for pid, _ in identities)
    return any(process and process.identity in identities and not process.dead for process in found)


def _nobody(census: Census) -> bool:
    """Whether a census was taken in which there is no process of the site, and none whose program is the product's."""
    return census.complete and not census.daemons and not census.product


def _cannot_be_ended(left: list[Process]) -> str:
    return "cannot be ended: %s: look at them with ps, or restart this node" % processes.describe(left)


def _left(known: dict[tuple[int, int], Process], census: Census) -> list[Process]:
    """Return those of the site that still run: `known` before, or seen in the census. Whom it saw stays known: once its parent has ended,
    nothing may tell any more whose job a process is."""
    known.update((process.identity, process) for process in census.daemons.values())
    return [process for process in known.values() if processes.alive(process)]


def _look(settings: Settings, programs: list[str]) -> str:
    from cjc_agent.settings import licence
    there = [path for path in programs if os.path.exists(path)]
    if not there:
        return "5 %s: cjcpw is not installed: install JobCenter or set `cjcpw` - looked for %s" % (NO_COMMAND, ", ".join(programs))
    if not os.path.isfile(there[0]) or not os.access(there[0], os.X_OK):
        return "4 %s: %s is not an executable file: correct its mode or set `cjcpw`" % (NOT_EXECUTABLE, there[0])
    complaint = licence.complaint(settings.nqs_home, settings.licence_pattern)
    if complaint:
        return "5 " + complaint
    if settings.user not in ("", "root"):
        import pwd
        try:
            pwd.getpwnam(settings.user)
        except KeyError:
            return "5 %s: user %s is not known on this node: create the user or set `user`" % (NO_USER, settings.user)
    if os.stat(there[0]).st_mode & 0o002:
        return "0 %s: %s can be written by everybody, who thus becomes %s: chmod o-w it" % (WRITABLE_COMMAND, there[0], settings.user or "root")
    return "0 "


def _syslog_descriptor(log: Log) -> int:
    """Return a descriptor whose every write is one syslog message; no process of ours stands between, and nobody can be killed by it."""
    import socket
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        channel.connect("/dev/log")
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, b"\x01" + b"\0" * 15)  # struct timeval, 1 s: a full log drops words
        return channel.detach()
    except OSError as error:
        channel.close()
        log.warning("site: no syslog (/dev/log: %s): the resident cjcpw's output is dropped" % error.strerror)
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
