from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from cjc_agent.operator import render
from cjc_agent.settings import conf_file, parameters
from unit.helpers import ROOT


def test_the_parameter_page_is_made_from_the_table():
    """Out of date after a change of the parameter table: `make docs`, then read the diff. The golden meta-data: settings/test_metadata.py."""
    said = subprocess.run([sys.executable, "-I", "-X", "utf8", str(ROOT / "packaging" / "parameters_page.py")], cwd="/", timeout=10, capture_output=True)
    assert (said.returncode, said.stderr) == (0, b"")
    assert said.stdout.decode() == (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")


def defined(path: str) -> set[str]:
    """The tests that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def claims() -> list[str]:
    """The rows of the security page's tables of claims."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    tables = page.split("## What is claimed", 1)[1].split("\n## ", 1)[0]
    return [line for line in tables.split("\n") if line.startswith("| ") and not line.endswith("| test |")]


def test_every_claim_of_the_security_page_names_tests_that_exist():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", page)
    assert len(named) >= 40 and page.count("::") == len(named), "each is written as path::name"
    assert [pair for pair in named if not (ROOT / pair[0]).exists() or pair[1] not in defined(pair[0])] == []
    assert len(claims()) >= 20 and [row for row in claims() if not re.search(r"`tests/[\w/]+\.py::test_\w+`", row)] == []


def test_the_readmes_lead_to_the_security_page():
    for name in ("README.md", "README.ja.md"):
        assert "(docs/security.md)" in (ROOT / name).read_text(encoding="utf-8")


# -- the pages about CLUSTERPRO ----------------------------------------------------------------------------------------------------------


PAGES = ("clusterpro.md", "clusterpro.ja.md")
NOT_RENDERED = "# not printed by render"
# words of log lines that stand nowhere in the code as they are said; tests/agent sees most of them
PUT_TOGETHER = {"still mounted, held by", "cjcpw start exited", "cjcpw start did not end within", "cjcpw status exited", "but processes left",
                "sending TERM to", "sending KILL to", "stopping by the record", "No such file or directory"}


def text_of(page: str) -> str:
    """What a page of docs/ says."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def section(page: str, heading: str, following: str) -> str:
    """What a page says between two headings."""
    return text_of(page).split("\n%s " % heading, 1)[1].split("\n%s " % following, 1)[0]


def blocks(page: str) -> list[list[str]]:
    """The code blocks of a page, as lines without the indentation of the list that they may stand in."""
    found = re.findall(r"^( *)```\n(.*?)^\1```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [[line[len(indent):] for line in text.split("\n")[:-1]] for indent, text in found]


def example_files(page: str) -> list[list[str]]:
    """The blocks that are configuration files: their first line says which."""
    return [block for block in blocks(page) if block[0].startswith("# /etc/cjc-agent/")]


def plan(page: str) -> render.Plan:
    """What `render` makes of the page's first configuration file with the options that the page gives it."""
    lines = example_files(page)[0]
    command = next(line for block in blocks(page) for line in block if line.startswith("cjc-agent render clusterpro "))
    options = dict(re.findall(r"--(\w+) (\S+)", command))
    assert options["conf"] == lines[0][2:]
    settings = parameters.read(conf_file.parse("\n".join(lines).encode(), "page").values)[0]
    return render.Plan(options["conf"], settings, options["group"], options["resource"], "genw-" + options["resource"])


def test_the_readmes_lead_to_the_page_in_their_language():
    for readme, page in zip(("README.md", "README.ja.md"), PAGES):
        assert "(docs/%s)" % page in (ROOT / readme).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_example_files_are_right(page):
    examples = example_files(page)
    assert len(examples) == 3, "with CLUSTERPRO's disk, with `device`, of a second site"
    read = [conf_file.parse("\n".join(lines).encode(), lines[0][2:]) for lines in examples]
    assert [(conf.errors, parameters.read(conf.values)[1]) for conf in read] == [([], {})] * 3
    assert [conf.values.get("device", "") for conf in read] == ["", "/dev/sdb1", ""]
    assert not set(read[0].values.items()) & {pair for pair in read[2].values.items() if not pair[0].endswith("_timeout")}, "two sites share nothing"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_are_those_that_render_prints(page):
    printed = render.words(plan(page), ["/root/clp/" + name for name in plan(page).scripts()], "/root/clp").split("\n")
    rendered = [block for block in blocks(page) if block[0] == "# written:"]
    assert len(rendered) == 1 and [line for line in rendered[0] if line != "..." and line not in printed] == []
    commands = [line for block in blocks(page) for line in block if block[0] != NOT_RENDERED and line.startswith(("clpcfset ", "clpcfadm.py "))]
    assert len(commands) >= 8 and [line for line in commands if line not in printed] == []
    added = [line for block in blocks(page) for line in block[1:] if block[0] == NOT_RENDERED]
    assert added and [line for line in added if line in printed or not line.startswith("clpcfset add ")] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_for_the_webui_have_every_parameter_with_its_value(page):
    rows = re.findall(r"^\| [^|]*\| ((?:`[\w/]+`(?:, )?)+) \| ([^|]+) \|", section(page, "### 1.4", "### 1.5"), re.MULTILINE)
    shown = [pair for names, values in rows for pair in zip(re.findall(r"`([\w/]+)`", names), values.split(", "))]
    assert sorted(shown) == sorted(plan(page).exec_parameters() + plan(page).monitor_parameters())


def strings_of_the_agent() -> str:
    """All texts in the code, pieces of one text joined, one a line."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "agent").rglob("*.py"))]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(texts + [path.read_text(encoding="utf-8") for path in (ROOT / "clusterpro").glob("*.sh")])


def messages(page: str) -> list[str]:
    """The log lines in the first column of the section on them."""
    return [words for cell in re.findall(r"^\| (`.*?`) \| ", section(page, "## 3.", "## 4."), re.MULTILINE) for words in re.findall(r"`([^`]+)`", cell)]


def test_the_log_lines_are_in_the_code():
    """Fixed words of three and more between colons; "...", FILE, quoted names and numbers stand for what differs."""
    said, code = messages("clusterpro.md"), strings_of_the_agent()
    pieces = [piece.strip(" ,(") for line in said for piece in re.split(r": |\.\.\.|FILE|(?<!\w)'[^']*'|\d+", line)]
    pieces = [piece for piece in pieces if piece.count(" ") >= 2]
    assert len(said) >= 35 and len(pieces) >= 50
    assert {piece for piece in pieces if piece not in code} == PUT_TOGETHER


def test_both_languages_say_the_same_where_a_machine_can_tell():
    english, japanese = PAGES
    assert len(blocks(english)) >= 12 and blocks(english) == blocks(japanese)
    assert messages(english) == messages(japanese)
    assert [re.findall(r"`([^`]+)`", line) for line in text_of(english).split("\n") if line.startswith("#")] == [
        re.findall(r"`([^`]+)`", line) for line in text_of(japanese).split("\n") if line.startswith("#")]
    assert [text_of(page).count("\n| ") for page in PAGES] == [text_of(english).count("\n| ")] * 2
    assert re.findall(r"^#+ \d[\d.]*", text_of(english), re.MULTILINE) == re.findall(r"^#+ \d[\d.]*", text_of(japanese), re.MULTILINE)
