"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import disk, mmp

FAULTS = [*disk.FAULTS, *mmp.FAULTS]
