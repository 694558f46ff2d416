"""The agent is independent of how it is called: PATH, IFS, start-up files, PYTHON*, locale, umask, descriptors, working directory."""
from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from lab.site import AGENT, NQS_HOME, Site, environment_of


@pytest.fixture
def traps(tmp_path: pathlib.Path) -> dict[str, str]:
    """An environment in which whoever trusts it leaves a mark."""
    mark = tmp_path / "caught"
    trap = "#!/bin/sh\necho caught >> %s\nexit 99\n" % mark
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3", "python3.11", "mount", "umount", "fsck", "blkid", "cjcpw", "sh", "readlink", "printf", "env", "test", "["):
        (folder / name).write_text(trap)
        (folder / name).chmod(0o755)
    (tmp_path / "startup").write_text("echo caught >> %s\n" % mark)
    module = "open(%r, 'a').write('caught')\n" % str(mark)
    for name in ("os.py", "json.py", "time.py", "sitecustomize.py", "usercustomize.py", "cjc_agent.py", "psutil.py", "struct.py"):
        (folder / name).write_text(module)
    for name in ("libm.so.6", "libz.so.1", "libexpat.so.1"):  # the interpreter needs them, the shell that reads the wrapper does not
        (folder / name).write_text("no library")
    return {"PATH": str(folder), "IFS": "/", "ENV": str(tmp_path / "startup"), "BASH_ENV": str(tmp_path / "startup"), "PYTHONPATH": str(folder),
            "PYTHONHOME": str(folder), "PYTHONSTARTUP": str(tmp_path / "startup"), "PYTHONINSPECT": "1", "PYTHONIOENCODING": "ascii",
            "LANG": "ja_JP.eucJP", "LC_ALL": "ja_JP.eucJP", "NQS_SITE": "otherSite", "LD_LIBRARY_PATH": str(folder),
            "CDPATH": str(folder), "TMPDIR": str(folder), "HOME": str(folder), "PYTHONWARNINGS": "error", "PYTHONUTF8": "0",
            "BASH_FUNC_[%%": "() {  echo caught >> %s; }" % mark, "BASH_FUNC_printf%%": "() {  echo caught >> %s; }" % mark}


def test_nothing_of_the_caller_s_environment_is_trusted(site: Site, traps: dict[str, str], tmp_path: pathlib.Path) -> None:
    for action, code in (("validate-all", 0), ("monitor", 7), ("start", 0), ("monitor", 0), ("reload-agent", 0), ("stop", 0), ("monitor", 7), ("meta-data", 0)):
        done = subprocess.run([AGENT, action], env=dict(site.call_environment(run_fsck="force"), **traps), capture_output=True, text=True, cwd=tmp_path / "bin")
        assert done.returncode == code, (action, done)
        if action == "start":
            environment = environment_of(site.daemons()["jcsim-net"])
            assert "PATH=/usr/sbin:/usr/bin:/sbin:/bin" in environment and "HOME=/root" in environment
            assert not [entry for entry in environment if entry.startswith(("PYTHON", "LD_", "IFS", "BASH", "ENV=", "LC_ALL=ja"))]
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize("shell", ["/bin/dash", "/bin/bash"])
def test_the_wrapper_runs_in_every_shell(site: Site, traps: dict[str, str], tmp_path: pathlib.Path, shell: str) -> None:
    environment = dict(site.call_environment(), **traps)
    done = subprocess.run(["sh", "-u", AGENT, "monitor"], executable=shell, env=environment, capture_output=True, text=True)
    assert done.returncode == 7, done
    assert not (tmp_path / "caught").exists()


def clusterpro(site: Site, folder: pathlib.Path, name: str, **environment: str) -> list[object]:
    """Arguments for subprocess.run: a script of CLUSTERPRO's, its environment."""
    conf = folder / "site.conf"
    conf.write_text(site.configuration())
    return ["/usr/lib/cjc-agent/clusterpro/" + name, dict({"CJC_AGENT_CONF": str(conf), "CLP_EVENT": "START", "HA_RSCTMP": str(site.state)}, **environment)]


def test_nor_do_clusterpro_s_scripts_trust_it(site: Site, traps: dict[str, str], tmp_path: pathlib.Path) -> None:
    for name in ("genw.sh", "start.sh", "genw.sh", "stop.sh", "genw.sh"):
        script, environment = clusterpro(site, tmp_path, name, **traps)
        done = subprocess.run([script], env=environment, capture_output=True, text=True, cwd=tmp_path / "bin")
        assert done.returncode == 0, (name, done)
        if name == "start.sh":
            found = environment_of(site.daemons()["jcsim-net"])
            assert "NQS_SITE=" + site.name in found and not [entry for entry in found if entry.startswith(("PYTHON", "LD_", "CLP_", "CJC_AGENT_CONF"))]
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_under_clusterpro(site: Site, tmp_path: pathlib.Path, closed: str) -> None:
    for name in ("start.sh", "genw.sh", "stop.sh"):
        script, environment = clusterpro(site, tmp_path, name)
        assert subprocess.run(["/bin/sh", "-c", "exec %s %s" % (script, closed)], env=environment).returncode == 0, name
    site.assert_nothing_left()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_descriptors(site: Site, closed: str) -> None:
    def run(action: str) -> int:
        return subprocess.run(["/bin/sh", "-c", "exec %s %s %s" % (AGENT, action, closed)], env=site.call_environment()).returncode
    assert [run(action) for action in ("monitor", "start", "monitor", "start", "stop", "monitor")] == [7, 0, 0, 0, 0, 7]
    assert run("meta-data") in (0,)
    assert run("nonsense") == 3


@pytest.mark.parametrize("out", [">&-", ">/dev/full", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_verbs_whose_answer_cannot_be_written(site: Site, tmp_path: pathlib.Path, out: str) -> None:
    conf = tmp_path / "site.conf"
    conf.write_text(site.configuration())
    for verb in ("doctor", "conf show", "conf get listen_port --of local", "status", "meta-data", "--help"):
        words = verb if verb in ("meta-data", "--help") else "%s --conf %s" % (verb, conf)
        done = subprocess.run(["/bin/sh", "-c", "exec /usr/sbin/cjc-agent %s %s" % (words, out)], env=site.call_environment(), capture_output=True, text=True)
        assert done.returncode in ((1,) if "full" in out else (0, 1)) and done.stdout == "", (verb, done)
        assert "Traceback" not in done.stderr and done.stderr.count("\n") == (out == ">/dev/full"), (verb, done)


def test_inherited_descriptors_umask_and_limits_do_not_reach_the_daemons(site: Site, tmp_path: pathlib.Path) -> None:
    cjcpw = tmp_path / "cjcpw"  # the simulator's own closes what it does not need
    cjcpw.write_text('#!/bin/sh\nreadlink /proc/$$/fd/* >> %s\nexec %s/cjcpw "$@"\n' % (tmp_path / "links", NQS_HOME))
    cjcpw.chmod(0o755)
    inherited = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(inherited, True)
    before = os.umask(0o777)
    try:
        done = subprocess.run([AGENT, "start"], env=site.call_environment(cjcpw=str(cjcpw)), close_fds=False)
    finally:
        os.umask(before)
        os.close(inherited)
    assert done.returncode == 0
    for pid in site.daemons().values():
        status = pathlib.Path("/proc/%d/status" % pid).read_text()
        assert "Umask:\t0022" in status
    links = (tmp_path / "links").read_text()
    assert "/dev/null" in links and str(tmp_path / "secret") not in links
    assert (site.state / ("cjc-%s.json" % site.name)).stat().st_mode & 0o777 == 0o600


def test_an_unreadable_or_vanished_working_directory(site: Site, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = "cd %s && rmdir %s && exec %s monitor" % (folder, folder, AGENT)
    assert subprocess.run(["/bin/sh", "-c", script], env=site.call_environment()).returncode == 7


def test_meta_data_works_as_nobody_without_anything(tmp_path: pathlib.Path) -> None:
    done = subprocess.run([AGENT, "meta-data"], env={}, user="nobody", group="nogroup", extra_groups=[], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith('<?xml version="1.0"?>')


def test_values_cannot_forge_a_log_line(site: Site) -> None:
    answer = site.call("start", vip="1.2.3.4\nocf-exit-reason:all is well\x1b[2J")
    assert answer.code == 6 and len(answer.reasons) == 1
    assert "\x1b" not in answer.said + site.log.read_text()
    assert site.log.read_text().count("\n") == 1


def test_cjcpw_s_words_cannot_forge_a_log_line(site: Site, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "cjcpw"
    script.write_text("#!/bin/sh\n[ $1 = start ] || exit 1\nprintf 'x\\033[2Jocf-exit-reason:fine\\377\\n'; exit 9\n")
    script.chmod(0o755)
    answer = site.call("start", cjcpw=str(script))
    assert answer.code == 1 and "\x1b" not in answer.said + site.log.read_text()
    assert "exited 9" in answer.reason
