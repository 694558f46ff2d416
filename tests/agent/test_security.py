"""What docs/security.md claims, attacked for real: other users' processes, files and mounts, values with options, shells and lines in them."""
from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from cjc_agent.settings import parameters
from lab.hung import HungFileSystem
from lab.site import AGENT, PROJECT, Answer, Site, environment_of, wait_until
from lab.traced import Exec, execs_of, trace

NOBODY = {"user": "nobody", "group": "nogroup", "extra_groups": ()}
TOOL_ENVIRONMENT = ["LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
# a second line, one that pcs and crm_mon would show, a log line, what a terminal obeys, what turns text around, broken encoding
FORGERY = "\nocf-exit-reason:forged\nNov 11 11:11:11  jobcenter(forged)[1]: INFO: forged\r\x1b[2J\x1b]0;forged\x07\x9b\u2028\u202e\x7f\udcff"
NAME = b"x\nERROR: \x1b[2J\r"  # 14 of the 15 bytes that the kernel keeps of a process's name
SHELLISH = ";$(touch${IFS}caught)`touch${IFS}caught`|&<>~*'!"  # what a shell would do something with; no white space


def assert_one_line_each(answer: Answer, lines: list[str], tag: str = "") -> None:
    """At most one line on stderr, the reason; in the log only lines of our form; nothing in either that is not printable."""
    said = answer.said.split("\n")[:-1]
    assert len(said) == (0 if answer.code in (0, 7) else 1), answer.said
    assert all(line.isprintable() for line in said), answer.said
    assert len(answer.reasons) == len(said)
    assert_log_lines(lines, tag)


def assert_log_lines(lines: list[str], tag: str = "") -> None:
    """Each line has date, tag and level, and was not begun by a value."""
    form = re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d  %s: (DEBUG|INFO|WARNING|ERROR): " % (tag or r"jobcenter\(rsc-job\d+\)\[\d+\]"))
    for line in lines:
        assert form.match(line) and line.isprintable(), repr(line)


def new_lines(site: Site) -> list[str]:
    """What was logged since the last call; the log begins anew."""
    text = site.log.read_bytes().decode("utf-8") if site.log.exists() else ""
    site.log.unlink(missing_ok=True)
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


# -- no value is an option, a command or a line ------------------------------------------------------------------------------------------


def tools_of(execs: list[Exec]) -> list[list[str]]:
    """The argument words of the system tools, without those of JobCenter and of the agent itself."""
    return [[call.name, *call.words[1:]] for call in execs[1:] if call.name in ("mount", "umount", "blkid") or call.name.startswith("fsck")]


def test_disk_values_stay_one_word(tmp_path: pathlib.Path) -> None:
    site = Site(tmp_path, directory="/srv/-o" + SHELLISH)
    link = pathlib.Path("/dev/-t" + SHELLISH)
    link.symlink_to(site.disk.path)
    options = "noatime,X-a=--bind" + SHELLISH.replace("'", "")
    try:
        words = tools_of(execs_of(site, "start", device=str(link), options=options, fstype="ext4", run_fsck="force"))
        assert words == [["fsck.ext4", "-f", "-p", str(link)], ["mount", "-t", "ext4", "-o", options, "--", str(link), str(site.directory)]]
        assert site.monitor(20, device=str(link), options=options, fstype="ext4") == 0
        assert tools_of(execs_of(site, "stop")) == [["umount", "-c", "--", str(site.directory)]]
        assert not list(site.directory.iterdir()) and not pathlib.Path("/caught").exists() and not pathlib.Path("caught").exists()
    finally:
        link.unlink()
        site.close()


def test_a_label_stays_one_word(site: Site) -> None:
    label = "-o;$(id)`id`*'&"
    subprocess.run(["e2label", site.disk.path, label], check=True)
    words = tools_of(execs_of(site, "start", device="LABEL=" + label))
    assert words[0] == ["blkid", "-c", "/dev/null", "-o", "device", "-t", "LABEL=" + label]
    assert words[-1] == ["mount", "--", site.disk.path, str(site.directory)]


def test_a_network_device_stays_one_word(site: Site) -> None:
    """There is no NFS here: what counts is how mount is called."""
    device = "-oserver:/-o" + SHELLISH.replace("'", "")
    assert site.call("validate-all", device=device).code == 6, "a host that looks like an option"
    device = "no-such-server:/-o" + SHELLISH.replace("'", "")
    words = tools_of(execs_of(site, "start", code=1, device=device, fstype="nfs4", options="-o,bg"))
    assert words == [["mount", "-t", "nfs4", "-o", "-o,bg", "--", device, str(site.directory)]]


@pytest.fixture
def recorder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A cjcpw that notes its arguments and its environment, and then is the simulator's: its first argument says as what."""
    script = tmp_path / "cjcpw -x;$(id)"
    script.write_text("#!%s\nimport os, sys\nwith open(%r + sys.argv[1], 'wb') as file:\n    file.write('\\0'.join(sys.argv[1:]).encode())\n"
                      "os.execv('/usr/lib/nqs/cjcpw', ['cjcpw', sys.argv[1]])\n" % (sys.executable, str(tmp_path) + "/args-"))
    script.chmod(0o755)
    return script


def test_cjcpw_s_arguments_are_split_and_never_run(site: Site, recorder: pathlib.Path) -> None:
    given = {what: "%s -x --y=%s \"a  b\" '%s' $(touch${IFS}caught) %%s" % (what, SHELLISH.replace("'", ""), ";|&") for what in ("start", "stop", "status")}
    secret = "A='%s' B=--x C=$(touch${IFS}caught)" % SHELLISH.replace("'", "")
    changes = {"cjcpw": str(recorder), "environment": secret, **{what + "_args": words for what, words in given.items()}}
    site.start(**changes)
    assert {"A=" + SHELLISH.replace("'", ""), "B=--x", "C=$(touch${IFS}caught)"} <= set(environment_of(site.daemons()["jcsim-net"]))
    assert site.monitor(**changes) == 0
    site.stop(**changes)
    for what, words in given.items():
        assert (recorder.parent / ("args-" + what)).read_text().split("\0") == shlex.split(words)
    assert not pathlib.Path("/caught").exists()


REFUSED = [("site", "-x"), ("site", "a;id"), ("site", "$(id)"), ("site", "a/../b"), ("device", "-o"), ("device", "--bind"), ("device", "/dev/../etc"),
           ("device", "-h:/x"), ("directory", "-o"), ("directory", "/srv/../etc"), ("fstype", "-o"), ("fstype", "ext4;id"), ("fstype", "../x"),
           ("options", "rw -o bind"), ("options", "rw\n"), ("cjcpw", "-x"), ("cjcpw", "sh -c id"), ("cjcpw", "../cjcpw"), ("user", "-x"), ("user", "root;id"),
           ("user", "#0"), ("environment", "-x"), ("environment", "A=1;id -x"), ("nqs_home", "-x"), ("vip", "-x"), ("port", "-1"), ("run_fsck", "-y")]


@pytest.mark.parametrize("name, text", REFUSED)
def test_what_cannot_be_one_word_is_refused_before_anything_is_run(site: Site, name: str, text: str) -> None:
    execs = execs_of(site, "start", code=6, **{name: text})
    assert [call.name[:7] for call in execs] == ["jobcent", "python3"], "the wrapper and the core, and nothing else"


@pytest.mark.parametrize("name", [row.name for row in parameters.PARAMETERS])
def test_no_parameter_can_forge_a_line(site: Site, name: str) -> None:
    """Every row of the table, a new one too; alone, and behind what would be a good value."""
    good = site.parameters.get(name) or parameters.BY_NAME[name].default or "x"
    for text in (FORGERY, good + FORGERY):
        for action, codes in (("validate-all", (6,)), ("monitor", (1, 7)), ("start", (6,)), ("reload-agent", (1,)), ("stop", (0, 1))):
            answer = site.call(action, HA_debug="1", **{name: text})
            assert answer.code in codes, (action, answer)
            assert_one_line_each(answer, new_lines(site))
    assert not site.mounted() and not site.processes()


@pytest.mark.parametrize("name", ["OCF_RESOURCE_INSTANCE", "HA_LOGTAG", "HA_LOGFACILITY", "OCF_CHECK_LEVEL", "OCF_RESKEY_CRM_meta_timeout", "OCF_RESKEY_none",
                                  "OCF_RESKEY_CRM_meta_interval", "OCF_EXIT_REASON_PREFIX", "OCF_TRACE_FILE", "HA_RSCTMP", "HA_debug", "TZ", "LC_ALL",
                                  "NQS_SITE"])
def test_nothing_else_in_the_environment_can_forge_a_line(site: Site, tmp_path: pathlib.Path, name: str) -> None:
    folder = str(tmp_path) + "/" if name in ("OCF_TRACE_FILE", "HA_RSCTMP") else ""
    tag = "" if name not in ("OCF_RESOURCE_INSTANCE", "HA_LOGTAG") else r"(jobcenter\()?x\\x0aocf-exit-reason:forged\\x0a.*"
    for action in ("monitor", "start", "monitor", "stop"):
        answer = site.call(action, **{"HA_debug": "1", "OCF_TRACE_RA": "1", name: folder + "x" + FORGERY, "vip": "10.0.0.9", "vip_wait": "1ms"})
        assert answer.code == (7 if action == "monitor" else 1 if action == "start" else 0), answer
        if name == "OCF_EXIT_REASON_PREFIX":
            answer.reasons = answer.reasons or answer.said.split("\n")[:-1]
        lines = [line for line in new_lines(site) if "trace file" not in line]  # cut where a path is longer than a name may be
        assert lines or name == "HA_LOGFACILITY"
        assert_one_line_each(answer, lines, tag)
    for path in [*pathlib.Path("/var/lib/heartbeat/trace_ra/jobcenter").glob("*"), *tmp_path.glob("x*")]:
        if path.is_file():
            assert all(re.match(r" *\d+\.\d{3} ", line) and line.isprintable() for line in path.read_text().split("\n")[:-1])


def test_the_wrapper_s_own_reason_forges_no_line(tmp_path: pathlib.Path) -> None:
    agent = tmp_path / "jobcenter"
    agent.write_text(pathlib.Path(AGENT).read_text().replace("/usr/bin/python3", "/no/such/python3"))
    done = subprocess.run(["/bin/sh", agent, "start"], env={"OCF_EXIT_REASON_PREFIX": "x\nforged\x1b"}, capture_output=True, text=True)
    assert done.returncode == 5 and done.stderr.startswith("ocf-exit-reason:agent: no Python") and done.stderr[:-1].isprintable()


@pytest.mark.parametrize("action", ["start", "monitor", "stop"])
def test_cjcpw_s_output_can_forge_no_line(site: Site, tmp_path: pathlib.Path, action: str) -> None:
    script = tmp_path / "cjcpw"
    script.write_text("#!%s\nimport os, sys\nos.write(1, %r)\nos.write(2, %r * 100)\nsys.exit(9)\n" % (
        sys.executable, ("fine" + FORGERY + "\n").encode("utf-8", "surrogateescape"), FORGERY[1:].replace("\n", "\r").encode("utf-8", "surrogateescape")))
    script.chmod(0o755)
    trace_file = tmp_path / "trace"
    site.mount()
    answer = site.call(action, cjcpw=str(script), HA_debug="1", trace="1", OCF_TRACE_FILE=str(trace_file))
    lines = new_lines(site)
    assert answer.code == (0 if action == "stop" else 1) and "exited 9" in answer.said + "".join(lines)
    assert_one_line_each(answer, lines)
    assert all(re.match(r" *\d+\.\d{3} ", line) and line.isprintable() for line in trace_file.read_text().split("\n")[:-1])


# -- other users' processes and mounts ---------------------------------------------------------------------------------------------------

HOSTILE_PROCESS = """
import ctypes, os, socket, sys, time
held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
held.bind((sys.argv[1], 20816))
held.listen()
os.chdir(os.fsencode(sys.argv[2]))
ctypes.CDLL(None).prctl(15, %r)
print("ready", flush=True)
time.sleep(60)
""" % NAME


def test_a_hostile_process_name_forges_no_line(site: Site) -> None:
    """Its name, its folder's name, its arguments and environment are full of lines and escapes; it listens on our VIP and holds our mount."""
    site.start()
    new_lines(site)
    hostile = os.fsencode(FORGERY.replace("\x07", ""))
    folder = os.fsencode(str(site.directory)) + b"/" + hostile
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    for pid in site.processes():  # JobCenter gone, its port free
        os.kill(pid, 9)
    wait_until(lambda: not site.processes())
    child = site.popen(sys.executable, "-c", HOSTILE_PROCESS, site.vip, os.fsdecode(folder), os.fsdecode(hostile),
                       env={"NQS_SITE": site.name, "X" + os.fsdecode(hostile): "x"}, start_new_session=True, stdout=subprocess.PIPE, **NOBODY)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    assert pathlib.Path("/proc/%d/comm" % child.pid).read_bytes() == NAME + b"\n", "else this test proves nothing"

    answer = site.call("monitor", HA_debug="1")
    assert answer.code == 1 and "x\\x0aERROR: \\x1b[2J\\x0d[%d]" % child.pid in answer.reason
    assert_one_line_each(answer, new_lines(site))
    conf = site.state.parent / "conf"
    conf.write_text(site.configuration())
    for verb in ("status", "monitor", "stop"):
        words = ["/usr/sbin/cjc-agent", verb, "--conf", str(conf), "--stop_timeout", "8s"]
        said = subprocess.run(words, capture_output=True, text=True, env={"HA_RSCTMP": str(site.state)})
        assert all(line.isprintable() for line in (said.stdout + said.stderr).split("\n")), said
        assert verb != "status" or all(line.startswith(("site ", "  ", "last starts ")) for line in said.stdout.rstrip("\n").split("\n")), said.stdout
    child.wait(timeout=10)
    assert not site.mounted()
    assert_log_lines(new_lines(site))


def test_stop_names_a_hostile_process_in_one_line(site: Site) -> None:
    site.mount()
    child = site.popen(sys.executable, "-c", HOSTILE_PROCESS, site.vip, str(site.directory), start_new_session=True, stdout=subprocess.PIPE, **NOBODY)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="8000")
    lines = new_lines(site)
    assert answer.code == 0 and any("x\\x0aERROR: \\x1b[2J\\x0d[%d] (uid 65534)" % child.pid in line for line in lines)
    assert_one_line_each(answer, lines)


def test_a_hostile_mount_forges_no_line(site: Site) -> None:
    hung = HungFileSystem(site.directory, source="x" + FORGERY.replace("\udcff", ""))
    try:
        for action in ("monitor", "start", "stop"):
            answer = site.call(action, HA_debug="1")
            assert answer.code == (0 if action == "stop" else 1), answer
            assert action == "stop" or "\\x0aocf-exit-reason:forged" in answer.reason
            assert_one_line_each(answer, new_lines(site))
    finally:
        hung.close()


@pytest.mark.parametrize("path", ["%s", "/dev/..%s/file"])
def test_a_fuse_mount_cannot_pass_for_our_disk(site: Site, tmp_path: pathlib.Path, path: str) -> None:
    """Any user may mount one, by fusermount, and choose the source that the mount table shows: our device's name, or a path into the mount
    itself, where whoever looks at it hangs."""
    folder = tmp_path / "users"
    folder.mkdir()
    hung = HungFileSystem(folder, source=path % (site.disk.path if path == "%s" else folder), fstype="fuse.x", user=65534)
    try:
        assert site.probe() == 7
        site.start()
        assert [site.monitor(level) for level in (0, 20)] == [0, 0]
        site.stop()
        assert str(folder) in pathlib.Path("/proc/self/mountinfo").read_text(), "it is not ours to unmount"
        assert hung.requests == 0, "and not ours to touch"
    finally:
        hung.close()


# -- hostile folders ---------------------------------------------------------------------------------------------------------------------


def nobody(script: str) -> int:
    """Run a shell script as nobody; return its exit code."""
    return subprocess.run(["/bin/sh", "-c", script], check=False, stderr=subprocess.DEVNULL, cwd="/", **NOBODY).returncode


@pytest.fixture
def open_way(site: Site) -> Site:
    """Nobody can walk to the state folder (pytest's folders are root's alone)."""
    site.state = pathlib.Path("/srv/state-" + site.name)
    site.state.mkdir()
    site.environment["HA_RSCTMP"] = str(site.state)
    return site


@pytest.mark.parametrize("where", ["itself", "its parent"])
def test_nothing_in_a_state_folder_that_others_can_change_is_believed(open_way: Site, where: str) -> None:
    site, folder = open_way, pathlib.Path("/srv/parent")
    folder.mkdir()
    site.state = folder / "state"
    site.environment["HA_RSCTMP"] = str(site.state)
    site.start()
    record = site.state / ("cjc-%s.json" % site.name)
    opened = site.state if where == "itself" else folder
    opened.chmod(0o777)
    try:
        new_lines(site)
        # an old record that says another disk and other processes: root's own file, put back by somebody else
        old = dict(json.loads(record.read_text()), daemons=[[os.getpid(), 1]])
        record.write_text(json.dumps(old))
        moved = record if where == "itself" else site.state
        assert nobody("mv %s %s.kept && mv %s.kept %s" % (moved, moved, moved, moved)) == 0, "else this test proves nothing"
        answer = site.call("monitor")
        assert answer.code == 0
        assert any("record: %s: writable by others: correct it" % opened in line for line in new_lines(site))
        assert site.call("start").reason == "state folder: %s: writable by others: correct it" % opened
        assert site.call("stop").code == 0, "by the parameters, and by what is seen"
        assert not site.mounted() and not site.processes()
    finally:
        opened.chmod(0o755)
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_what_others_laid_into_the_state_folder_is_neither_followed_nor_believed(site: Site, tmp_path: pathlib.Path) -> None:
    """From the time when they still could."""
    target = tmp_path / "precious"
    target.write_text("precious")
    names = ["cjc-%s.json" % site.name, "cjc-%s.lock" % site.name, "cjc-%s.abandoned" % site.name]
    for kind in ("symlink", "hard link", "fifo", "folder", "other owner"):
        site.state.mkdir(exist_ok=True)
        for name in names:
            path = site.state / name
            if kind == "symlink":
                path.symlink_to(target)
            elif kind == "hard link":
                os.link(target, path)
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
            else:
                path.write_text("{}")
                os.chown(path, 65534, 65534)
        answer = site.call("start")
        assert answer.code == 1 and answer.reason.startswith("state folder: %s" % (site.state / names[1])), (kind, answer)
        assert [site.probe(), site.call("stop").code] == [7, 0], kind
        assert target.read_text() == "precious"
        assert target.stat().st_mode & 0o777 == 0o644
        subprocess.run(["rm", "-rf", str(site.state)], check=True)
    site.start()
    site.stop()


@pytest.mark.parametrize("trap", ["ln -s %(target)s %(file)s", "ln %(target)s %(file)s", "touch %(file)s", "mkfifo %(file)s", "mkdir %(file)s",
                                  "rmdir %(folder)s; ln -s %(home)s %(folder)s"])
def test_a_trace_goes_nowhere_others_have_prepared(open_way: Site, trap: str) -> None:
    """In a folder that everybody may write, where the file has no name yet; the node's kernel may allow hard links to others' files."""
    site, folder = open_way, pathlib.Path("/tmp/traces-" + open_way.name)
    home, target = pathlib.Path("/srv/home"), pathlib.Path("/tmp/target-" + open_way.name)
    home.mkdir(exist_ok=True)
    target.write_text("precious")
    subprocess.run(["install", "-d", "-o", "nobody", "-m", "755", str(folder)], check=True)
    file = folder / "file"
    script = trap % {"target": target, "file": file, "folder": folder, "home": home}
    if trap.startswith("ln %"):
        os.link(target, file)  # fs.protected_hardlinks may forbid it to nobody; older kernels do not
    else:
        assert nobody(script) == 0, "else this test proves nothing"
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK) if trap.startswith("mkfifo") else -1
    try:
        answer = site.call("monitor", trace="1", OCF_TRACE_FILE=str(file), HA_debug="1")
        assert answer.code == 7
        assert sum("this call is not traced" in line for line in new_lines(site)) == 1
        assert target.read_text() == "precious" and list(home.iterdir()) == []
        assert not file.is_file() or file.is_symlink() or file.read_text() in ("", "precious")
        assert reader < 0 or os.read(reader, 100) == b""
    finally:
        if reader >= 0:
            os.close(reader)
        subprocess.run(["rm", "-rf", str(folder), str(home), str(target)], check=True)


@pytest.mark.parametrize("pre_made", ["ln -s /etc/passwd", "mkdir", "touch"])
def test_the_write_test_follows_nothing_laid_into_the_site_db(site: Site, pre_made: str) -> None:
    site.start()
    before = pathlib.Path("/etc/passwd").read_bytes()
    subprocess.run(["/bin/sh", "-c", "%s %s/.cjc-agent-check-%s" % (pre_made, site.site_db, os.uname().nodename)], check=True)
    assert site.monitor(20) == (1 if pre_made == "mkdir" else 0)
    assert pathlib.Path("/etc/passwd").read_bytes() == before


def test_a_log_that_is_a_fifo_or_full_does_not_hang(site: Site, tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        for path in (str(tmp_path / "fifo"), "/dev/full", str(tmp_path), "/no/such/folder/log"):
            answer = site.call("monitor", HA_LOGFILE=path, HA_debug="1")
            assert answer.code == 7 and answer.seconds < 5
    finally:
        os.close(reader)


# -- the caller's environment ------------------------------------------------------------------------------------------------------------

# what the dynamic linker, libc (glibc's own list for setuid programs, sysdeps/generic/unsecvars.h), the locale and shells would follow
FOLLOWED = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_DEBUG_OUTPUT", "LD_PROFILE", "LD_PROFILE_OUTPUT", "LD_ORIGIN_PATH", "LD_BIND_NOW",
            "LD_DYNAMIC_WEAK", "LD_HWCAP_MASK", "GCONV_PATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "MALLOC_TRACE", "NIS_PATH", "NLSPATH",
            "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR", "LANG", "LC_ALL", "LC_CTYPE", "LANGUAGE", "BASH_ENV", "ENV", "CDPATH", "IFS")


def commands(site: Site, action: str) -> list[tuple[str, ...]]:
    """The agent and the command line, which must be as immune."""
    options = [word for name, value in site.parameters.items() for word in ("--" + name, value)]
    return [(AGENT, action), ("/usr/sbin/cjc-agent", action, *options)]


@pytest.mark.parametrize("which", [0, 1], ids=["jobcenter", "cjc-agent"])
def test_every_program_gets_an_environment_of_our_own_making(site: Site, tmp_path: pathlib.Path, which: int) -> None:
    hostile = dict.fromkeys(FOLLOWED, "%s/nowhere" % tmp_path)
    hostile.update(GLIBC_TUNABLES="glibc.malloc.check=0", MALLOC_CHECK_="3", MALLOC_PERTURB_="1", LD_DEBUG="", LD_SHOW_AUXV="", LD_VERBOSE="", LD_WARN="")
    seen = set()
    for action in ("start", "monitor", "stop"):
        command = commands(site, action)[which]
        for call in execs_of(site, action, command=command, **hostile, SECRET="inherited", PYTHONPATH=str(tmp_path), run_fsck="force")[1:]:
            carried = {entry.partition("=")[0]: entry.partition("=")[2] for entry in call.environment}
            if call.name in ("mount", "umount", "blkid") or call.name.startswith("fsck"):
                assert sorted(call.environment) == TOOL_ENVIRONMENT, call.line
            elif "cjc-agent" in call.line:  # the core's own interpreter: the rest is the cluster's, and none of it is handed on
                assert not set(hostile) & set(carried), call.line
            else:
                assert not {"SECRET", "PYTHONPATH"} & set(carried) and not [value for value in carried.values() if str(tmp_path) in value], call.line
            seen.add(call.name)
    assert {"mount", "umount", "cjcpw"} <= seen and any(name.startswith("python3") for name in seen), seen


@pytest.mark.parametrize("which", [0, 1], ids=["jobcenter", "cjc-agent"])
def test_the_core_s_python_looks_into_no_folder_that_the_caller_names(site: Site, tmp_path: pathlib.Path, which: int) -> None:
    """Libraries, locales, character converters (which are libraries), time zones, modules, programs."""
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "gconv-modules").write_text("module EVIL// INTERNAL evil 1\nmodule INTERNAL EVIL// evil 1\n")
    hostile = dict.fromkeys([*FOLLOWED, "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX", "HOME", "TMP", "TEMP"], str(trap))
    hostile.update(LC_ALL="xx_XX.EVIL", LANG="xx_XX.EVIL", LC_CTYPE="xx_XX.EVIL", LANGUAGE="xx")
    text = trace(site, "monitor", "%file", code=7 if which == 0 else 1, command=commands(site, "monitor")[which], **hostile)
    _, became, after = text.partition('execve("/usr/bin/python3')
    assert became and "openat(" in after
    after = re.sub(r"execve\(.*", "", after.split("\n", 1)[1])
    assert str(trap) not in after, [line for line in after.split("\n") if str(trap) in line]


@pytest.mark.parametrize("shell", ["/bin/dash", "/bin/bash"])
@pytest.mark.parametrize("which", [0, 1], ids=["jobcenter", "cjc-agent"])
def test_no_shell_s_start_up_gets_in_between(site: Site, tmp_path: pathlib.Path, shell: str, which: int) -> None:
    mark = tmp_path / "caught"
    (tmp_path / "startup").write_text("echo caught >> %s\n" % mark)
    function = "() {  echo caught >> %s; }" % mark
    hostile = {"BASH_FUNC_%s%%%%" % name: function for name in ("[", "printf", "/usr/bin/readlink", "test", "readlink", "/usr/bin/python3")}
    hostile.update(ENV=str(tmp_path / "startup"), BASH_ENV=str(tmp_path / "startup"), PS4="$(echo caught >> %s)" % mark, IFS="/u", CDPATH="/tmp",
                   SHELLOPTS="xtrace:nounset:errexit:allexport:noglob", BASHOPTS="extglob:nullglob:failglob", GLOBIGNORE="*", PYTHON="/bin/false", CORE="/",
                   MAIN="x", self="/x", best="99", POSIXLY_CORRECT="")
    command = commands(site, "monitor")[which]
    done = subprocess.run(["sh", *command], executable=shell, env=dict(site.call_environment(), **hostile), capture_output=True, text=True)
    assert done.returncode == (7 if which == 0 else 1), done
    if which == 0:  # in a checkout, where readlink is called
        link = tmp_path / "jobcenter"
        link.symlink_to(PROJECT / "ocf/jobcenter")
        hostile.update(SHELLOPTS="xtrace:nounset", BASHOPTS="extglob:nullglob")  # it looks for a Python by a pattern
        done = subprocess.run(["sh", str(link), "monitor"], executable=shell, env=dict(site.call_environment(), **hostile), capture_output=True, text=True)
        assert done.returncode == 7, done
    assert not mark.exists()


@pytest.mark.parametrize("name", ["unset", "exec", "exit"])
def test_a_function_in_place_of_a_special_builtin_is_never_run(site: Site, tmp_path: pathlib.Path, name: str) -> None:
    """With POSIXLY_CORRECT, bash ends before our first line, with an error: nothing is done, and neither 0 nor 7 is said."""
    site.start()
    function = {"BASH_FUNC_%s%%%%" % name: "() {  echo caught >> %s/caught; }" % tmp_path}
    for action, more, code in (("stop", {"POSIXLY_CORRECT": ""}, 2), ("monitor", {}, 0), ("stop", {}, 0), ("monitor", {}, 7)):
        environment = dict(site.call_environment(), **function, **more)
        assert subprocess.run(["sh", AGENT, action], executable="/bin/bash", env=environment, capture_output=True).returncode == code, (action, more)
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize("shell, variable", [("/bin/dash", "LD_TRACE_LOADED_OBJECTS=1"), ("/bin/bash", "SHELLOPTS=noexec")])
def test_what_is_done_to_the_shell_before_our_first_line_cannot_be_undone(site: Site, shell: str, variable: str) -> None:
    """docs/security.md says so: nothing of ours is run, and the shell says 0. Should this ever fail, that page may promise more."""
    name, _, value = variable.partition("=")
    done = subprocess.run(["sh", AGENT, "nonsense"], executable=shell, env=dict(site.call_environment(), **{name: value}), capture_output=True)
    assert done.returncode == 0


def test_who_is_not_root_changes_nothing_and_is_told_nothing_wrong(open_way: Site) -> None:
    site = open_way
    site.start()
    for action, code in (("monitor", 1), ("start", 1), ("stop", 1), ("reload-agent", 1), ("validate-all", 0), ("meta-data", 0)):
        environment = site.call_environment(trace="1", HA_LOGFILE="", OCF_RESKEY_CRM_meta_timeout="5000")
        done = subprocess.run([AGENT, action], env=environment, capture_output=True, text=True, cwd="/", **NOBODY)
        assert done.returncode == code, (action, done)
        assert "Traceback" not in done.stderr and ("needs root" in done.stderr) is (code == 1)
    assert site.monitor(20) == 0
    site.stop()


# -- secrets and `user` ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["PASSWORD=very-secret", "PASSWORD='very-secret", "PASSWORD=x very-secret", "PASSWORD=very-secret\x1b"])
def test_values_of_environment_are_in_no_log_and_no_file_that_others_read(site: Site, environment: str) -> None:
    said = ""
    for action in ("validate-all", "start", "monitor", "reload-agent", "stop"):
        said += site.call(action, environment=environment, HA_debug="1", trace="1", OCF_TRACE_FILE=str(site.state.parent / "trace")).said
        for path in site.state.iterdir() if site.state.exists() else ():
            assert path.stat().st_mode & 0o077 == 0, path
    assert "secret" not in said + site.log.read_text() + (site.state.parent / "trace").read_text()


FACTS = """#!%s
import errno, json, os, sys
facts = {line.split(":\\t")[0]: line.split(":\\t")[1].strip() for line in open("/proc/self/status") if ":\\t" in line}
def tried(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
facts["regained"] = [tried(os.setuid, 0), tried(os.setresuid, -1, 0, -1), tried(os.setgid, 0), tried(os.setgroups, [0]), tried(os.chroot, "/"),
                     tried(os.open, "/etc/shadow", os.O_RDONLY), tried(os.kill, 1, 0), tried(os.open, "/proc/%%d/mem" %% os.getppid(), os.O_RDONLY),
                     tried(os.open, "/dev/tty", os.O_RDWR)]
facts["open"] = sorted(os.readlink("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name))
facts["session"] = os.getsid(0) == os.getpid()
open(%r, "w").write(json.dumps(facts))
sys.exit(int(sys.argv[1] == "status"))
"""


def test_a_user_drops_everything_for_good(site: Site, tmp_path: pathlib.Path) -> None:
    folder = pathlib.Path("/srv/facts-" + site.name)
    folder.mkdir()
    folder.chmod(0o777)
    script = folder / "cjcpw"
    script.write_text(FACTS % ("/usr/bin/python3", str(folder / "facts")))
    script.chmod(0o755)
    subprocess.run(["groupadd", "-f", "jcgroup"], check=True)
    subprocess.run(["useradd", "-M", "-G", "jcgroup", "jcsecure"], check=False, capture_output=True)
    site.mount()
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(secret, True)
    try:
        environment = site.call_environment(user="jcsecure", cjcpw=str(script))
        # more groups and inheritable capabilities than usual: the child gets none of them
        command = ["setpriv", "--groups", "0,4,6", "--inh-caps", "+sys_admin,+dac_override", "--", AGENT, "monitor"]
        subprocess.run(command, env=environment, close_fds=False, check=False, capture_output=True)
    finally:
        os.close(secret)
    facts = json.loads((folder / "facts").read_text())
    uid, gids = (subprocess.run(["id", option, "jcsecure"], check=True, capture_output=True, text=True).stdout.split() for option in ("-u", "-G"))
    assert facts["Uid"].split() == uid * 4 and facts["Gid"].split() == [gids[0]] * 4
    assert set(facts["Groups"].split()) == set(gids) and not {"0", "4", "6"} & set(gids)
    assert [int(facts["Cap" + name], 16) for name in ("Prm", "Eff", "Amb")] == [0, 0, 0]
    assert facts["regained"] == ["EPERM"] * 5 + ["EACCES", "EPERM", "EACCES", "ENXIO"]
    assert facts["session"] is True and [name for name in facts["open"] if "memfd" not in name and not name.startswith("/proc/")] == ["/dev/null"]


def test_the_write_test_is_the_user_s_own(site: Site) -> None:
    """What root may write says nothing about the daemons, and a user's disk is no place for root to write."""
    subprocess.run(["useradd", "-M", "jcsecure"], check=False, capture_output=True)
    site.mount()
    subprocess.run(["chown", "-R", "jcsecure", str(site.site_db), "/usr/spool/nqs"], check=True)
    site.umount()
    try:
        site.start(user="jcsecure")
        assert site.monitor(20, user="jcsecure") == 0
        subprocess.run(["chown", "root", str(site.site_db)], check=True)
        answer = site.call("monitor", OCF_CHECK_LEVEL="20", user="jcsecure")
        assert answer.code == 1 and "Permission denied" in answer.reason
        subprocess.run(["chown", "jcsecure", str(site.site_db)], check=True)
        site.stop(user="jcsecure")
    finally:
        subprocess.run(["chown", "-R", "root", "/usr/spool/nqs"], check=True)
