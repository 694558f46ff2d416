"""Shared by all tests: whether they run on a throwaway node."""
from __future__ import annotations

import pytest

from lab import ON_NODE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mount, add addresses and install run on a throwaway node only (tests/lab/run_in_node.py, `make test`)."""
    for item in items:
        if ("/tests/agent/" in str(item.path) or "/tests/cluster/" in str(item.path)) and not ON_NODE:
            item.add_marker(pytest.mark.skip(reason="needs the throwaway node: run `make test` as root on Debian"))
