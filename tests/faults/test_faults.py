"""The quick rows of the fault matrix, in every run; `make faults` plays all of them, and starts each site again once it is healed."""
from __future__ import annotations

import pathlib

import pytest

from faults.engine import moments, play
from faults.fault import Fault
from faults.matrix import FAULTS

QUICK = [(fault, moment) for fault in FAULTS if fault.quick for moment in moments(fault)]


@pytest.mark.parametrize(("fault", "moment"), QUICK, ids=["%s / %s" % (fault.title, moment) for fault, moment in QUICK])
def test_fault(fault: Fault, moment: str, tmp_path: pathlib.Path) -> None:
    seen = play(fault, moment, tmp_path, again=False)
    assert not seen.wrong, "%s (%.1f s): %s" % (seen.code, seen.seconds, seen.reason)


def test_every_row_has_its_own_name() -> None:
    assert len({fault.title for fault in FAULTS}) == len(FAULTS)
