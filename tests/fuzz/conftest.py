"""Where hypothesis may write, and the table at the end."""
from __future__ import annotations

import pathlib
import tempfile

import pytest
from hypothesis import configuration

from fuzz import engine
from lab import ON_NODE

_home = tempfile.TemporaryDirectory(prefix="cjc-agent-hypothesis-")  # gone when we end
configuration.set_hypothesis_home_dir(_home.name)  # not into the checkout


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile HA_LOGFILE may be a relative path: not into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def state_folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A state folder of the test's own."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The wrapper is given paths and parameters that are meant to do harm."""
    for item in items:
        if item.path.name == "test_wrapper.py" and not ON_NODE:
            item.add_marker(pytest.mark.skip(reason="needs the throwaway node: run `make test` as root on Debian"))


def pytest_terminal_summary(terminalreporter) -> None:  # type: ignore[no-untyped-def]
    """What was tried."""
    if engine.table:
        terminalreporter.section("fuzzing: parser, different inputs, seconds")
        for parser, row in engine.table.items():
            terminalreporter.write_line("%-26s %8d %8.1f" % (parser, *row))
