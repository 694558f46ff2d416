"""start, stop, monitor, validate, reload: they climb the layers of a running site (disk < vip < site) up, or down.

Nothing here knows a protocol: the front ends turn a Verdict into exit codes.
"""
from __future__ import annotations

import os

from cjc_agent.layers.disks import disk_of
from cjc_agent.layers.site import Site
from cjc_agent.layers.state import LayerError
from cjc_agent.layers.vip import Vip
from cjc_agent.settings import parameters
from cjc_agent.settings.parameters import Settings
from cjc_agent.tools import mountinfo, procfs, record, statefile
from cjc_agent.tools.command import Runner
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from cjc_agent.settings.conf_file import Conf
    from cjc_agent.tools.history import Clock
    from cjc_agent.tools.lock import Holder, Lock
    from cjc_agent.tools.record import Record

# what an action found out
GOOD, STOPPED, FAILED, DEGRADED = "good", "stopped", "failed", "degraded"
MISCONFIGURED, NOT_INSTALLED, NOT_PERMITTED, BAD_DIRECTORY = "misconfigured", "not installed", "not permitted", "bad directory"

STATE_FOLDER = "/run/resource-agents"  # where the cluster does not name one ($HA_RSCTMP)
TAKE_DOWN_SHARE = 0.25  # of a start's time is kept for taking down what a failed start brought up
TAKE_DOWN_MOST = 30.0  # seconds
LAST_LOOK = 1.0  # seconds kept of a stop for the last look at what is left
FULL = ("ENOSPC ", "EDQUOT ")
BROKEN = ("EIO ", "EUCLEAN ", "ESTALE ")
BAD_MOUNT_POINT = "CJC315"  # rule (operator/checks/disk.py) that a start refuses, too


def state_folder() -> str:
    """Return the folder for records and locks: what the cluster names, else the usual one. One on a network file system is passed over: such
    a record would be another node's too, and a server that has died would hang us."""
    given = os.environ.get("HA_RSCTMP", "").rstrip("/")
    return given if given.startswith("/") and (given == STATE_FOLDER or not mountinfo.on_network(given)) else STATE_FOLDER


class Verdict:
    """An action's answer: `outcome` is one of the words above, `reason` one line: layer, object, what to do."""

    __slots__ = ("outcome", "reason")

    def __init__(self, outcome: str, reason: str = "") -> None:
        self.outcome, self.reason = outcome, reason

    @property
    def good(self) -> bool:
        """Whether the action did what it should; for a monitor: whether the site runs."""
        return self.outcome == GOOD


class Request:
    """What one call is asked to do it with: the `settings` and their `problems`, `deadline`, `log`, state `folder`, resource `instance`.

    `problems`: parameter -> what is wrong with it, in words that name it. `conf`: the file that the parameters are from. `given`: their texts.
    """

    def __init__(self, given: dict[str, str], deadline: Deadline, log: Log, folder: str, instance: str, conf: Optional[Conf] = None) -> None:
        self.given = given
        self.settings, wrong = parameters.read(given)
        self.problems = {}
        if conf and conf.errors:  # what could not be read may have been whatever is not given
            unread = ({"device", "directory"} | wrong.keys()) - given.keys()
            self.problems.update(dict.fromkeys(["line", *sorted(unread)], conf.errors[0]))
        for name, words in wrong.items():
            if conf and given.get(name) == conf.values.get(name):
                self.problems.setdefault(name, conf.complaint(name, words))
            else:  # an option that wins over the file, or no file
                self.problems.setdefault(name, "parameter %s: %s" % (name, words))
        self.deadline, self.log, self.folder, self.instance = deadline, log, folder, instance
        self.source = conf.path if conf else ""  # the configuration file, "" where there is none

    @property
    def complaints(self) -> list[str]:
        """All that is wrong, each thing once, the worst first."""
        return list(dict.fromkeys(self.problems.values()))


class Stack:
    """The layers of one site, and its record on this node."""

    def __init__(self, request: Request, settings: Settings, found: Optional[Record]) -> None:
        self.settings, self.log, self.deadline = settings, request.log, request.deadline
        self.folder, self.instance, self.problems = request.folder, request.instance, request.problems
        self.record = found
        self.locked = False  # whether this action holds the site's lock
        self.runner = Runner(request.folder, "cjc-%s" % (settings.site or "unknown"), request.log.trace)
        known = found is not None or not {"device", "directory"} & request.problems.keys()
        self.disk = disk_of(settings, self.runner, request.log, request.deadline, found.disk if found else None, known)
        self.vip = Vip(settings.vip)
        self.site = Site(settings, self.runner, request.log, found, self.disk.scope, request.deadline)

    def write_record(self) -> bool:
        """Remember what runs here; return whether it could be. A state folder that cannot be written is warned about: the site runs all the same."""
        from cjc_agent.tools import processes
        site = self.site
        self.record = record.Record(self.settings.texts, self.instance, processes.boot_id(), self.disk.resolved, site.port(), site.daemons,
                                    site.resident, site.before)
        try:
            record.save(self.folder, self.record)
            return True
        except OSError as error:
            self.log.warning("record: %s: %s: judgements are less safe without it" % (record.path(self.folder, self.settings.site), error.strerror))
            return False

    def is_told_otherwise(self) -> bool:
        """Whether the site that runs was started with other parameters than those that are given now."""
        return self.record is not None and self.record.settings != self.settings.texts

    def adopt(self) -> None:
        """Write the record of a site that runs as no start of ours has left it; not while a start or stop is at work."""
        self.site.learn_daemons()
        lock = lock_of(self.folder, self.settings.site)
        if not self.locked and lock.is_held():
            return
        if not self.write_record():
            return
        if not self.locked and not self._runs_after(lock):  # a stop has come and gone meanwhile
            record.remove(self.folder, self.settings.site)
            return
        self.log.info("site: %s runs already, it was not started by this agent: recorded" % self.settings.site)

    def _runs_after(self, lock: Lock) -> bool:
        """Whether the site runs once whoever holds the lock now has given it back."""
        for _ in self.deadline.part(5.0).polls():
            if not lock.is_held():
                break
        return self.site.state(disk_up=True).running


def load_record(request: Request, site: str) -> Optional[Record]:
    """Return the record of a site on this boot; one that cannot be believed is warned about and counts as none."""
    found, doubt = _read_record(request, site)
    if doubt:
        request.log.warning("record: " + doubt)
    return found


def _read_record(request: Request, site: str) -> tuple[Optional[Record], str]:
    """Return the record of a site on this boot, if there is one, and why it cannot be believed, "" when it can."""
    try:
        return record.load(request.folder, site) if site else None, ""
    except statefile.Untrusted as error:
        return None, str(error)
    except OSError as error:
        return None, "%s: %s" % (record.path(request.folder, site), error.strerror)


def site_of(request: Request) -> str:
    """Return the name of the request's site; where it is bad or missing, the one that a start of this resource has left, or ""."""
    found = None if request.settings.site else record.find(request.folder, request.instance, request.settings.site_db)
    return found.settings["site"] if found else request.settings.site


def recorded(request: Request) -> Optional[Record]:
    """Return the record of the request's site, or None."""
    return load_record(request, site_of(request))


def doubtful_record(request: Request) -> str:
    """Return why the record of the request's site cannot be believed, "" when it can, or there is none."""
    return _read_record(request, site_of(request))[1]


# -- monitor -------------------------------------------------------------------------------------------------------------------------


def monitor(request: Request, level: int, probing: bool) -> Verdict:
    """Say whether the site runs here. `level` 0, 10 or 20 as the OCF check levels; `probing`: nothing was started here yet, as far as known."""
    found = recorded(request)
    settings = request.settings
    if found and request.problems:
        # what is wrong now was right when the site was started: a slip of the pen must not bring a healthy site down
        for words in request.complaints:
            request.log.warning(words + ": monitoring with the parameters that the site was started with")
        settings = parameters.read(found.settings)[0]
    return _monitor(Stack(request, settings, found), level, probing)


def _monitor(stack: Stack, level: int, probing: bool) -> Verdict:
    disk = stack.disk.state()
    if not disk.running and not disk.stopped:
        return Verdict(FAILED, "disk: " + disk.reason)
    site = stack.site.state(disk.running, probing)
    if site.running:
        return _running(stack, level)
    if not site.stopped and disk.stopped and stack.record is not None:
        return Verdict(FAILED, "disk: %s, though site %s was started on this node: stop the resource - %s" % (
            disk.reason, stack.settings.site, site.reason))
    if not site.stopped:
        return Verdict(FAILED, (_unreadable(stack) if disk.running else "") or "site: " + site.reason)
    if stack.record is not None and not disk.running:
        return Verdict(FAILED, "disk: %s, though site %s was started on this node: look who has unmounted it" % (disk.reason, stack.settings.site))
    if stack.record is not None:
        return Verdict(FAILED, "site: %s was started on this node and is gone: see JobCenter's own log" % stack.settings.site)
    if disk.running and stack.disk.exclusive:
        return Verdict(FAILED, "disk: %s is mounted though the site is stopped: stop the resource to unmount it" % disk.reason)
    return Verdict(STOPPED, site.reason)


def _unreadable(stack: Stack) -> str:
    """The site is not well: words for a disk that cannot be read (XFS after I/O errors looks mounted and well), which would be why."""
    site_db = stack.settings.site_db
    if stack.deadline.left() < 3.0:  # whatever took so long is told, and no second child is left hanging
        return ""

    def look() -> str:
        os.listdir(site_db)  # whatever is in it: only whether it can be read is asked
        descriptor = os.open(site_db + "/nqs/daemon.conf", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, not from the page cache
            os.read(descriptor, 1)
        finally:
            os.close(descriptor)
        return ""
    result = stack.runner.call("look into the site DB", look, stack.deadline.part(2.0))
    if not result.output.startswith(BROKEN):
        return ""
    return "disk: %s cannot be read: %s" % (site_db, result.words("look for I/O errors in the kernel's log"))


def _running(stack: Stack, level: int) -> Verdict:
    """The site runs on its disk: what else must be true."""
    for words in stack.problems.values() if stack.record is None else ():
        return Verdict(FAILED, words)
    vip = stack.vip.state()
    if not vip.running:
        return Verdict(FAILED, "vip: " + vip.reason)
    if level >= 10:
        complaint = stack.site.check_service(stack.deadline)
        if complaint:
            return Verdict(FAILED, "site: " + complaint)
    if level >= 20:
        result = stack.runner.call("write test", lambda: write_test(stack.settings.site_db), stack.deadline, stack.settings.user)
        if result.output.startswith(FULL):
            lost = _unreadable(stack)  # ext4 says ENOSPC, too, where it cannot read what is free
            words = "disk: %s is full (%s): make room, moving it does not help" % (stack.settings.site_db, result.output.split(" ")[0])
            return Verdict(FAILED, lost) if lost else Verdict(DEGRADED, words)
        if not result.ok:
            remedy = "see the kernel's log, or if frozen: fsfreeze -u"
            return Verdict(FAILED, "disk: %s: %s" % (stack.settings.site_db, result.words(remedy)))
    if stack.record is None or stack.record.before is not None or stack.site.is_another_life():
        stack.adopt()
    return Verdict(GOOD)


def write_test(site_db: str) -> str:
    """Write, sync, read back and remove a small file in the site DB. Raise OSError. It may hang: call it in a child that may be abandoned."""
    path = "%s/.cjc-agent-check-%s" % (site_db, os.uname().nodename)
    statefile.remove(path)  # left by a check that was killed
    text = os.urandom(64)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
        same = os.pread(descriptor, len(text) + 1, 0) == text
    finally:
        os.close(descriptor)
        os.unlink(path)
    if not same:
        raise OSError(5, "read back something else than was written", path)
    return ""


# -- validate, reload ----------------------------------------------------------------------------------------------------------------


def validate(request: Request, level: int) -> Verdict:
    """Level 0: the parameters and psutil; 10: also whether this node has what a start needs."""
    for words in request.complaints:
        return Verdict(MISCONFIGURED, words)
    from cjc_agent.tools import processes
    if not processes.has_psutil():
        return Verdict(NOT_INSTALLED, "psutil is not installed for this Python: install python3-psutil")
    if level < 10:
        return Verdict(GOOD)
    stack = Stack(request, request.settings, None)
    code, words = stack.site.host_complaint()
    if code:
        return Verdict({4: NOT_PERMITTED, 5: NOT_INSTALLED}.get(code, FAILED), "site: " + words)
    if words:
        request.log.warning("site: " + words)
    return _validate_directory(stack)


def _validate_directory(stack: Stack) -> Verdict:
    directory, site_db = stack.settings.directory, stack.settings.site_db
    if directory and mountinfo.top_at(mountinfo.read(), directory):
        return Verdict(GOOD)
    result = stack.runner.call("look at " + (directory or site_db), lambda: look_at_directory(directory, site_db), stack.deadline.part(10.0))
    if result.ok and not result.output:
        return Verdict(GOOD)
    if result.exit_code == 0:
        return Verdict(BAD_DIRECTORY, "disk: %s: %s" % (BAD_MOUNT_POINT, result.output))
    remedy = "that file system must answer, see the kernel's log"
    return Verdict(FAILED, "disk: " + result.words(remedy))


def look_at_directory(directory: str, site_db: str) -> str:
    """Return what is wrong with a mount point on which nothing is mounted, "" for nothing. It may hang: call it in a child that may be abandoned.

    Mounts are known by their real path: what is reached through a link would never be found among them.
    """
    if directory and not os.path.isdir(directory):
        return "mount point %s is no directory: create it (mkdir -p %s) on this node" % (directory, directory)
    name, path = ("mount point", directory) if directory else ("site_db", site_db)
    real = os.path.realpath(path)
    return "" if real == path else "%s %s is reached through a symbolic link: write %s" % (name, path, real)


def reload(request: Request) -> Verdict:
    """Take over changed reloadable parameters without a restart: validate, rewrite the record, monitor."""
    verdict = validate(request, 0)
    if not verdict.good:
        return Verdict(FAILED, verdict.reason)
    lock, complaint = _locked(request, request.settings.site, "reload-agent")
    if complaint:
        return Verdict(FAILED, complaint)
    try:
        found = load_record(request, request.settings.site)
        if found is not None:
            Stack(request, request.settings, found).write_record()
    finally:
        lock.release()
    verdict = monitor(request, 0, probing=False)
    if verdict.outcome == STOPPED:
        return Verdict(FAILED, "site: %s does not run here, there is nothing to reload: start it" % request.settings.site)
    return verdict if verdict.good else Verdict(FAILED, verdict.reason)


# -- start ---------------------------------------------------------------------------------------------------------------------------


def start(request: Request) -> Verdict:
    """Bring the site up; good only when a monitor would now say that it runs. A failed start takes down what it brought up."""
    from cjc_agent.tools.history import START, Clock
    clock = Clock(START)
    clock.begin("check")
    verdict = validate(request, 10)
    if verdict.good:
        verdict = _start_alone(request, clock)
    _note(request, request.settings.site, clock, verdict)
    return verdict


def _start_alone(request: Request, clock: Clock) -> Verdict:
    clock.begin("lock")
    lock, complaint = _locked(request, request.settings.site, "start")
    if complaint:
        return Verdict(FAILED, complaint)
    try:
        stack = Stack(request, request.settings, load_record(request, request.settings.site))
        stack.locked = True
        return _start(stack, clock)
    finally:
        lock.release()


def _start(stack: Stack, clock: Clock) -> Verdict:
    climb = Deadline(stack.deadline.left() - min(stack.deadline.left() * TAKE_DOWN_SHARE, TAKE_DOWN_MOST))
    try:
        clock.begin("disk")
        stack.disk.start(climb)
        clock.begin("vip")
        stack.vip.wait(climb.part(min(stack.settings.vip_wait, climb.left() / 4)))
        clock.begin("site")
        clock.idle = not stack.site.start(climb, stack.write_record, disk_was_up=not stack.disk.launched)
        if not clock.idle or stack.is_told_otherwise():
            stack.write_record()
        # what a monitor would say now; that the site runs status has just said, and asking again may cost a second
        disk = stack.disk.state()
        verdict = _running(stack, 0) if disk.running else Verdict(FAILED, "disk: " + disk.reason)
        if verdict.good:
            stack.site.note_owner(stack.deadline)
            return verdict
        reason = verdict.reason + "; this was seen after the start"
    except (LayerError, OSError) as error:
        reason = "%s: %s" % (clock.step, procfs.words(error))
    clock.begin("take down")
    return Verdict(FAILED, reason + _take_down(stack))


def _take_down(stack: Stack) -> str:
    """After a failed start: take down what it brought up, as far as that is safe; return words for what is left."""
    try:
        if stack.site.launched:
            stack.site.stop(stack.disk.state().running, stack.deadline.share(0.7))
            record.remove(stack.folder, stack.settings.site)
        if stack.disk.launched:
            stack.disk.stop(stack.deadline)
    except (LayerError, OSError) as error:
        return " - left as it is: %s" % procfs.words(error)
    return ""


# -- stop ----------------------------------------------------------------------------------------------------------------------------


def stop(request: Request) -> Verdict:
    """Take the site down; good only after seeing that nothing is left. Neither a bad parameter nor a missing product file stands in its way."""
    from cjc_agent.tools.history import STOP, Clock
    clock, site = Clock(STOP), site_of(request)
    verdict, was_here = _stop_alone(request, site, clock)
    # Pacemaker also stops what was never here, and what a failed start has taken down already: of that nobody at 3 a.m. wants to read
    if was_here or not verdict.good:
        _note(request, site, clock, verdict)
    return verdict


def _stop_alone(request: Request, site: str, clock: Clock) -> tuple[Verdict, bool]:
    """Stop once nobody else is at work; return also whether anything of the site was here: a record, a process, a mount."""
    clock.begin("lock")
    lock, complaint = _locked(request, site, "stop")
    if complaint.startswith(BUSY):
        return Verdict(FAILED, complaint), True
    if complaint:
        request.log.warning(complaint + ": stopping without it")
    try:
        found = load_record(request, site)  # only now: the start that we may have waited for has written it
        for words in request.complaints:
            request.log.warning("%s: stopping %s" % (words, "by the record" if found else "without it"))
        stack = Stack(request, parameters.read(found.settings)[0] if found else request.settings, found)
        verdict = _stop(stack, clock)
        return verdict, found is not None or stack.site.found or stack.disk.found
    finally:
        lock.release()


def _stop(stack: Stack, clock: Clock) -> Verdict:
    left, words = [], ""
    clock.begin("site")
    try:
        stack.disk.before_stop(stack.deadline)
        stack.site.stop(stack.disk.state().running, stack.deadline)
    except (LayerError, OSError) as error:
        words = procfs.words(error)
    clock.idle = not stack.site.found
    clock.begin("disk")
    try:
        stack.disk.stop(Deadline(stack.deadline.left() - min(LAST_LOOK, stack.deadline.left() * 0.1)))
    except (LayerError, OSError) as error:
        left.append("disk: %s" % procfs.words(error))
    # what was left before the umount may have gone since: 0 is said after seeing that nothing is left, and only then
    if not left and stack.disk.left():
        left.append("disk: " + stack.disk.left())
    evidence = _evidence(stack)
    if evidence:
        left.append("site: " + (words or evidence))
    elif words:
        stack.log.warning("site: %s: gone since" % words)
    if left:
        return Verdict(FAILED, "; ".join(left))
    try:
        if stack.settings.site:
            record.remove(stack.folder, stack.settings.site)
    except OSError as error:
        stack.log.warning("record: %s: %s" % (record.path(stack.folder, stack.settings.site), error.strerror))
    return Verdict(GOOD)


def _note(request: Request, site: str, clock: Clock, verdict: Verdict) -> None:
    """Note in the site's history how a start or stop has gone. That it cannot be noted changes nothing."""
    from cjc_agent.tools import history
    complaint = history.add(request.folder, site, clock.entry(verdict.outcome, verdict.reason)) if site else ""
    if complaint:
        request.log.debug("history: " + complaint)


def _evidence(stack: Stack) -> str:
    """Words for what says that the site is not stopped: also that we could not look."""
    try:
        return stack.site.left_after_stop()
    except OSError as error:
        return "processes cannot be looked at: %s" % procfs.words(error)


BUSY = "lock: "


def lock_of(folder: str, site: str) -> Lock:
    """Return the lock of a site, which is not taken yet."""
    from cjc_agent.tools.lock import Lock
    return Lock(os.path.join(folder, "cjc-%s.lock" % (site or "unknown")))


def at_work(request: Request) -> Optional[Holder]:
    """Return who is at work on the request's site now (a start, a stop), or None."""
    return lock_of(request.folder, site_of(request)).holder()


def last_at_work(request: Request) -> bytes:
    """Return a mark of who was at work on the request's site last: another one after each start and stop."""
    return lock_of(request.folder, site_of(request)).signature()


def _locked(request: Request, site: str, what: str) -> tuple[Lock, str]:
    """Take the site's lock for an action; return it, and words for why it could not be taken ("" when it was; they begin with BUSY when
    somebody else has it)."""
    from cjc_agent.tools.lock import Busy
    lock = lock_of(request.folder, site)
    try:
        lock.take(what, request.deadline)
        return lock, ""
    except Busy as error:
        return lock, BUSY + "%s: wait for it to end" % error
    except OSError as error:
        return lock, "state folder: %s: %s: correct it" % (error.filename, error.strerror)
