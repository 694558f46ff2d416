"""The only place that starts processes: argument list, no shell, a deadline, a typed result.

`subprocess` and posix_spawn wait for the exec: a program or a folder on a hung file system would hang *us* in D state, beyond any
timeout. So everything runs in a forked child whose exec nobody waits for without limit. A child that not even SIGKILL ends is
abandoned and remembered, and the same kind of work is not started a second time while it lives.

Output goes into a memory file, not into a pipe: a daemon that keeps its output open can neither make us wait nor be killed by SIGPIPE
when we end. The file is sealed (fcntl(2), F_SEAL_WRITE) when the command ends; who writes then gets EPERM. While it runs, what it has
printed too much of is thrown away: an error in writing would change its exit code, and that of a chatty status must be its own.
"""
from __future__ import annotations

import errno
import fcntl
import os
import select
from time import monotonic

from cjc_agent.tools import procfs, statefile
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import one_line

try:  # the C half: `signal` itself imports enum, 5 ms of a monitor's 15
    import _signal as signals
except ImportError:
    import signal as signals  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TOOL_ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}  # for programs whose output is read
LARGEST_OUTPUT = 32 << 20  # bytes; looked at every WATCH seconds, so that a command that prints without end cannot eat the memory
WATCH = 0.05
SHOWN_OUTPUT = 4096  # bytes kept of the beginning and of the end
LONGEST_SAID = 200  # characters of its last line that are repeated: what it is about and what to do must not drown in it
KILL_GRACE = 0.5  # seconds in which SIGKILL ends anything that can be ended

CANNOT_RUN, NOT_FOUND = 126, 127  # exit codes, as a shell's: it cannot be executed; there is no such command
NEVER_RAN = (CANNOT_RUN, NOT_FOUND)

# how a command ended
EXITED, SIGNALLED, TIMED_OUT, STUCK, UNSTARTED = "exited", "signalled", "timed out", "stuck", "unstarted"


class Result:
    """What became of a command: `outcome`, exit `code` (or signal number), its `output` (text) and `seconds`."""

    __slots__ = ("name", "outcome", "code", "output", "seconds")

    def __init__(self, name: str, outcome: str, code: int = -1, output: str = "", seconds: float = 0.0) -> None:
        self.name, self.outcome, self.code, self.output, self.seconds = name, outcome, code, output, seconds

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.outcome == EXITED and self.code == 0

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None when it did not end by itself."""
        return self.code if self.outcome == EXITED else None

    def words(self, remedy: str = "") -> str:
        """One clause for people: what was run, how it ended, what to do about it (`remedy`), and the last thing it said.

        In this order: crm_mon shows the first 128 characters of a reason. What could not even be started has its own remedy.
        """
        said = self.output.strip().rsplit("\n", 1)[-1].strip()
        if said.startswith(self.name + ": "):  # mount: ...
            said = said[len(self.name) + 2:]
        said = said if len(said) <= LONGEST_SAID else said[:LONGEST_SAID] + "..."
        how = {
            EXITED: "exited %d" % self.code,
            SIGNALLED: "was ended by signal %d" % self.code,
            TIMED_OUT: "did not end within %.1f s" % self.seconds,
            STUCK: "hangs despite SIGKILL (pid %d)" % self.code,
            UNSTARTED: "could not be started",
        }[self.outcome]
        if remedy and self.outcome != UNSTARTED:
            return "%s %s: %s%s" % (self.name, how, remedy, " - it said: " + said if said else "")
        return "%s %s%s" % (self.name, how, ": " + said if said else "")


class Runner:
    """Runs commands and bounded calls for one action; `folder` (the state folder) and `prefix` say where abandoned children are noted."""

    def __init__(self, folder: str, prefix: str, trace: Callable[[str], None]) -> None:
        self._note_path = os.path.join(folder, prefix + ".abandoned")
        self._trace = trace
        self._hung: set[int] = set()  # items of `each` at which a child has hung twice

    def run(self, name: str, programs: list[str], arguments: list[str], deadline: Deadline,
            environment: Optional[dict[str, str]] = None, user: str = "", whole: bool = False) -> Result:
        """Run the first of `programs` (absolute paths) that exists with `arguments`, until it ends or the deadline passes.

        `user` (a login name; empty: ourselves) is looked up in the child, under the deadline. Exit code NOT_FOUND: none of the
        programs exists, CANNOT_RUN: it cannot be executed; the output says which, as a shell would. `whole`: nothing is left out of the output.
        """
        values = TOOL_ENVIRONMENT if environment is None else environment
        self._trace("run %s: %s %s" % (name, programs[0], " ".join(arguments)))
        ignored, parent = _ignored(), os.getpid()
        return self._bounded(name, deadline, lambda: _execute(programs, arguments, values, user, ignored, parent), whole=whole)

    def call(self, name: str, function: Callable[[], str], deadline: Deadline, user: str = "") -> Result:
        """Run a Python function in a child (as `user`) that may be abandoned: for whatever touches a file system that may hang.

        Its text is the result's output, exit code 0; an OSError's words are the output with code 1 and the errno as first word.
        """
        return self._bounded(name, deadline, lambda: _call(function, user))

    def each(self, name: str, items: list[int], function: Callable[[int], str], deadline: Deadline) -> dict[int, Optional[str]]:
        """Run a Python function for every item, in a child; return item -> its text, None where the child hung. Raise TimeoutError when the
        deadline came before all items were looked at.

        For reading what other processes are: the kernel needs their memory map's lock for that, and one that hangs in mmap(2) on a dead
        file system keeps it (tried). Where no child can be had, the function is run here: better an unlikely hang than no answer.
        """
        found: dict[int, Optional[str]] = dict.fromkeys(items)
        suspects = self._answers(name, [item for item in items if item not in self._hung], function, deadline, 2.0, found)
        for suspect in suspects:  # once more, alone: on a busy machine it may have been bad luck
            self._hung.update(self._answers(name, [suspect], function, deadline, 1.0, found))
        return found

    def _answers(self, name: str, waiting: list[int], function: Callable[[int], str], deadline: Deadline, patience: float,
                 found: dict[int, Optional[str]]) -> list[int]:
        """Fill `found` with what the function says of the `waiting` items; return those at which a child hung for `patience` seconds."""
        suspects = []
        while waiting:
            if deadline.expired():
                raise TimeoutError(errno.ETIMEDOUT, "no time left to look at all processes: raise the operation's timeout")
            todo = waiting
            result = self._bounded(name, deadline.part(patience), lambda todo=todo: _each(function, todo),  # type: ignore[misc]
                                   remember=False, whole=True)
            if result.outcome == UNSTARTED:
                found.update((item, function(item)) for item in waiting)
                break
            *lines, begun = result.output.split("\n")
            found.update((int(item), text) for item, _, text in (line.partition(" ") for line in lines))
            if result.ok:
                break
            waiting = waiting[len(lines):]
            if begun and not _lacked(result):
                suspects.append(waiting.pop(0))
            elif _lacked(result) or (not lines and result.outcome != TIMED_OUT):
                raise TimeoutError(errno.ETIMEDOUT, result.words(procfs.LACKS))
            patience = 0.5
        return suspects

    def tool(self, arguments: list[str], deadline: Deadline, whole: bool = False) -> Result:
        """Run a system tool by its bare name, looked up in the fixed PATH only. `whole`: as for `run`."""
        return self.run(arguments[0], resolve(arguments[0], []), arguments[1:], deadline, whole=whole)

    def spawn(self, name: str, programs: list[str], arguments: list[str], environment: dict[str, str], user: str, output: int) -> int:
        """Start a program that stays (its output goes to descriptor `output`); return its pid at once. Raise OSError when fork fails."""
        self._trace("spawn %s: %s %s" % (name, programs[0], " ".join(arguments)))
        ignored, parent = _ignored(), os.getpid()
        return _fork(lambda: _execute(programs, arguments, environment, user, ignored, parent), output)

    def _bounded(self, name: str, deadline: Deadline, work: Callable[[], None], remember: bool = True, whole: bool = False) -> Result:
        before = self._still_abandoned(name) if remember else 0
        if before:
            return self._done(Result(name, STUCK, before, "still there from an earlier call: the file system or device it waits for must answer "
                                                          "or this node must be restarted"))
        began = monotonic()
        try:
            output = _memory_file()
        except OSError as error:
            return self._done(_unstarted(name, error))
        try:
            try:
                pid = _fork(work, output)
            except OSError as error:
                return self._done(_unstarted(name, error))
            outcome, code = self._finish(name, pid, deadline, output)
            _seal(output)
            said = _read_back(output, whole) or (procfs.LACKS if (outcome, code) == (EXITED, CANNOT_RUN) else "")
            return self._done(Result(name, outcome, code, said, monotonic() - began))
        finally:
            os.close(output)

    def _finish(self, name: str, pid: int, deadline: Deadline, output: int) -> tuple[str, int]:
        try:
            status = wait(pid, deadline.part(WATCH))
            while status is None and not deadline.expired():
                if os.fstat(output).st_blocks * 512 > LARGEST_OUTPUT:
                    os.ftruncate(output, 0)  # the writer goes on where it was, behind a hole
                status = wait(pid, deadline.part(WATCH))
        except BaseException:  # Ctrl-C, SIGTERM: leave nothing behind
            _kill(pid)
            wait(pid, Deadline(KILL_GRACE))
            raise
        if status is not None:
            return (SIGNALLED, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (EXITED, os.WEXITSTATUS(status))
        _kill(pid)
        if wait(pid, Deadline(KILL_GRACE)) is None:
            self._abandon(name, pid)
            return STUCK, pid
        return TIMED_OUT, -1

    def _done(self, result: Result) -> Result:
        self._trace("    %s (%.3f s)" % (result.words(), result.seconds))
        return result

    def _abandon(self, name: str, pid: int) -> None:
        from cjc_agent.tools import processes
        name = one_line(name)  # a mount point in it may have any character
        try:
            process = processes.read(pid)
            lines = (statefile.read(self._note_path) or b"").decode("utf-8", "replace")
            lines = "".join(line + "\n" for line in lines.splitlines() if _noted(line)[0] and _noted(line)[2] != name)
            statefile.write(self._note_path, ("%s%d %d %s\n" % (lines, pid, process.start if process else 0, name)).encode())
        except (OSError, statefile.Untrusted) as error:
            self._trace("cannot note abandoned child %d: %s" % (pid, error))

    def _still_abandoned(self, name: str) -> int:
        """Return the pid of a child abandoned at the same kind of work that still lives, else 0."""
        return self.abandoned().get(one_line(name), 0)

    def abandoned(self) -> dict[str, int]:
        """Return kind of work -> pid of the children abandoned at it that still live."""
        try:
            lines = statefile.read(self._note_path)
        except (OSError, statefile.Untrusted):
            return {}
        if not lines:
            return {}
        from cjc_agent.tools import processes
        found = {}
        for line in lines.decode("utf-8", "replace").splitlines():
            pid, start, name = _noted(line)
            process = processes.read(pid) if pid else None
            if process and process.start == start and not process.dead:
                found[name] = pid
        return found


def _unstarted(name: str, error: OSError) -> Result:
    return Result(name, UNSTARTED, error.errno or -1, "%s: %s" % (error.strerror, procfs.LACKS))


def _lacked(result: Result) -> bool:
    """Whether a child of ours ended for want of descriptors or memory: that tells nothing about what it was looking at."""
    return result.exit_code == CANNOT_RUN or (result.outcome == SIGNALLED and result.code == signals.SIGKILL)  # by the kernel's OOM killer


def _noted(line: str) -> tuple[int, int, str]:
    try:
        pid, start, name = line.split(" ", 2)
        return int(pid), int(start), name
    except ValueError:
        return 0, 0, ""


def wait(pid: int, deadline: Deadline) -> int | None:
    """Given a child's pid, return its wait status, or None when the deadline passes first."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # kernels before 5.3 (RHEL 8)
        for _ in deadline.polls(first=0.001, longest=0.05):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
        return None
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            ready = poll.poll(int(deadline.left() * 1000) + 1)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            if not ready and deadline.expired():
                return None
    finally:
        os.close(descriptor)


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group first: the child leads a session of its own, unless it died before setsid
        try:
            kill(pid, signals.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _memory_file() -> int:
    return os.memfd_create("cjc-agent-output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _seal(descriptor: int) -> None:
    """From now on whoever still has the memory file open can write nothing into it."""
    bounds = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
    for seals in (fcntl.F_SEAL_WRITE | bounds, bounds):  # EBUSY: somebody has it mapped; then it can at least not grow
        try:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            break
        except OSError:
            pass  # EPERM both times: the command itself has sealed the seals; what it answers counts all the same


def _read_back(descriptor: int, whole: bool) -> str:
    end = os.fstat(descriptor).st_size
    if whole:
        return os.pread(descriptor, end, 0).decode("utf-8", "replace")
    data = os.pread(descriptor, SHOWN_OUTPUT, 0)
    if end > 2 * SHOWN_OUTPUT:
        data += b"\n[...]\n"
    if end > SHOWN_OUTPUT:
        data += os.pread(descriptor, SHOWN_OUTPUT, max(SHOWN_OUTPUT, end - SHOWN_OUTPUT))
    return data.replace(b"\0", b"").decode("utf-8", "replace")  # zeros: a hole, where somebody truncated /dev/stdout


def _fork(work: Callable[[], None], output: int) -> int:
    """Fork; the child leads a session of its own, keeps none of our descriptors but `output`, runs `work` and never returns."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _keep_only(output)
        os.chdir("/")
        work()
    except (OSError, MemoryError) as error:  # no descriptor left, no /dev/null: as if the command could not be executed
        try:
            os.write(2, ("cannot be run: %s" % procfs.words(error)).encode("utf-8", "replace"))
        finally:
            os._exit(CANNOT_RUN)
    finally:  # whatever was raised: the child must not climb the parent's stack
        os._exit(70)


def _keep_only(output: int) -> None:
    """In the child: nothing to read, `output` as stdout and stderr, and nothing else.

    What we inherited from the cluster's daemon is not JobCenter's; and a child that hangs must not keep the daemon's pipes open.
    """
    os.dup2(output, 2)  # first, so that it can be said what fails
    os.dup2(output, 1)
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            _close(int(name))


def _each(function: Callable[[int], str], items: list[int]) -> None:
    for item in items:
        os.write(1, b"%d" % item)  # what was begun and not finished is what it hangs at
        os.write(1, b" %s\n" % function(item).encode("utf-8", "replace"))
    os._exit(0)


def _call(function: Callable[[], str], user: str) -> None:
    if user and user != "root":
        _become(user)
    try:
        text, code = function(), 0
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "E?")
        text, code = "%s %s%s" % (name, error.strerror, ": %s" % error.filename if error.filename else ""), 1
    os.write(1, text.encode("utf-8", "surrogateescape"))
    os._exit(code)


def _ignored() -> list[int]:
    """Return the signals that are ignored: exec resets all others. Python ignores SIGPIPE, a caller may ignore more."""
    return [number for number in range(1, 32) if signals.getsignal(number) == signals.SIG_IGN]


def _execute(programs: list[str], arguments: list[str], environment: dict[str, str], user: str, ignored: list[int], parent: int) -> None:
    """In the child: become what a daemon may inherit, then exec. `ignored` was found before the fork, whose child copies each page it touches.

    Not when `parent` has been killed meanwhile: the cluster may have stopped the site since, and nobody would know of this start.
    """
    for number in ignored:
        signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, [])
    os.umask(0o022)
    if user and user != "root":
        environment = dict(_become(user), **environment)
    code = NOT_FOUND
    for program in programs:
        if os.getppid() != parent:
            os._exit(CANNOT_RUN)
        try:
            os.execve(program, [program, *arguments], environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            os.write(2, ("%s: cannot be executed: %s\n" % (program, error.strerror)).encode("utf-8", "replace"))
            code = CANNOT_RUN
            break
    if code == NOT_FOUND:
        os.write(2, ("%s: no such command, or its interpreter is missing\n" % ", ".join(programs)).encode("utf-8", "replace"))
    os._exit(code)


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # the one that listed the folder


def _become(user: str) -> dict[str, str]:
    """In the child: take the user's uid, gid and groups for good; return HOME, USER and LOGNAME. Exit CANNOT_RUN when that cannot be done."""
    import pwd
    try:
        entry = pwd.getpwnam(user)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except (KeyError, OSError) as error:
        os.write(2, ("user %s: %s\n" % (user, error)).encode("utf-8", "replace"))
        os._exit(CANNOT_RUN)
    return {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}


def resolve(name: str, folders: list[str]) -> list[str]:
    """Given a command's name or absolute path, return the paths to try in order; the caller's PATH never counts."""
    if name.startswith("/"):
        return [name]
    return [folder + "/" + name for folder in [*folders, *PATH.split(":")]]

