from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time

import pytest

from cjc_agent.tools import command, processes, statefile
from cjc_agent.tools.command import EXITED, SIGNALLED, STUCK, TIMED_OUT, UNSTARTED, Result, Runner
from cjc_agent.tools.deadline import Deadline
from unit.helpers import PATIENCE, as_nobody, read_when_whole, wait_until

PYTHON = sys.executable

SLOW = 10.0  # seconds in which even a busy machine has seen that half a second is over


@pytest.fixture
def shell(runner):
    """Run a shell script through the runner."""
    def _shell(script, *arguments, seconds=PATIENCE, **more):
        return runner.run("script", ["/bin/sh"], ["-c", script, "sh", *(str(word) for word in arguments)], Deadline(seconds), **more)
    return _shell


# -- how it ended ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 7, 125, 126, 127, 128, 143, 255])
def test_exit_codes(shell, code):
    result = shell("exit %d" % code)
    assert (result.outcome, result.code, result.exit_code, result.ok) == (EXITED, code, code, code == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_signals_are_no_exit_codes(shell, number):
    result = shell("kill -%d $$" % number)
    assert (result.outcome, result.code, result.exit_code, result.ok) == (SIGNALLED, number, None, False)


def test_timeout_kills_the_whole_group(shell, tmp_path, end_later):
    note = tmp_path / "pids"
    began = time.monotonic()
    result = shell('trap "" TERM; sleep 60 & echo $! $$ >"$1"; wait', note, seconds=0.4)
    assert 0.4 <= time.monotonic() - began < SLOW
    assert (result.outcome, result.exit_code, result.ok) == (TIMED_OUT, None, False)
    for pid in (int(word) for word in read_when_whole(note).split()):
        end_later(pid)
        wait_until(lambda: (processes.read(pid) or _Gone).dead, "the end of %d" % pid)  # noqa: B023


class _Gone:
    dead = True


def test_an_expired_deadline_still_starts_and_ends_the_command(shell):
    assert shell("sleep 60", seconds=0).outcome == TIMED_OUT


def test_without_pidfd(shell, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)  # RHEL 8's kernel
    assert shell("exit 5").exit_code == 5
    assert shell("sleep 60", seconds=0.1).outcome == TIMED_OUT


def test_no_zombie_stays_behind(shell):
    shell("exit 0")
    shell("sleep 60", seconds=0.1)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_interrupt_ends_the_child(runner, monkeypatch, tmp_path):
    """Ctrl-C and SIGTERM raise in the middle of a wait: nothing may stay behind."""
    def interrupt(number, frame):
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            runner.run("script", ["/bin/sh"], ["-c", "echo $$ >'%s/pid'; exec sleep 60" % tmp_path], Deadline(PATIENCE))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert processes.read(int(read_when_whole(tmp_path / "pid"))) is None


def test_a_fork_that_fails_is_an_answer(runner, mocker):
    mocker.patch.object(os, "fork", side_effect=BlockingIOError(11, "Resource temporarily unavailable"))
    result = runner.run("x", ["/bin/true"], [], Deadline(1))
    assert (result.outcome, result.exit_code, result.ok) == (UNSTARTED, None, False)
    assert "Resource temporarily unavailable" in result.words()


@pytest.mark.parametrize("result, words", [
    (Result("cjcpw status", EXITED, 3, "first\nsite is down\n"), "cjcpw status exited 3: site is down"),
    (Result("cjcpw status", EXITED, 3, ""), "cjcpw status exited 3"),
    (Result("umount", SIGNALLED, 11), "umount was ended by signal 11"),
    (Result("umount", TIMED_OUT, -1, "", 2.04), "umount did not end within 2.0 s"),
    (Result("umount", STUCK, 4711), "umount hangs despite SIGKILL (pid 4711)"),
])
def test_words(result, words):
    assert result.words() == words


# -- output ------------------------------------------------------------------------------------------------------------------------------


def test_output_is_both_streams_in_order(shell):
    assert shell("echo one; echo two >&2; echo three").output == "one\ntwo\nthree\n"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8191, 8192])
def test_small_output_is_kept_whole(runner, size):
    data = ("0123456789" * 1000)[:size]
    result = runner.run("python", [PYTHON], ["-I", "-S", "-c", "import sys; sys.stdout.write(('0123456789' * 1000)[:int(sys.argv[1])])", str(size)],
                        Deadline(PATIENCE))
    assert result.output == data


def test_of_large_output_the_first_and_the_last_bytes_are_kept(shell):
    result = shell("echo first; seq 1 200000; echo last")
    assert result.output.startswith("first\n1\n2\n") and result.output.endswith("\n200000\nlast\n")
    assert "\n[...]\n" in result.output and len(result.output) < 3 * command.SHOWN_OUTPUT


def test_invalid_utf8_is_replaced(shell):
    assert shell(r"printf 'a\377\376b'").output == "a\ufffd\ufffdb"


def test_eucjp_words_do_not_break_anything(shell):
    assert shell(r"printf '\306\374\313\334\n'; exit 4").exit_code == 4


def test_100_megabytes_are_bounded_and_the_code_is_kept(shell):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = shell("head -c 104857600 /dev/zero | tr '\\0' x 2>/dev/null; exit 7")
    assert (result.outcome, result.code) == (EXITED, 7)
    assert len(result.output) < 3 * command.SHOWN_OUTPUT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10, "kilobytes: the output is not ours to keep"


WRITER = """
import os, sys, time
largest = 0
for _ in range(640):
    os.write(1, b"x" * 65536)
    largest = max(largest, os.fstat(1).st_blocks * 512)
    time.sleep(0.0005)
while os.fstat(1).st_blocks * 512 > 1 << 20:  # until it was cut once more: what is written now stays
    time.sleep(0.001)
os.write(1, b"the end")
with open(sys.argv[1], "w") as file:
    file.write("%d\\n" % largest)
sys.exit(9)
"""


def test_the_memory_file_takes_no_more_than_its_limit_and_no_write_fails(runner, tmp_path, monkeypatch):
    """An error in writing would change the exit code of a chatty status."""
    monkeypatch.setattr(command, "LARGEST_OUTPUT", 1 << 20)
    result = runner.run("writer", [PYTHON], ["-I", "-S", "-c", WRITER, str(tmp_path / "largest")], Deadline(PATIENCE))
    assert (result.outcome, result.code) == (EXITED, 9) and result.output.endswith("the end")
    assert len(result.output) < 3 * command.SHOWN_OUTPUT
    assert 1 << 20 <= int((tmp_path / "largest").read_text()) < 32 << 20, "a WATCH interval's worth above the limit at most"


def test_yes_ends_at_the_deadline(runner):
    result = runner.run("yes", ["/usr/bin/yes"], [], Deadline(0.5))
    assert result.outcome == TIMED_OUT and result.seconds < SLOW
    assert result.output.endswith("y\n")


def test_who_prints_on_ends_at_the_deadline(shell):
    result = shell("while :; do head -c 1000000 /dev/zero; done", seconds=0.5)
    assert result.outcome == TIMED_OUT and 0.5 <= result.seconds < SLOW


DAEMON = """
import os, sys, time
print("from the daemon", flush=True)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
folder = sys.argv[1]
with open(folder + "/pid", "w") as file:
    file.write("%d\\n" % os.getpid())
while not os.path.exists(folder + "/go"):
    time.sleep(0.005)
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    answer = "wrote %d" % os.write(1, b"late words")
except OSError as error:
    answer = error.strerror
with open(folder + "/after", "w") as file:
    file.write(answer + "\\n")
time.sleep(60)
"""


def test_a_daemon_that_keeps_its_output_open_neither_delays_us_nor_dies_of_it(runner, tmp_path, end_later):
    began = time.monotonic()
    result = runner.run("daemon", [PYTHON], ["-I", "-S", "-c", DAEMON, str(tmp_path)], Deadline(PATIENCE))
    assert result.ok and result.output == "from the daemon\n" and time.monotonic() - began < PATIENCE / 2
    pid = int(read_when_whole(tmp_path / "pid"))
    end_later(pid)
    (tmp_path / "go").touch()
    assert read_when_whole(tmp_path / "after") == "Operation not permitted\n"  # F_SEAL_WRITE: EPERM, no SIGPIPE
    assert processes.read(pid).state in "SRD"


SEALER = """
import fcntl, os
os.write(1, b"sealed\\n")
fcntl.fcntl(1, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
os._exit(3)
"""


def test_a_command_that_seals_its_output_is_believed_all_the_same(runner):
    result = runner.run("sealer", [PYTHON], ["-I", "-S", "-c", SEALER], Deadline(PATIENCE))
    assert (result.exit_code, result.output) == (3, "sealed\n")


MAPPER = """
import mmap, os, sys, time
os.ftruncate(1, 4096)
kept = mmap.mmap(1, 4096)
if os.fork():
    os._exit(0)
with open(sys.argv[1], "w") as file:
    file.write("%d\\n" % os.getpid())
time.sleep(60)
"""


def test_a_daemon_that_maps_its_output_is_no_reason_to_fail(runner, tmp_path, end_later):
    try:
        result = runner.run("mapper", [PYTHON], ["-I", "-S", "-c", MAPPER, str(tmp_path / "pid")], Deadline(PATIENCE))
    finally:
        end_later(int(read_when_whole(tmp_path / "pid")))
    assert result.ok


# -- which program -----------------------------------------------------------------------------------------------------------------------


def script_at(path, text="exit 0", mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n%s\n" % text)
    path.chmod(mode)
    return str(path)


def test_no_such_program_is_127_and_says_where_it_was_looked_for(runner, tmp_path):
    tried = [str(tmp_path / "a" / "cjcpw"), str(tmp_path / "b" / "cjcpw")]
    result = runner.run("cjcpw", tried, [], Deadline(PATIENCE))
    assert (result.outcome, result.code) == (EXITED, 127)
    assert result.output == "%s, %s: no such command, or its interpreter is missing\n" % tuple(tried)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_not_executable_is_126_and_names_it(runner, tmp_path, mode):
    path = script_at(tmp_path / "cjcpw", mode=mode)
    result = runner.run("cjcpw", [path, "/bin/true"], [], Deadline(PATIENCE))
    assert (result.outcome, result.code) == (EXITED, 126)
    assert result.output == "%s: cannot be executed: Permission denied\n" % path


def test_no_program_format_is_126(runner, tmp_path):
    path = tmp_path / "cjcpw"
    path.write_bytes(b"\x01\x02\x03\x04")
    path.chmod(0o755)
    assert runner.run("cjcpw", [str(path)], [], Deadline(PATIENCE)).exit_code == 126


def test_the_first_that_exists_is_taken(runner, tmp_path):
    (tmp_path / "file").touch()
    second, third = script_at(tmp_path / "second" / "cjcpw", "exit 2"), script_at(tmp_path / "third" / "cjcpw", "exit 3")
    candidates = [str(tmp_path / "none" / "cjcpw"), str(tmp_path / "file" / "cjcpw"), second, third]  # ENOENT, ENOTDIR, there, there
    assert runner.run("cjcpw", candidates, [], Deadline(PATIENCE)).exit_code == 2


def test_arguments_reach_the_program_untouched(runner):
    words = ["", " ", "a b", "$HOME", "`id`", "*", "-n", "日本", "\udce9", "new\nline"]
    code = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(os.fsencode(word) for word in sys.argv[1:]).hex().encode())"
    result = runner.run("python", [PYTHON], ["-I", "-S", "-X", "utf8", "-c", code, *words], Deadline(PATIENCE))
    assert bytes.fromhex(result.output).split(b"\0") == [os.fsencode(word) for word in words]


def test_tool_ignores_the_callers_path(runner, tmp_path, monkeypatch):
    script_at(tmp_path / "true", "exit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runner.tool(["true"], Deadline(PATIENCE)).ok


@pytest.mark.parametrize("name, paths", [
    ("/opt/cjcpw", ["/opt/cjcpw"]),
    ("cjcpw", ["/n/cjcpw", "/n/cluster/cjcpw", "/usr/sbin/cjcpw", "/usr/bin/cjcpw", "/sbin/cjcpw", "/bin/cjcpw"]),
])
def test_resolve(name, paths):
    assert command.resolve(name, ["/n", "/n/cluster"]) == paths


# -- what the child is -------------------------------------------------------------------------------------------------------------------


def test_the_environment_is_exactly_the_one_given(runner, monkeypatch):
    monkeypatch.setenv("NQS_SITE", "leak")
    result = runner.run("env", ["/usr/bin/env"], [], Deadline(PATIENCE), {"NQS_SITE": "jobsiteA", "X": "1 2"})
    assert sorted(result.output.splitlines()) == ["NQS_SITE=jobsiteA", "X=1 2"]


def test_tools_get_a_fixed_environment(runner, monkeypatch):
    monkeypatch.setenv("NQS_SITE", "leak")
    monkeypatch.setenv("LANG", "ja_JP.eucJP")
    result = runner.tool(["env"], Deadline(PATIENCE))
    assert sorted(result.output.splitlines()) == ["LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


def test_folder_umask_and_input(shell, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        assert shell("pwd -P; umask; readlink /proc/self/fd/0; read x || echo end").output.split() == ["/", "0022", "/dev/null", "end"]
    finally:
        os.umask(before)


def test_it_leads_a_session_of_its_own_without_a_terminal(shell):
    pid, session, tty = shell("set -- $(cat /proc/$$/stat); echo $1 $6 $7").output.split()
    assert pid == session and tty == "0"


def test_no_descriptor_is_inherited(shell):
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        assert shell("ls /proc/self/fd").output.split() == ["0", "1", "2", "3"], "3 is ls looking at the folder"
    finally:
        os.close(descriptor)


def test_input_is_never_the_callers(shell):
    reading, writing = os.pipe()
    saved = os.dup(0)
    try:
        os.write(writing, b"words for the caller\n")
        os.dup2(reading, 0)
        assert shell("readlink /proc/self/fd/0; read x || echo end").output.split() == ["/dev/null", "end"]
    finally:
        os.dup2(saved, 0)
        for descriptor in (saved, reading, writing):
            os.close(descriptor)


def test_signals_are_as_a_fresh_process_has_them(runner):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, "Python's own: else this test proves nothing"
        # not through a shell: dash clears the mask by itself
        words = runner.tool(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"], Deadline(PATIENCE)).output.split()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        signal.signal(signal.SIGUSR1, before)
    sets = dict(zip(words[::2], words[1::2]))
    assert int(sets["SigBlk:"], 16) == 0
    assert int(sets["SigIgn:"], 16) & 0x7FFFFFFF == 0


@pytest.mark.root
def test_user_is_taken_for_good(shell, request):
    before = os.getgroups()
    request.addfinalizer(lambda: os.setgroups(before))
    os.setgroups([4242])
    result = shell("grep -E '^(Uid|Gid|Groups|CapEff):' /proc/self/status; echo $HOME $USER $LOGNAME $NQS_SITE",
                   user="nobody", environment={"PATH": command.PATH, "NQS_SITE": "a"})
    import pwd
    entry = pwd.getpwnam("nobody")
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0][1:] == [str(entry.pw_uid)] * 4 and lines[1][1:] == [str(entry.pw_gid)] * 4
    assert [int(word) for word in lines[2][1:]] in ([], [entry.pw_gid])
    assert int(lines[3][1], 16) == 0
    assert lines[4] == [entry.pw_dir, "nobody", "nobody", "a"]


@pytest.mark.parametrize("user", ["no-such-user", "12345678"])
def test_an_unknown_user_is_126(shell, user):
    result = shell("exit 0", user=user)
    assert result.exit_code == 126 and user in result.output


def test_nobody_without_root_becomes_somebody_else(shell):
    as_nobody(lambda: shell("exit 0", user="daemon").exit_code == 126)


@pytest.mark.root
def test_home_from_environment_wins_for_another_user_too(runner):
    """design: HOME USER LOGNAME of `user`, then `environment`; child_environment lets `environment` win for root."""
    result = runner.run("env", ["/usr/bin/env"], [], Deadline(PATIENCE), {"HOME": "/from/environment"}, "nobody")
    assert sorted(result.output.split()) == ["HOME=/from/environment", "LOGNAME=nobody", "USER=nobody"]


def test_spawn_returns_at_once_and_writes_where_it_is_told(runner, tmp_path, end_later):
    output = os.open(str(tmp_path / "out"), os.O_WRONLY | os.O_CREAT, 0o600)
    began = time.monotonic()
    pid = runner.spawn("resident", ["/bin/sh"], ["-c", "echo $NQS_SITE; exec sleep 60"], {"NQS_SITE": "jobsiteA", "PATH": command.PATH}, "", output)
    end_later(pid)
    os.close(output)
    assert time.monotonic() - began < SLOW
    assert read_when_whole(tmp_path / "out") == "jobsiteA\n"
    assert processes.read(pid).session == pid


# -- calls -------------------------------------------------------------------------------------------------------------------------------


def test_call_hands_the_text_back(runner):
    result = runner.call("look", lambda: "日本 \udce9", Deadline(PATIENCE))
    assert result.ok and result.output == "日本 \ufffd"


@pytest.mark.root
def test_call_as_another_user(runner, tmp_path):
    import pwd
    nobody = pwd.getpwnam("nobody")
    text = runner.call("look", lambda: "%s %s %s" % (os.getresuid(), os.getresgid(), os.getgroups()), Deadline(PATIENCE), "nobody").output
    assert text == "%s %s %s" % ((nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3, [nobody.pw_gid])
    assert runner.call("look", lambda: str(os.getuid()), Deadline(PATIENCE), "root").output == "0"
    (tmp_path / "private").mkdir(mode=0o700)
    assert runner.call("look", lambda: str(os.listdir(tmp_path / "private")), Deadline(PATIENCE), "nobody").output.startswith("EACCES ")


def test_call_as_a_user_that_is_not_known(runner):
    result = runner.call("look", lambda: "never", Deadline(PATIENCE), "no-such-user")
    assert result.exit_code == 126 and "no-such-user" in result.output and "never" not in result.output


def test_call_runs_in_a_child(runner):
    assert int(runner.call("pid", lambda: str(os.getpid()), Deadline(PATIENCE)).output) != os.getpid()


def test_call_tells_an_os_error_with_errno_first(runner, tmp_path):
    result = runner.call("look", lambda: str(os.listdir(tmp_path / "none")), Deadline(PATIENCE))
    assert (result.exit_code, result.output) == (1, "ENOENT No such file or directory: %s" % (tmp_path / "none"))


def test_call_survives_any_exception(runner):
    result = runner.call("look", lambda: str(1 // 0), Deadline(PATIENCE))
    assert result.exit_code not in (0, None)


def test_call_is_bounded(runner):
    result = runner.call("look", lambda: time.sleep(60) or "", Deadline(0.2))
    assert result.outcome == TIMED_OUT and 0.2 <= result.seconds < SLOW


@pytest.mark.parametrize("descriptor", [1, 2])
def test_call_does_not_hold_what_our_caller_waits_on(runner, descriptor):
    """An abandoned call lives on: with our stdout in its hands, whoever reads our output through a pipe waits as long as it does."""
    ours = os.fstat(descriptor)
    text = runner.call("look", lambda: "%d %d" % (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino), Deadline(PATIENCE)).output
    assert text != "%d %d" % (ours.st_dev, ours.st_ino)


# -- one function for many items ---------------------------------------------------------------------------------------------------------


def test_each_hands_every_text_back_in_order(runner):
    items = [700, 3, 900, 5]
    found = runner.each("look", items, lambda item: "%d 日本 \udce9" % item if item != 5 else "", Deadline(PATIENCE))
    assert list(found) == items and found == {700: "700 日本 ?", 3: "3 日本 ?", 900: "900 日本 ?", 5: ""}


def test_each_runs_in_one_child(runner):
    pids = set(runner.each("look", list(range(2000)), lambda item: str(os.getpid()), Deadline(PATIENCE)).values())
    assert len(pids) == 1 and pids != {str(os.getpid())}


def test_each_of_nothing(runner):
    assert runner.each("look", [], lambda item: "x", Deadline(PATIENCE)) == {} == runner.each("look", [], lambda item: "x", Deadline(0))


def test_each_with_more_text_than_a_run_keeps(runner):
    items = list(range(20))
    assert runner.each("look", items, lambda item: "%d" % item * 4096, Deadline(PATIENCE)) == {item: "%d" % item * 4096 for item in items}


def test_each_leaves_out_only_where_it_hangs_and_asks_twice(runner, tmp_path):
    """Item 3 hangs always; item 7 did once, on a busy machine."""
    def look(item):
        asked = tmp_path / str(item)
        if item == 3 or (item == 7 and not asked.exists()):
            asked.touch()
            time.sleep(60)
        return "text of %d" % item
    began = time.monotonic()
    found = runner.each("look", [5, 3, 9, 7, 8], look, Deadline(PATIENCE))
    assert list(found.items()) == [(5, "text of 5"), (3, None), (9, "text of 9"), (7, "text of 7"), (8, "text of 8")]
    assert time.monotonic() - began < 8
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_each_leaves_out_only_where_the_child_dies(runner):
    def look(item):
        if item == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return str(100 // (item - 5))
    assert runner.each("look", [6, 5, 7, 3, 15], look, Deadline(PATIENCE)) == {6: "100", 5: None, 7: "50", 3: None, 15: "10"}


@pytest.mark.parametrize("where", ["_memory_file", "_fork"])
def test_each_without_a_child_is_done_here(runner, mocker, where):
    mocker.patch.object(command, where, side_effect=BlockingIOError(11, "Resource temporarily unavailable"))
    assert runner.each("look", [4, 2], lambda item: "%d %d" % (item, os.getpid()), Deadline(PATIENCE)) == {
        4: "4 %d" % os.getpid(), 2: "2 %d" % os.getpid()}


def test_each_without_time_for_all_is_no_answer(runner):
    for hangs_at, seconds in ((1, 0), (1, 0.2), (2, 0.2), (3, 0.2)):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            runner.each("look", [1, 2, 3], lambda item: time.sleep(60) or "" if item == hangs_at else "", Deadline(seconds))  # noqa: B023
        assert time.monotonic() - began < seconds + 1


def test_each_asks_for_the_rest_when_the_patience_ends_between_two_items(runner, mocker):
    answers = [Result("look", TIMED_OUT, -1, "1 a\n2 b\n", 2.0), Result("look", EXITED, 0, "3 c\n", 0.1)]
    mocker.patch.object(runner, "_bounded", side_effect=answers)
    assert runner.each("look", [1, 2, 3], lambda item: "", Deadline(PATIENCE)) == {1: "a", 2: "b", 3: "c"}


# -- what nothing can end ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def unkillable(monkeypatch):
    monkeypatch.setattr(command, "_kill", lambda pid: None)
    monkeypatch.setattr(command, "KILL_GRACE", 0.05)


def hang(runner, name, seconds=0.1):
    return runner.run(name, ["/bin/sleep"], ["60"], Deadline(seconds))


def test_an_abandoned_child_is_noted_and_not_piled_up(runner, unkillable, end_later, mocker, state_folder):
    first = hang(runner, "umount /share")
    end_later(first.code)
    assert (first.outcome, first.exit_code, first.ok) == (STUCK, None, False)
    process = processes.read(first.code)
    note = state_folder / "cjc-unit.abandoned"
    assert note.read_text() == "%d %d umount /share\n" % process.identity
    assert note.stat().st_mode & 0o777 == 0o600

    fork = mocker.spy(os, "fork")
    again = Runner(str(state_folder), "cjc-unit", lambda text: None).call("umount /share", lambda: "", Deadline(PATIENCE))
    assert (again.outcome, again.code, again.exit_code, again.ok) == (STUCK, first.code, None, False)
    assert "still there from an earlier call" in again.words()
    assert fork.call_count == 0, "a second one must not be piled up"

    assert runner.call("something else", lambda: "fine", Deadline(PATIENCE)).output == "fine"

    os.kill(first.code, signal.SIGKILL)
    wait_until(lambda: processes.read(first.code).dead, "the child to be a zombie")
    assert runner.call("umount /share", lambda: "again", Deadline(PATIENCE)).output == "again", "a zombie waits for nothing"


def test_a_name_with_a_newline_is_remembered_and_forges_no_other(runner, unkillable, end_later):
    """A mount point may have any character."""
    name = "thaw /share/x\n%d %d look" % processes.read(os.getpid()).identity
    first = hang(runner, name)
    end_later(first.code)
    assert hang(runner, name, PATIENCE).code == first.code
    assert runner.call("look", lambda: "fine", Deadline(PATIENCE)).ok


def test_a_namesake_of_an_abandoned_child_counts_for_nothing(runner, state_folder, sleeper):
    process = sleeper()
    statefile.write(str(state_folder / "cjc-unit.abandoned"), b"%d %d look\n" % (process.pid, process.start + 1))
    assert runner.call("look", lambda: "fine", Deadline(PATIENCE)).ok


def test_several_abandoned_children_are_all_remembered(runner, unkillable, end_later, state_folder):
    pids = [hang(runner, name).code for name in ("one", "two", "three")]
    for pid in pids:
        end_later(pid)
    assert [hang(runner, name, PATIENCE).code for name in ("one", "two", "three")] == pids


@pytest.mark.parametrize("note", [b"", b"\n", b"garbage", b"1 2", b"x y look\n", b"\xff\xfe\n", b"-1 5 look\n", b"99999999999999999999 1 look\n",
                                  "\u00b2 1 look\n".encode(), b"1 " + b"9" * 5000 + b" look\n"])
def test_a_torn_note_is_ignored(runner, state_folder, note):
    statefile.write(str(state_folder / "cjc-unit.abandoned"), note)
    assert runner.call("look", lambda: "fine", Deadline(PATIENCE)).ok


def test_a_note_that_cannot_be_written_is_only_traced(unkillable, end_later, tmp_path):
    (tmp_path / "file").touch()
    said = []
    result = hang(Runner(str(tmp_path / "file" / "state"), "cjc", said.append), "x")
    end_later(result.code)
    assert result.outcome == STUCK
    assert any("cannot note" in line for line in said)


def test_every_run_is_traced_with_its_end(tmp_path):
    said = []
    Runner(str(tmp_path), "cjc", said.append).run("cjcpw status", ["/bin/sh"], ["-c", "exit 3"], Deadline(PATIENCE))
    assert said[0] == "run cjcpw status: /bin/sh -c exit 3" and said[1].strip().startswith("cjcpw status exited 3 (0.")


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_each_whose_child_lacks_something_is_no_answer(runner, error):
    """It says nothing about the process that was looked at: that one must not count as gone."""
    def look(item):
        if item == 3:
            raise error
        return ""
    with pytest.raises(TimeoutError, match="free processes, descriptors or memory"):
        runner.each("look", [5, 3, 9], look, Deadline(PATIENCE))


def test_each_whose_child_is_killed_for_want_of_memory_is_no_answer(runner):
    with pytest.raises(TimeoutError, match="signal 9"):
        runner.each("look", [5, 3], lambda item: os.kill(os.getpid(), signal.SIGKILL) or "", Deadline(PATIENCE))


def test_a_child_whose_agent_was_killed_becomes_nothing(tmp_path):
    """It would start what the cluster has stopped since, and nobody would know of it."""
    mark = tmp_path / "mark"
    for parent, code in ((os.getpid(), 0), (1, command.CANNOT_RUN)):
        pid = os.fork()
        if not pid:
            command._execute(["/usr/bin/touch"], [str(mark)], {}, "", [], parent)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
        assert mark.exists() is (code == 0)
        mark.unlink(missing_ok=True)
