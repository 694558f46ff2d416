"""Tests under the SIMULATOR share its nodes by module; those of the fakes need none."""
from __future__ import annotations

import pytest

from lab import ON_NODE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nodes can be made on a throwaway node only (tests/lab/run_in_node.py, `make test`)."""
    for item in items:
        if "/tests/clusterpro/" in str(item.path) and item.path.name != "test_fakes.py" and not ON_NODE:
            item.add_marker(pytest.mark.skip(reason="needs the throwaway node: run `make test` as root on Debian"))
