from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cjc_agent.tools import startup
from unit.helpers import AGENT

CODE = """import os, sys; sys.path.insert(0, %r)
from cjc_agent.tools.startup import settle
settle()
facts = [os.readlink("/proc/self/fd/%%d" %% n) for n in (0, 1, 2)] + [os.getcwd(), "%%03o" %% os.umask(0), repr(sorted(os.environ))]
with open(sys.argv[1], "w") as file:
    file.write("\\n".join(facts))
""" % str(AGENT)


def settled(tmp_path, shell="", environment=None, cwd="/usr"):
    out = tmp_path / "facts"
    subprocess.run(["/bin/sh", "-c", 'umask 077; exec "$@" ' + shell, "sh", sys.executable, "-I", "-S", "-c", CODE, str(out)],
                   env=environment or {}, cwd=cwd, check=True, timeout=10, stdin=subprocess.DEVNULL, capture_output=True)
    return out.read_text().split("\n")


def test_folder_umask_and_environment(tmp_path):
    facts = settled(tmp_path, environment={"NQS_SITE": "x", "LD_LIBRARY_PATH": "/nowhere", "LDFLAGS": "stays", "NQS_SITE2": "stays"})
    assert facts[3:5] == ["/", "022"]
    for name in ("LDFLAGS", "NQS_SITE2"):
        assert name in facts[5]
    assert "'NQS_SITE'" not in facts[5] and "LD_LIBRARY_PATH" not in facts[5]


def test_children_can_be_waited_for_whatever_the_caller_ignored(tmp_path):
    """SIGCHLD ignored is inherited through exec: the kernel then reaps our children itself, and their exit codes are lost."""
    code = CODE + "import subprocess\nsys.exit(0 if subprocess.call(['/bin/sh', '-c', 'exit 5']) == 5 else 9)\n"
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code, str(tmp_path / "facts")], env={}, cwd="/usr",
                             preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert child.wait(10) == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_descriptors_are_opened(tmp_path, closed):
    facts = settled(tmp_path, " ".join("%d>&-" % descriptor for descriptor in closed))
    assert [facts[descriptor] for descriptor in closed] == ["/dev/null"] * len(closed)


def test_a_working_folder_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    child = subprocess.Popen(["/bin/sh", "-c", 'rmdir "$0"; exec "$@"', str(gone), sys.executable, "-I", "-S", "-c", CODE, str(tmp_path / "facts")],
                             cwd=gone, env={})
    assert child.wait(10) == 0
    assert (tmp_path / "facts").read_text().split("\n")[3] == "/"


def test_a_healthy_monitor_imports_nothing_it_does_not_need():
    """Each of these costs milliseconds of a monitor that has 15; psutil is for people's words and escalation only."""
    code = ("import sys; sys.path.insert(0, %r)\nimport cjc_agent.frontends.ocf\n"
            "print(*[name for name in ('psutil', 'json', 're', 'subprocess', 'typing', 'enum', 'signal', 'socket', 'shlex', 'argparse', 'logging', 'pwd',"
            " 'cjc_agent.layers.blockdisk', 'cjc_agent.layers.ownership', 'cjc_agent.tools.blockdevice', 'cjc_agent.tools.holders',"
            " 'cjc_agent.frontends.cli') if name in sys.modules])" % str(AGENT))
    said = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True, timeout=10, text=True, cwd="/")
    assert said.stdout.split() == []


def test_floors_import_downwards_only():
    rank = {"tools": 0, "settings": 1, "layers": 2, "actions": 3, "operator": 4, "frontends": 5}
    wrong = []
    for folder, _, names in os.walk(AGENT / "cjc_agent"):
        for name in names:
            if name.endswith(".py") and name != "__init__.py":
                where = os.path.relpath(os.path.join(folder, name), AGENT / "cjc_agent")
                floor = rank[where[:-3].split("/")[0]]
                for line in open(os.path.join(folder, name), encoding="utf-8"):
                    words = line.split()
                    if words[:1] in (["from"], ["import"]) and words[1].startswith("cjc_agent."):
                        if rank[words[1].split(".")[1]] > floor:
                            wrong.append((where, words[1]))
                    elif words[:3] == ["from", "cjc_agent", "import"]:
                        wrong += [(where, word) for word in "".join(words[3:]).split(",") if rank.get(word, 0) > floor]
    assert wrong == []


def test_only_command_py_starts_processes():
    for folder, _, names in os.walk(AGENT):
        for name in names:
            if name.endswith(".py") and name != "command.py":
                text = open(os.path.join(folder, name), encoding="utf-8").read()
                for word in ("subprocess", "os.system(", "os.popen(", "os.fork(", "posix_spawn", "os.exec", "shell=True"):
                    if word == "subprocess" and "import subprocess" not in text:
                        continue
                    assert word not in text, "%s/%s: %s" % (folder, name, word)


@pytest.mark.parametrize("seen", ["1", FileNotFoundError(2, "No such file or directory")])
def test_blind_without_proc_of_our_own(monkeypatch, seen):
    assert startup.blind() == ""

    def readlink(_):
        if isinstance(seen, OSError):
            raise seen
        return seen
    monkeypatch.setattr(os, "readlink", readlink)
    assert "mount -t proc" in startup.blind()
