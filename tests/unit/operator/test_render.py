from __future__ import annotations

import os
import subprocess

import pytest

from cjc_agent.operator import render
from cjc_agent.operator.render import CannotRender, Plan
from unit.helpers import settings

CONF = "/etc/cjc-agent/jobsiteA.conf"


def plan(conf=CONF, group="jobs", resource="exec-jobs", monitor="genw-jobs", **given):
    return Plan(conf, settings(**given), group, resource, monitor)


def test_each_script_carries_its_one_line():
    scripts = plan().scripts()
    assert list(scripts) == ["scripts/jobs/exec-jobs/start.sh", "scripts/jobs/exec-jobs/stop.sh", "scripts/monitor.s/genw-jobs/genw.sh"]
    for path, text in scripts.items():
        assert [line for line in text.split("\n") if line.startswith("CJC_AGENT_CONF=")] == ["CJC_AGENT_CONF=" + CONF]
        template = render._template(os.path.basename(path))
        changed = [line for line in text.split("\n") if line not in template.split("\n")]
        assert changed == ["CJC_AGENT_CONF=" + CONF, "AGENT=/usr/sbin/cjc-agent\t# written by `make install`"] and text.startswith("#!/bin/sh\n")


@pytest.mark.parametrize("path", ["/etc/日本 site/a.conf", "/etc/it's/$(id)`id`.conf", '/etc/"x"\\y.conf'])
def test_a_path_is_no_shell_code(path):
    text = plan(conf=path).scripts()["scripts/jobs/exec-jobs/start.sh"]
    line = next(line for line in text.split("\n") if line.startswith("CJC_AGENT_CONF="))
    done = subprocess.run(["sh", "-c", line + '\nprintf %s "$CJC_AGENT_CONF"'], capture_output=True, check=True)
    assert done.stdout.decode() == path


def test_the_timeouts_are_the_file_s():
    made = plan(start_timeout="300s", stop_timeout="90.2s", monitor_timeout="45s")
    parameters, monitor = dict(made.exec_parameters()), dict(made.monitor_parameters())
    assert (parameters["parameters/timeout/start"], parameters["parameters/timeout/stop"]) == ("300", "91"), "never shorter than the agent's"
    assert (parameters["act/timeout"], parameters["deact/timeout"], monitor["polling/timeout"]) == ("480", "271", "45")


@pytest.mark.parametrize("name", ["start_timeout", "stop_timeout", "monitor_timeout"])
def test_a_timeout_that_clusterpro_does_not_take(name):
    assert plan(**{name: "9999s"})
    with pytest.raises(CannotRender, match="%s is 10000 s, CLUSTERPRO takes at most 9999 s: make it shorter" % name):
        plan(**{name: "10000s"})


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "a/b", "a;b", "日本", "x" * 32, "a\n"])
def test_names_that_no_folder_and_no_command_line_may_have(name):
    for what in ("group", "resource", "monitor"):
        with pytest.raises(CannotRender, match="--" + what):
            plan(**{what: name})


def test_both_tools_are_told_the_same():
    made = plan()
    by_clpcfset = [line.split() for line in made.clpcfset()]
    by_clpcfadm = [line.split() for line in made.clpcfadm()]
    assert by_clpcfset[0] == ["clpcfset", "add", "rsc", "jobs", "exec", "exec-jobs"] and by_clpcfadm[0][1:] == by_clpcfset[0][1:]
    told = {("resource" if words[2] == "rscparam" else "monitor") + "/%s@%s/%s" % tuple(words[3:6]): words[6] for words in by_clpcfset if len(words) == 7}
    assert {words[3]: words[5] for words in by_clpcfadm if words[1] == "mod"} == told and len(told) == 25
    assert all((words[-1] == "--nocheck") is ("/relation/" in words[3]) for words in by_clpcfadm if words[1] == "mod")


def test_waiting_for_the_script_and_its_exit_code_are_asked_for():
    parameters, monitor = dict(plan().exec_parameters()), dict(plan().monitor_parameters())
    assert (parameters["parameters/act/sync"], parameters["parameters/deact/sync"], monitor["parameters/sync"]) == ("1", "1", "1")
    assert (monitor["parameters/normalval"], monitor["polling/timing"], monitor["target"]) == ("0", "1", "exec-jobs")
    assert (parameters["act/retry"], parameters["act/fo"], parameters["deact/action"]) == ("0", "1", "5")


# -- writing -----------------------------------------------------------------------------------------------------------------------------


SCRIPTS = {"scripts/g/r/start.sh": "a\n", "scripts/g/r/stop.sh": "b\n"}


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_written_and_executable(tmp_path):
    assert render.write(SCRIPTS, str(tmp_path / "out"), [], False) == [str(tmp_path / "out" / name) for name in SCRIPTS]
    assert files(tmp_path / "out") == SCRIPTS
    assert all(os.stat(tmp_path / "out" / name).st_mode & 0o777 == 0o755 for name in SCRIPTS)
    render.write(SCRIPTS, str(tmp_path / "out"), [], False)
    assert files(tmp_path / "out") == SCRIPTS, "again, it changes nothing"


def test_a_script_that_says_something_else_is_not_lost(tmp_path):
    (tmp_path / "scripts/g/r").mkdir(parents=True)
    (tmp_path / "scripts/g/r/stop.sh").write_text("by hand")
    with pytest.raises(CannotRender, match="stop.sh is there already and says something else: move it away, or --overwrite"):
        render.write(SCRIPTS, str(tmp_path), [], False)
    assert files(tmp_path) == {"scripts/g/r/stop.sh": "by hand"}, "nothing half done"
    render.write(SCRIPTS, str(tmp_path), [], True)
    assert files(tmp_path) == SCRIPTS


@pytest.mark.parametrize("given", ["opt/nec", "opt/nec/clusterpro/etc", "link", "opt/nec/../nec/x"])
def test_nothing_is_written_below_a_product_s_own_folder(tmp_path, given):
    (tmp_path / "opt/nec").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "opt/nec")
    with pytest.raises(CannotRender, match="is the product's own"):
        render.write(SCRIPTS, str(tmp_path / given), [str(tmp_path / "none"), str(tmp_path / "opt/nec")], True)
    assert files(tmp_path) == {}
    render.write(SCRIPTS, str(tmp_path / "opt/nec2"), [str(tmp_path / "opt/nec")], False)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(path, text):
        new(path, text)
        if path.endswith("stop.sh.new"):
            raise OSError(28, "No space left on device")
    new = render._write_new
    monkeypatch.setattr(render, "_write_new", full)
    with pytest.raises(CannotRender, match="stop.sh: No space left on device"):
        render.write(SCRIPTS, str(tmp_path), [], False)
    assert files(tmp_path) == {}


def test_a_folder_where_a_script_should_be(tmp_path):
    (tmp_path / "scripts/g/r/stop.sh").mkdir(parents=True)
    with pytest.raises(CannotRender, match="stop.sh is no plain file: move it away"):
        render.write(SCRIPTS, str(tmp_path), [], True)
    assert files(tmp_path) == {}, "all or none"


def test_a_link_in_the_output_leads_into_no_product(tmp_path):
    (tmp_path / "opt/nec/scripts").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scripts").symlink_to(tmp_path / "opt/nec/scripts")
    with pytest.raises(CannotRender, match="the product's own"):
        render.write(SCRIPTS, str(tmp_path / "out"), [str(tmp_path / "opt/nec")], False)
    assert files(tmp_path / "opt") == {}


def test_no_template(monkeypatch):
    monkeypatch.setattr(render, "TEMPLATES", ("/none",))
    with pytest.raises(CannotRender, match="start.sh is not in /none: run make install"):
        plan().scripts()


def test_all_but_the_commands_are_comments():
    made = plan()
    lines = render.words(made, ["/x/start.sh"], "/root/a b").split("\n")
    assert [line for line in lines if not line.startswith("#")] == made.clpcfset() + made.clpcfadm()
    assert "#    clpcfctrl --push -x '/root/a b'" in lines


def test_one_file_is_for_one_resource(tmp_path):
    first, second = plan(resource="exec-a").scripts(), plan(resource="exec-b", monitor="genw-b").scripts()
    render.write(first, str(tmp_path), [], False)
    with pytest.raises(CannotRender, match="exec-a/start.sh is made from the same file: a site has one resource"):
        render.write(second, str(tmp_path), [], True)
    render.write(plan(conf="/etc/cjc-agent/jobsiteB.conf", resource="exec-b", monitor="genw-b").scripts(), str(tmp_path), [], False)


def test_a_folder_in_the_way_of_what_is_not_finished(tmp_path):
    (tmp_path / "scripts/g/r/stop.sh.new").mkdir(parents=True)
    with pytest.raises(CannotRender, match="stop.sh"):
        render.write(SCRIPTS, str(tmp_path), [], False)
    assert files(tmp_path) == {}
