"""`cjc-agent conf` on a node: the three files as they lie there, on a real disk, and everything that may happen to an edit."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab.killing import each_step, tree
from lab.site import NQS_HOME, NQS_SPOOL, Answer, Site, answer_of, wait_until

COMMAND = "/usr/sbin/cjc-agent"
COMMON, LOCAL = pathlib.Path(NQS_HOME, "rc/daemon.conf"), pathlib.Path(NQS_SPOOL, "daemon.conf")
TEMPORARY = ".daemon.conf.cjc-agent-new"


class Here:
    """A site of the simulator on a mounted disk, which does not run, and how `cjc-agent conf` is called for it."""

    def __init__(self, site: Site, folder: pathlib.Path) -> None:
        self.site, self.file = site, folder / "site.conf"
        self.file.write_text(site.configuration())
        self.files = {"common": COMMON, "local": LOCAL, "site": site.site_db / "nqs/daemon.conf"}
        self.environment = {"PATH": os.environ["PATH"], "HA_RSCTMP": str(site.state)}

    def command(self, *words: str) -> list[str]:
        """The words of a call."""
        return [COMMAND, "conf", words[0], "--conf", str(self.file), *words[1:]]

    def call(self, *words: str) -> Answer:
        """Call it; nothing that it says can move a terminal's cursor."""
        answer = answer_of(self.command(*words), self.environment)
        assert all(line.isprintable() for line in (answer.out + answer.said).split("\n")), answer
        assert "Traceback" not in answer.said
        return answer


@pytest.fixture
def here(site: Site, tmp_path: pathlib.Path) -> Iterator[Here]:
    """The node with the disk mounted; the files are put back afterwards."""
    before = {path: path.read_bytes() for path in (COMMON, LOCAL)}
    site.mount()
    LOCAL.write_text("# SIMULATOR\nlocal_daemon=SITE\nipaddress=10.77.9.9\n")
    yield Here(site, tmp_path)
    for path, data in before.items():
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        os.chown(path, 0, 0)
        path.chmod(0o644)


# -- what is said and written ------------------------------------------------------------------------------------------------------------


def test_show_and_get(here: Here) -> None:
    here.files["site"].write_text("# x\nipaddress=%s\nlisten_port=20817\nlisten_port=20816\nodd=1\n" % here.site.vip)
    text = here.call("show")
    assert text.code == 0 and text.said == ""
    seen = json.loads(here.call("show", "--json").out)
    told = {site: {one["key"]: one for one in seen["sites"][site]["keys"]} for site in ("site", "local")}
    assert seen["sites"]["site"]["complete"] and {one["state"] for one in seen["files"].values()} == {"there"}
    port = told["site"]["listen_port"]
    assert (port["value"], port["file"], port["line"]) == ("20816", str(here.files["site"]), 4)
    assert [(one["value"], one["file"], one["line"], one["why"]) for one in port["hides"]] == [
        ("20816", str(COMMON), 3, "the cluster site's file wins over the common one"),
        ("20817", str(here.files["site"]), 3, "the last line of a file wins")]
    assert told["site"]["odd"]["value"] == "1" and told["site"]["ipcheck"]["value"] is None and told["local"]["ipaddress"]["value"] == "10.77.9.9"
    assert "odd" not in told["local"] and "ipcheck" not in told["local"]
    for one in [*told["site"].values(), *told["local"].values()]:
        answer = here.call("get", one["key"], "--of", one["of"])
        assert (answer.code, answer.out) == ((1, "") if one["value"] is None else (0, one["value"] + "\n"))
        assert json.loads(here.call("get", one["key"], "--of", one["of"], "--json").out) == one
        assert one["file"] is None or "%s:%d" % (one["file"], one["line"]) in text.out
    assert here.call("get", "listenport").said == "cjc-agent: listenport is not set: did you mean listen_port?\n"
    assert here.call("get", "ipcheck").said == "cjc-agent: ipcheck is not set\n"


@pytest.mark.parametrize("which", ["common", "local", "site"])
def test_set(here: Here, which: str) -> None:
    path = here.files[which]
    text = "# 夜間\r\nlocal_daemon=OFF  # 停止\r\nlisten_port = 20816\t# ポート 貼\r\nlast=1"
    path.write_bytes(text.encode("cp932"))
    path.chmod(0o640)
    os.chown(path, 4711, 4712)
    words = ["set", "local_daemon=OFF", "listen_port=20817", "--in", which]
    dry = here.call(*words, "--dry-run")
    assert dry.code == 0 and path.read_bytes() == text.encode("cp932") and not here.site.state.exists()
    answer = here.call(*words)
    assert answer.code == 0 and path.read_bytes() == text.replace("20816", "20817").encode("cp932"), answer
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o7777) == (4711, 4712, 0o640)
    assert answer.out.startswith("--- %s\n+++ %s\n@@ -1,4 +1,4 @@\n # 夜間\n" % (path, path)) and answer.out.startswith(dry.out)
    assert "\n-listen_port = 20816" in answer.out and "\n+listen_port = 20817" in answer.out and "\nwritten: %s\n" % path in answer.out
    assert ("systemctl restart jobcentersv (move the cluster site" in answer.out) == (which != "site")
    assert all(word in answer.out for word in ("pcs resource restart", "crm resource restart", "clpgrp")) == (which != "local")
    again = here.call(*words)
    assert (again.code, again.out) == (0, "%s: nothing to change\n" % path)
    assert TEMPORARY not in os.listdir(path.parent)


def test_a_file_that_is_not_there_is_made(here: Here) -> None:
    LOCAL.unlink()
    answer = here.call("set", "ipaddress=10.77.9.9", "local_daemon=SITE", "--in", "local")
    assert answer.code == 0 and "--- /dev/null\n" in answer.out
    assert LOCAL.read_text() == "ipaddress=10.77.9.9\nlocal_daemon=SITE\n" and LOCAL.stat().st_mode & 0o7777 == 0o644


REFUSED = [  # key=value words, --in, what is said
    (["listen_port=x"], "common", "listen_port: 'x' is no TCP port: give a number from 1 to 65535"),
    (["listenport=1"], "common", "unknown key listenport: did you mean listen_port?"),
    (["xyzzy=1"], "", "unknown key xyzzy: known are"),
    (["listen_port=20817"], "", "in which file? listen_port can stand in several: give --in common|local|site"),
    (["ipaddress=10.77.9.9"], "common", "ipaddress does not belong in the common file: it is for --in local|site"),
    (["ipcheck=off"], "", "ipcheck: 'off' is not one of: ON, OFF"),
    (["ipcheck=OFF"], "local", "ipcheck does not belong in the local site's own file"),
    (["local_daemon=OFF", "listen_port=70000"], "local", "listen_port: '70000' is no TCP port"),
    (["listen_port"], "common", "'listen_port' is not KEY=VALUE"), (["a=1", "a=2"], "common", "a is given twice"),
    (["ipaddress=VIP"], "local", "CJC118: the local site's ipaddress contains the VIP VIP"),
    (["ipaddress=10.77.9.9, VIP"], "local", "CJC118"), (["ipaddress="], "local", "CJC119"),
    (["ipaddress=10.77.9.9"], "site", "CJC117: the cluster site's ipaddress lacks the VIP VIP"), (["ipaddress="], "site", "CJC117"),
    (["ipaddress=1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,VIP"], "site", "6 addresses given, JobCenter takes at most 5"),
]


@pytest.mark.parametrize("values, which, words", REFUSED, ids=[" ".join([*values, which]) for values, which, _ in REFUSED])
def test_refused(here: Here, values: list[str], which: str, words: str) -> None:
    values, words = [value.replace("VIP", here.site.vip) for value in values], words.replace("VIP VIP", "VIP " + here.site.vip)
    before = {name: path.read_bytes() for name, path in here.files.items()}
    answer = here.call("set", *values, *(["--in", which] if which else []))
    assert answer.code == 2 and answer.out == "" and words in answer.said and answer.said.endswith("cjc-agent: nothing was written\n"), answer
    assert {name: path.read_bytes() for name, path in here.files.items()} == before


@pytest.mark.parametrize("values, which, rule", [(["ipaddress=VIP"], "local", "CJC118"), (["ipaddress=10.77.9.9"], "site", "CJC117"),
                                                 (["listen_port=x"], "common", "CJC113"), (["xyzzy=1"], "common", ""), (["ipcheck=maybe"], "local", "")])
def test_force(here: Here, values: list[str], which: str, rule: str) -> None:
    values = [value.replace("VIP", here.site.vip) for value in values]
    answer = here.call("set", *values, "--in", which, "--force")
    assert answer.code == 0 and values[0] + "\n" in here.files[which].read_text(), answer
    assert rule in answer.said and bool(rule) == bool(answer.said)


@pytest.mark.parametrize("value", ["a=1#2", "a= 1", " a=1", "a=1\n2", "a=\x1b[2J", "=1", "a=\udcff"])
def test_what_would_not_be_read_back_is_not_even_forced(here: Here, value: str) -> None:
    before = COMMON.read_bytes()
    assert here.call("set", value, "--in", "common", "--force").code == 2
    assert COMMON.read_bytes() == before


def test_where_the_disk_is_not(here: Here) -> None:
    here.site.umount()
    answer = here.call("set", "ipcheck=ON")
    assert answer.code == 1 and "is not mounted on this node: do it on the node where the site's cluster resource is active" in answer.said
    assert os.listdir(here.site.directory) == []
    assert "NOT COMPLETE" in here.call("show").out
    answer = here.call("get", "listen_port")
    assert (answer.code, answer.out) == (1, "") and "what counts is not known here" in answer.said
    assert here.call("get", "listen_port", "--of", "local").out == "20816\n"


def test_a_wrong_parameter_is_wrong_usage(here: Here) -> None:
    answer = here.call("show", "--vip", "host")
    assert answer.code == 2 and "parameter vip" in answer.said


@pytest.mark.parametrize("make, words", [
    (lambda path: path.mkdir(), "is no plain file"), (lambda path: os.mkfifo(path), "is no plain file"),
    (lambda path: path.write_bytes(b"#" * (1 << 21)), "larger than 1048576 bytes"), (lambda path: path.symlink_to(path.name), "Too many levels"),
])
def test_what_is_no_daemon_conf(here: Here, make, words) -> None:  # type: ignore[no-untyped-def]
    LOCAL.unlink()
    make(LOCAL)
    try:
        answer = here.call("set", "local_daemon=OFF", "--in", "local")
        assert answer.code == 1 and words in answer.said, answer
        assert here.call("show").code == 0
    finally:
        (LOCAL.rmdir if LOCAL.is_dir() else LOCAL.unlink)()


def test_links(here: Here, tmp_path: pathlib.Path) -> None:
    real = tmp_path / "real"
    real.write_text(LOCAL.read_text())
    LOCAL.unlink()
    LOCAL.symlink_to(real)
    assert here.call("set", "local_daemon=OFF", "--in", "local").code == 0
    assert LOCAL.is_symlink() and "local_daemon=OFF\n" in real.read_text()
    os.link(real, tmp_path / "second")
    answer = here.call("set", "local_daemon=SITE", "--in", "local")
    assert answer.code == 1 and "has 2 hard links" in answer.said and "local_daemon=OFF\n" in real.read_text()


def test_a_file_that_would_move_the_cursor(here: Here) -> None:
    LOCAL.write_bytes(b"# \x1b]0;x\x07\x9b2J\nlocal_daemon=OFF\nipaddress=\x1b[2J\nx\xe2\x80\xae=1\n")
    assert here.call("set", "local_daemon=OFF", "listen_port=20816", "--in", "local").code == 0
    assert here.call("show").code == 0 and here.call("get", "ipaddress", "--of", "local").out == "\\x1b[2J\n"


# -- at the same time ----------------------------------------------------------------------------------------------------------------------


def test_edits_at_the_same_time_are_all_kept(here: Here) -> None:
    before = COMMON.read_text()
    children = [here.site.popen(*here.command("set", "key%d=%d" % (number, number), "--in", "common", "--force"), env=here.environment,
                                stdout=subprocess.DEVNULL) for number in range(6)]
    assert [child.wait(60) for child in children] == [0] * 6
    text = COMMON.read_text()
    assert text.startswith(before) and sorted(text[len(before):].split()) == ["key%d=%d" % (number, number) for number in range(6)]


@contextlib.contextmanager
def on_a_terminal(here: Here, *words: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A call on a terminal of its own: yield the terminal's other end, once the question is asked, and the process."""
    terminal, there = pty.openpty()
    child = here.site.popen(*here.command(*words), env=here.environment, stdin=there, stdout=there, stderr=there, start_new_session=True)
    os.close(there)
    try:
        said = b""
        while b"write this? [y/N] " not in said:
            said += os.read(terminal, 4096)
        yield terminal, child
    finally:
        os.close(terminal)


def all_of(terminal: int) -> bytes:
    """What is still said on a terminal, until its other end is closed. It comes in pieces, and the echo may be one."""
    said = b""
    with contextlib.suppress(OSError):  # EIO: closed
        while True:
            said += os.read(terminal, 4096)
    return said


@pytest.mark.parametrize("answer, code", [(b"y\n", 0), (b"yes\n", 0), (b"\n", 1), (b"n\n", 1), (b"\x04", 1)])
def test_on_a_terminal_it_is_asked(here: Here, answer: bytes, code: int) -> None:
    with on_a_terminal(here, "set", "listen_port=20817", "--in", "common") as (terminal, child):
        assert "20816" in COMMON.read_text()
        assert here.call("set", "ipcheck=ON").code == 0, "nobody waits for somebody who thinks"
        os.write(terminal, answer)
        assert child.wait(20) == code
    assert ("20817" in COMMON.read_text()) == (code == 0)


def test_changed_while_somebody_thought(here: Here) -> None:
    with on_a_terminal(here, "set", "listen_port=20817", "--in", "common") as (terminal, child):
        assert here.call("set", "other=1", "--in", "common", "--force").code == 0
        os.write(terminal, b"y\n")
        assert child.wait(20) == 1
        assert b"was changed meanwhile" in all_of(terminal)
    assert "other=1" in COMMON.read_text() and "20817" not in COMMON.read_text()


# -- the disk hangs ------------------------------------------------------------------------------------------------------------------------


def test_a_disk_that_hangs(here: Here) -> None:
    """Frozen, it can be read and not written: the call comes back, and the file is the old one or the new one once it lives again."""
    before = here.files["site"].read_bytes()
    subprocess.run(["fsfreeze", "-f", str(here.site.directory)], check=True)
    try:
        began = time.monotonic()
        answer = here.call("set", "ipcheck=ON")
        assert answer.code == 1 and "its file system must answer" in answer.said, answer
        assert time.monotonic() - began < 20
        assert here.files["site"].read_bytes() == before
    finally:
        subprocess.run(["fsfreeze", "-u", str(here.site.directory)], check=True)
    wait_until(lambda: here.call("set", "ipcheck=ON").code == 0)
    assert here.files["site"].read_bytes() == before.replace(b"ipcheck=OFF", b"ipcheck=ON")
    assert TEMPORARY not in os.listdir(here.files["site"].parent)


def test_a_full_disk(here: Here) -> None:
    before = here.files["site"].read_bytes()
    with (here.site.directory / "filler").open("wb") as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 65536)
    with (here.site.directory / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x")
    with contextlib.suppress(OSError):
        for number in range(100000):
            (here.site.directory / ("inode%d" % number)).touch()
    answer = here.call("set", "ipcheck=ON")
    assert answer.code == 1 and "No space left" in answer.said, answer
    assert here.files["site"].read_bytes() == before and TEMPORARY not in os.listdir(here.files["site"].parent)


def test_a_read_only_disk(here: Here) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(here.site.directory)], check=True)
    answer = here.call("set", "ipcheck=ON")
    assert answer.code == 1 and "Read-only file system" in answer.said


# -- kill -9 at every step -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["local", "site"])
def test_killed_at_every_step(here: Here, which: str) -> None:
    path, words = here.files[which], ["set", "local_daemon=OFF", "listen_port=20817", "--in", which, "--force"]
    old = b"# \x96\xe9\x8a\xd4\r\nlocal_daemon=SITE # x\r\nipaddress=10.77.9.9"

    def reset() -> None:
        path.unlink()
        path.write_bytes(old)
        path.chmod(0o640)
        os.chown(path, 4711, 4712)
        os.setxattr(path, "user.comment", b"kept")
    reset()
    before = tree(path.parent)
    assert here.call(*words).code == 0
    after, new = tree(path.parent), path.read_bytes()
    assert new == old.replace(b"=SITE", b"=OFF") + b"\r\nlisten_port=20817\r\n" and before.keys() == after.keys()
    steps = []
    for step in each_step(here.command(*words), here.environment, reset):
        steps.append(step)
        left = tree(path.parent)
        left.pop(TEMPORARY, None)
        assert left in (before, after), step
        again = here.call(*words)
        assert again.code == 0 and tree(path.parent) == after, (step, again)
    names = [step.split()[0] for step in steps]
    assert {"openat", "fchown", "fsetxattr", "fchmod", "write", "fsync", "rename"} <= set(names), names
    assert "rename %s" % path in steps or "renameat %s" % path in steps


def test_ended_at_the_question(here: Here) -> None:
    """By SIGTERM, which is like Ctrl-C for the command: nothing is written."""
    with on_a_terminal(here, "set", "listen_port=20817", "--in", "common") as (_, child):
        wait_until(lambda: child.terminate() or child.poll() is not None)  # again: one that comes before it reads is seen after it has read
        assert child.wait() == 1
    assert "20817" not in COMMON.read_text()
