"""The list of `make mutants` in every test run: a mutant that no longer fits the code, or names no test, would check nothing."""
from __future__ import annotations

import ast
import functools
import pathlib
import subprocess

import pytest

from mutants.mutants import MUTANTS
from unit.helpers import ROOT


@functools.cache
def functions(file: pathlib.Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_there_are_enough_and_each_is_one_of_its_own():
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    assert max(len(mutant.name) for mutant in MUTANTS) <= 76, "the width of the table"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_fits_the_code_and_the_tests(mutant):
    assert mutant.file.startswith(("agent/", "ocf/", "packaging/"))
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1 and mutant.new != mutant.old
    broken = text.replace(mutant.old, mutant.new)
    if mutant.file.endswith(".py"):
        assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(text)), "a comment is no rule"
        compile(broken, mutant.file, "exec")
    else:
        assert subprocess.run(["sh", "-n"], input=broken, text=True).returncode == 0
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert name in functions(ROOT / file), test
