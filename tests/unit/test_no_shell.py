"""What the core's source, and the wrappers', never contain: read from the text itself, so that a new module cannot be forgotten."""
from __future__ import annotations

import ast
import re

import pytest

from unit.helpers import AGENT, ROOT

SOURCES = sorted(AGENT.rglob("*.py"))
WRAPPERS = [ROOT / "ocf" / "jobcenter", ROOT / "packaging" / "cjc-agent"]
SCRIPTS = [AGENT.parent / "clusterpro" / name for name in ("start.sh", "stop.sh", "genw.sh")]
STARTERS = {"fork", "forkpty", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe", "posix_spawn", "posix_spawnp",
            "spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp", "spawnvpe", "startfile"}
SHELLS = {"os.system", "os.popen"}
MODULES = {"subprocess", "pickle", "marshal", "shelve", "dill", "pty", "commands", "popen2", "multiprocessing", "concurrent", "asyncio", "ctypes", "code",
           "runpy"}
FROM_TEXT = {"eval", "exec", "compile", "__import__", "execfile"}


def violations(source: str, may_start: bool = False) -> list[str]:
    """Return what a module's text has that it must not have; `may_start`: it is the one that starts processes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").split(".")[0] in MODULES else []
            found += ["%s.%s" % (node.module, name.name) for name in node.names
                      if node.module in ("os", "posix") and (name.name in ("system", "popen") or name.name in STARTERS)]
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            found += [text] if text in SHELLS or (node.attr in STARTERS and not may_start) else []
        elif isinstance(node, ast.Name):
            found += [node.id] if node.id in FROM_TEXT else []
        elif isinstance(node, ast.keyword):
            found += ["shell="] if node.arg == "shell" else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(AGENT)))
def test_the_core_has_no_shell_no_code_from_text_and_one_place_that_starts_processes(path):
    assert violations(path.read_text(encoding="utf-8"), may_start=path == AGENT / "cjc_agent" / "tools" / "command.py") == []


@pytest.mark.parametrize("text", [
    "import subprocess", "from subprocess import run", "import os\nos.system('x')", "from os import popen", "run(x, shell=True)", "eval('1')",
    "exec(text)", "import pickle", "__import__('x')", "import os\nos.execve(a, b, c)", "import os\nos.fork()", "from os import fork", "import ctypes.util",
])
def test_the_test_above_sees_it(text):
    assert violations(text)


@pytest.mark.parametrize("path", WRAPPERS, ids=lambda path: path.name)
def test_the_wrappers_run_nothing_from_text(path):
    """The one command substitution has an absolute path, and is in a checkout only."""
    code = re.sub(r"(^|\s)#.*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\beval\b|`|(?:^|[;&|\s])(?:\.|source|command|env|sudo|su)\s|\bset\s+--", code)
    assert re.findall(r"\$\([^)]*\)", code) == ['$(/usr/bin/readlink -f -- "$self")']
    assert re.findall(r"^\s*exec (\S+ -I -S -OO -X utf8) ", code, re.MULTILINE) == ['"$PYTHON" -I -S -OO -X utf8'], "quoted, isolated, and once"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_of_clusterpro_only_become_the_command(path):
    code = re.sub(r"(^|\s)#.*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\beval\b|`|\$\(|(?:^|[;&|\s])(?:\.|source|command|env|sudo|su)\s|\bset\s", code)
    verb = {"genw": "monitor"}.get(path.stem, path.stem)
    assert re.findall(r"^\s*exec (.*)", code, re.MULTILINE) == ['"$AGENT" clusterpro ' + verb]


def test_both_wrappers_drop_the_same_variables():
    first, second = ([name for text in re.findall(r"^unset (?!-f)((?:.*\\\n)*.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
                      for name in re.findall(r"\w+", text)] for path in WRAPPERS)
    assert first == second and {"LD_PRELOAD", "GCONV_PATH", "IFS", "BASH_ENV", "ENV", "NQS_SITE"} <= set(first)
