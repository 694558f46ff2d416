"""`make install`, the checkout as it stands, and the cjc-agent command."""
from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

from lab.site import PROJECT, Site


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-s", "-C", str(PROJECT), *words], capture_output=True, text=True)


def test_destdir_prefix_and_python_are_honoured(tmp_path: pathlib.Path) -> None:
    python = os.path.realpath("/usr/bin/python3")
    assert make("install", "DESTDIR=%s/dest" % tmp_path, "PREFIX=/opt/cjc", "PYTHON=" + python).returncode == 0
    agent = tmp_path / "dest/usr/lib/ocf/resource.d/cjc/jobcenter"
    text = agent.read_text()
    assert "PYTHON='%s'" % python in text and "CORE='/opt/cjc/lib/cjc-agent'" in text
    assert agent.stat().st_mode & 0o777 == 0o755
    installed = sorted(str(path.relative_to(tmp_path / "dest")) for path in (tmp_path / "dest").rglob("*") if path.is_file())
    assert all(path.startswith(("opt/cjc/", "usr/lib/ocf/resource.d/cjc/")) for path in installed)
    shutil.copytree(tmp_path / "dest/opt/cjc", "/opt/cjc")
    assert subprocess.run([agent, "meta-data"], capture_output=True).returncode == 0
    (tmp_path / "dest/opt/cjc/lib/cjc-agent/__main__.py").unlink()
    assert subprocess.run([agent, "meta-data"], capture_output=True).returncode == 0, "compiled"
    assert make("uninstall", "DESTDIR=%s/dest" % tmp_path, "PREFIX=/opt/cjc").returncode == 0
    assert not [path for path in (tmp_path / "dest").rglob("*") if path.is_file()]


def test_a_python_without_a_version_in_its_name_may_become_another_one(tmp_path: pathlib.Path) -> None:
    """Code compiled for one version is no script for the next: /usr/bin/python3 gets the source."""
    for python, main in (("/usr/bin/python3", "__main__.py"), (os.path.realpath("/usr/bin/python3"), "__main__.pyc")):
        assert make("install", "DESTDIR=%s/dest" % tmp_path, "PYTHON=" + python).returncode == 0
        assert "MAIN=%s\t" % main in (tmp_path / "dest/usr/lib/ocf/resource.d/cjc/jobcenter").read_text()


def test_a_python_that_is_too_old_or_absent_is_refused(tmp_path: pathlib.Path) -> None:
    old = tmp_path / "python3.6"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in (str(old), "/no/such/python", ""):
        done = make("install", "DESTDIR=%s/dest" % tmp_path, "PYTHON=" + python)
        assert done.returncode != 0 and "Python >= 3.9" in done.stderr
        assert not (tmp_path / "dest").exists()


def test_the_checkout_works_as_it_stands(site: Site, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "jobcenter"
    link.symlink_to(PROJECT / "ocf/jobcenter")
    for agent in (PROJECT / "ocf/jobcenter", link):
        for action, code in (("meta-data", 0), ("monitor", 7), ("start", 0), ("monitor", 0), ("stop", 0)):
            assert subprocess.run([agent, action], env=site.call_environment()).returncode == code, (agent, action)
    done = subprocess.run(["./jobcenter", "monitor"], env=site.call_environment(), cwd=PROJECT / "ocf")
    assert done.returncode == 7


def test_a_node_without_a_fit_python_says_so(site: Site, tmp_path: pathlib.Path) -> None:
    text = pathlib.Path("/usr/lib/ocf/resource.d/cjc/jobcenter").read_text().replace("/usr/bin/python3", "/no/such/python3")
    agent = tmp_path / "jobcenter"
    agent.write_text(text)
    agent.chmod(0o755)

    def answer(action: str, interval: str) -> tuple[int, str]:
        done = subprocess.run([agent, action], env=site.call_environment(OCF_RESKEY_CRM_meta_interval=interval), capture_output=True, text=True)
        return done.returncode, done.stderr
    assert answer("start", "0")[0] == 5 and "install python3.9 or later" in answer("start", "0")[1]
    assert answer("monitor", "0")[0] == 5
    assert answer("monitor", "10000")[0] == 1, "5 from a recurring monitor would stop the service cluster-wide"
    assert answer("stop", "0")[0] == 1, "nothing was looked at: never 0, and 5 counts as stopped"


def test_without_psutil_start_says_so_and_stop_works(site: Site) -> None:
    site.start(**site.faults("stop=lie"))
    folders = list(pathlib.Path("/usr/lib/python3/dist-packages").glob("psutil*"))
    assert folders
    try:
        for path in folders:
            shutil.move(path, str(path) + ".away")
        answer = site.call("start")
        assert answer.code == 5 and "psutil" in answer.reason
        assert site.call("validate-all").code == 5
        assert site.monitor(20) == 0
        assert site.call("stop", OCF_RESKEY_CRM_meta_timeout="8000").code == 0
        site.assert_nothing_left()
        assert site.monitor() == 7
    finally:
        for path in folders:
            shutil.move(str(path) + ".away", path)


def test_the_command_line(site: Site, tmp_path: pathlib.Path) -> None:
    conf = tmp_path / "site.conf"
    conf.write_text("# 夜間バッチ\n" + site.configuration() + "stop_timeout = 60s\n")

    def agent(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(["cjc-agent", *words], capture_output=True, text=True, env={"HA_RSCTMP": str(site.state), "PATH": os.environ["PATH"]})
        return done.returncode, done.stdout, done.stderr
    name, options = site.name, ["--conf", str(conf)]
    assert agent("validate", *options) == (0, "%s: good\n" % name, "")
    assert agent("monitor", *options)[:2] == (1, "%s: stopped: no process and no listener of the site is left\n" % name)
    assert agent("start", *options) == (0, "%s: started\n" % name, "")
    assert agent("monitor", *options, "--monitor-level", "20") == (0, "%s: running\n" % name, "")
    code, out, _ = agent("status", *options)
    assert code == 0 and out.startswith("site %s: running\n" % name) and "jcsim-net[" in out
    seen = json.loads(agent("status", *options, "--json")[1])
    assert seen["state"] == "running" and {layer["state"] for layer in seen["layers"].values()} == {"running"}
    assert json.loads(agent("stop", *options, "--json")[1]) == {"action": "stop", "site": name, "outcome": "good", "reason": ""}
    site.assert_nothing_left()
    assert agent("start", "--site", "a b", "--site_db", "/x")[0] == 2
    assert "unrecognized arguments: --sitte" in agent("start", "--sitte", "x")[2]
    assert agent("meta-data")[1].startswith("<?xml")
    conf.write_text("site = x\nprot = 20\n")
    assert agent("start", *options) == (2, "", "cjc-agent: %s line 2: unknown parameter 'prot': did you mean port?\n" % conf)
