from __future__ import annotations

import ast
import re
import subprocess
import sys

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
