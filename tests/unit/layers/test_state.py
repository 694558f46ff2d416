from __future__ import annotations

import pytest

from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, State


@pytest.mark.parametrize("status, running, stopped", [(RUNNING, True, False), (STOPPED, False, True), (FAILED, False, False)])
def test_failed_is_neither(status, running, stopped):
    assert (State(status).running, State(status).stopped) == (running, stopped)
