"""Run a command and kill it, with all processes that it has started, at the n-th system call that changes something, just before that call.

    killed_at.py NUMBER PROGRAM COMMAND [ARGUMENT ...]

Of what PROGRAM does ("" for none) only a rename counts: it is not ours, and makes what it makes in one step.

Prints one line: `killed at WHAT` or `ended CODE`; the command's own output goes to stderr. A seccomp filter (seccomp(2), SECCOMP_RET_TRACE)
stops the processes at those calls alone, so that they run at full speed in between; the count goes over the whole tree.
"""
from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys

# x86-64, arm64 (0: arm64 has no such call)
CALLS = {
    "open": (2, 0), "creat": (85, 0), "openat": (257, 56), "write": (1, 64), "pwrite64": (18, 68), "writev": (20, 66), "ftruncate": (77, 46),
    "chmod": (90, 0), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, 0), "fchown": (93, 55), "fchownat": (260, 54), "fsetxattr": (190, 7),
    "setxattr": (188, 5), "fremovexattr": (199, 16), "fsync": (74, 82), "fdatasync": (75, 83), "rename": (82, 0), "renameat": (264, 38),
    "renameat2": (316, 276), "unlink": (87, 0), "unlinkat": (263, 35), "rmdir": (84, 0), "mkdir": (83, 0), "mkdirat": (258, 34), "link": (86, 0),
    "linkat": (265, 37), "symlink": (88, 0), "symlinkat": (266, 36), "mount": (165, 40), "umount2": (166, 39), "kill": (62, 129),
}
MACHINES = {"x86_64": 0, "aarch64": 1}
NUMBERS = {numbers[MACHINES[platform.machine()]]: name for name, numbers in CALLS.items() if numbers[MACHINES[platform.machine()]]}
PATHS = {"open": 0, "creat": 0, "openat": 1, "chmod": 0, "rename": 1, "renameat": 3, "renameat2": 3, "unlink": 0, "unlinkat": 1, "mkdir": 0, "mkdirat": 1,
         "mount": 1, "umount2": 0, "rmdir": 0}  # which argument names what is changed
BY_DESCRIPTOR = ("write", "pwrite64", "writev", "ftruncate", "fchmod", "fchown", "fsetxattr", "fremovexattr", "fsync", "fdatasync")

TRACEME, CONT, SETOPTIONS, SYSCALL_INFO = 0, 7, 0x4200, 0x420E  # ptrace(2)
FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 7, 1 << 20
WALL = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def main(number: int, whole: str, command: list[str]) -> int:
    """Run and kill."""
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        LIBC.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        install_filter()
        os.execvp(command[0], command)
    os.waitpid(child, WALL)
    LIBC.ptrace(SETOPTIONS, child, None, FORK | VFORK | CLONE | EXEC | SECCOMP | EXITKILL)
    alive = {child}
    go_on(child)
    count, code = 0, 0
    while alive:
        pid, status = os.waitpid(-1, WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            alive.discard(pid)
            code = os.waitstatus_to_exitcode(status) if pid == child else code
            continue
        new = pid not in alive
        alive.add(pid)
        event, sent = status >> 16, os.WSTOPSIG(status)
        if event == 7:  # PTRACE_EVENT_SECCOMP
            what = change(pid)
            if whole and program_of(pid) == whole and not what.startswith("rename"):
                what = ""
            count += bool(what)
            if what and count == number:
                kill(alive)
                print("killed at " + what, flush=True)
                return 0
        go_on(pid, 0 if event or sent == signal.SIGTRAP or (new and sent == signal.SIGSTOP) else sent)
    print("ended %d" % code, flush=True)
    return 0


def install_filter() -> None:
    """Have the kernel stop us, and all that we start, at CALLS (struct sock_filter: code, jump if true, jump if false, k)."""
    program = struct.pack("HBBI", 0x20, 0, 0, 0)  # the call's number
    for at, number in enumerate(NUMBERS):
        program += struct.pack("HBBI", 0x15, len(NUMBERS) - at, 0, number)
    program += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000) + struct.pack("HBBI", 0x06, 0, 0, 0x7FF00000)  # RET_ALLOW, RET_TRACE
    code = ctypes.create_string_buffer(program, len(program))
    filter_program = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    if LIBC.prctl(22, 2, ctypes.c_char_p(filter_program), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def go_on(pid: int, sent: int = 0) -> None:
    """Let a stopped process run."""
    LIBC.ptrace(CONT, pid, None, sent)


def kill(pids: set[int]) -> None:
    """End them all, and see that they are gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    while True:
        try:
            os.waitpid(-1, WALL)
        except ChildProcessError:
            return


def change(pid: int) -> str:
    """Words for what a stopped process is about to change, "" where it is nothing that stays."""
    info = ctypes.create_string_buffer(88)
    LIBC.ptrace(SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    number, *arguments = struct.unpack_from("7Q", info.raw, 24)
    name = NUMBERS[number]
    flags = {"open": 1, "openat": 2}.get(name)
    if flags is not None and not arguments[flags] & os.O_CREAT:
        return ""
    if name in BY_DESCRIPTOR:
        target = os.readlink("/proc/%d/fd/%d" % (pid, arguments[0] & 0xFFFFFFFF)) if os.path.lexists(
            "/proc/%d/fd/%d" % (pid, arguments[0] & 0xFFFFFFFF)) else ""
        kept = target.startswith("/") and not target.startswith(("/memfd:", "/dev/", "/proc/")) and not target.endswith(".lock")
        return "%s %s" % (name, target) if kept else ""
    path = text_at(pid, arguments[PATHS[name]]) if name in PATHS else ""
    if path.endswith(".lock"):
        return ""  # it means nothing but by its holder, who is gone then
    if path.startswith("/") and os.path.lexists(path) == name.startswith("mkdir") and name.startswith(("mkdir", "unlink", "rmdir")):
        return ""  # it is there already, or not at all
    return "%s %s" % (name, path)


def program_of(pid: int) -> str:
    """The bare name of what a process runs."""
    with open("/proc/%d/comm" % pid) as file:
        return file.read().strip()


def text_at(pid: int, address: int) -> str:
    """The string that an argument points to."""
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
        memory.seek(address)
        try:
            return memory.read(4096).split(b"\0")[0].decode(errors="replace")
        except OSError:  # the page behind it is not mapped
            memory.seek(address)
            return memory.read(4096 - address % 4096).split(b"\0")[0].decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
