from __future__ import annotations

import os
import time

import pytest

from cjc_agent.tools import processes
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.lock import Busy, Lock
from unit.helpers import wait_until

HOLD = """
import os
from cjc_agent.tools.lock import Lock
from cjc_agent.tools.deadline import Deadline
Lock(sys.argv[1]).take(sys.argv[2], Deadline(5))
if len(sys.argv) > 3:
    if os.fork() == 0:  # a child that outlives the holder, as a daemon would
        with open(sys.argv[3], "w") as file:
            file.write("%d\\n" % os.getpid())
        import time
        time.sleep(60)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(state_folder):
    return str(state_folder / "cjc-a.lock")


@pytest.fixture
def lock(path):
    made = Lock(path)
    yield made
    made.release()


def test_free(lock, path):
    lock.take("start", Deadline(1))
    with open(path) as file:
        pid, what, when = file.read().split()
    assert (pid, what) == (str(os.getpid()), "start") and abs(time.time() - int(when)) < 5
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_the_second_waits_and_is_told_who_holds_it(lock, path, start_python):
    holder = start_python(HOLD, path, "stop")
    began = time.monotonic()
    with pytest.raises(Busy, match=r"stop \(pid %d\) works on this site" % holder.pid):
        lock.take("start", Deadline(0.3))
    assert 0.3 <= time.monotonic() - began < 2
    assert lock._descriptor == -1, "nothing stays open"


def test_an_expired_deadline_still_tries_once(lock, path, start_python):
    lock.take("start", Deadline(0))
    lock.release()
    start_python(HOLD, path, "stop")
    with pytest.raises(Busy):
        lock.take("start", Deadline(0))


def test_the_second_gets_it_when_the_first_ends(lock, path, start_python):
    holder = start_python(HOLD, path, "stop")
    holder.stdin.close()
    lock.take("start", Deadline(10))
    with open(path) as file:
        assert file.read().split()[:2] == [str(os.getpid()), "start"]


def test_kill_9_frees_it(lock, path, start_python):
    holder = start_python(HOLD, path, "stop")
    holder.kill()
    lock.take("start", Deadline(10))


def test_a_child_that_outlives_the_holder_does_not_keep_it(lock, path, start_python, tmp_path, end_later):
    note = tmp_path / "pid"
    holder = start_python(HOLD, path, "stop", str(note))
    pid = int(wait_until(lambda: note.exists() and note.read_text().endswith("\n") and note.read_text(), "the child"))
    end_later(pid)
    holder.kill()
    holder.wait()
    lock.take("start", Deadline(5))
    assert processes.read(pid) is not None, "else this test proves nothing"


def test_is_held(lock, path, start_python, state_folder):
    assert lock.is_held() is False and os.listdir(state_folder) == [], "it is only looked at"
    holder = start_python(HOLD, path, "stop")
    assert lock.is_held() is True and lock.is_held() is True
    with open(path) as file:
        assert file.read().split()[:2] == [str(holder.pid), "stop"]
    holder.kill()
    holder.wait()
    assert lock.is_held() is False and os.path.exists(path)
    lock.take("start", Deadline(1))


def test_is_held_by_somebody_who_has_not_written_yet(lock, path, start_python):
    start_python(HOLD, path, "stop")
    os.truncate(path, 0)
    assert lock.is_held() is True


def test_the_holder_says_who_what_and_since_when(lock, path, start_python):
    assert lock.holder() is None and lock.signature() == b""
    child = start_python(HOLD, path, "stop")
    holder = lock.holder()
    assert (holder.pid, holder.what) == (child.pid, "stop") and 0 <= holder.seconds < 30
    wait_until(lambda: lock.holder().seconds > holder.seconds)
    os.truncate(path, 0)
    assert (lock.holder().pid, lock.holder().what) == (child.pid, ""), "who has not written yet"
    os.truncate(path, 0)
    with open(path, "w") as file:
        file.write("1 start 5\n")
    assert (lock.holder().pid, lock.holder().what) == (child.pid, ""), "what somebody else has left says nothing of this one"


def test_the_age_of_a_holder_is_its_process_s_and_no_clock_s(lock, path, start_python):
    child = start_python(HOLD, path, "start")
    with open(path, "w") as file:
        file.write("%d start 5\n" % child.pid)  # the clock was set since
    assert lock.holder().what == "start" and lock.holder().seconds < 30


def test_the_signature_tells_one_taking_from_the_next(lock, path, start_python):
    lock.take("start", Deadline(1))
    lock.release()
    before = lock.signature()
    assert lock.holder() is None and before.split()[:2] == [b"%d" % os.getpid(), b"start"]
    start_python(HOLD, path, "stop")
    assert lock.signature() != before


def test_is_held_takes_nothing(lock, path, start_python):
    lock.take("start", Deadline(1))
    lock.release()
    assert lock.is_held() is False
    start_python(HOLD, path, "stop")  # would wait 5 s and fail if it were not free


@pytest.mark.parametrize("make", [lambda path: os.symlink("/etc/passwd", path), os.mkdir, os.mkfifo])
def test_what_is_no_lock_file_is_held_by_nobody(lock, path, make):
    make(path)
    assert lock.is_held() is False and lock.signature() == b""
    assert Lock(path + "/none/x.lock").is_held() is False


def test_release_and_again(lock, path, start_python):
    lock.take("start", Deadline(1))
    lock.release()
    lock.release()
    start_python(HOLD, path, "stop")  # would wait 5 s and fail if it were not free


def test_words_of_a_holder_who_has_not_written_yet(lock, path, start_python):
    start_python(HOLD, path, "stop")
    os.truncate(path, 0)
    with pytest.raises(Busy, match="another action works on this site"):
        lock.take("start", Deadline(0))


def test_a_symbolic_link_is_refused_and_its_target_untouched(lock, path, tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    os.symlink(target, path)
    with pytest.raises(OSError):
        lock.take("start", Deadline(1))
    assert target.read_text() == "precious"


def test_a_hard_link_is_refused(lock, path, tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    os.link(target, path)
    with pytest.raises(OSError, match="has 2 hard links"):
        lock.take("start", Deadline(1))
    assert target.read_text() == "precious" and lock._descriptor == -1


def test_a_fifo_and_a_folder_are_refused(lock, path):
    os.mkfifo(path)
    with pytest.raises(OSError):
        lock.take("start", Deadline(1))
    os.unlink(path)
    os.mkdir(path)
    with pytest.raises(OSError):
        lock.take("start", Deadline(1))


@pytest.mark.root
def test_somebody_elses_file_is_refused(lock, path):
    open(path, "w").close()
    os.chown(path, 65534, 65534)
    with pytest.raises(OSError, match="owned by uid 65534"):
        lock.take("start", Deadline(1))


def test_a_lock_that_others_may_take_is_refused(lock, path):
    open(path, "w").close()
    os.chmod(path, 0o620)
    with pytest.raises(OSError, match="writable by others"):
        lock.take("start", Deadline(1))


def test_a_folder_that_others_may_change_is_refused(lock, path, state_folder):
    """Who can rename the lock away lets two starts in at once."""
    state_folder.chmod(0o777)
    with pytest.raises(OSError, match="writable by others") as caught:
        lock.take("start", Deadline(1))
    assert caught.value.filename == str(state_folder) and not os.path.exists(path)


def test_the_folder_is_made(tmp_path):
    lock = Lock(str(tmp_path / "new" / "x.lock"))
    lock.take("start", Deadline(1))
    lock.release()


def test_a_full_state_folder_takes_nothing_from_the_lock(tmp_path, monkeypatch):
    """Who has it cannot be written then; that somebody has it is known all the same."""
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "pwrite", full)
    lock = Lock(str(tmp_path / "x.lock"))
    lock.take("start", Deadline(1))
    pid = os.fork()
    if not pid:
        os._exit(0 if Lock(str(tmp_path / "x.lock")).is_held() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    lock.release()
