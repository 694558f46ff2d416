"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import disk, hanging, holders

FAULTS = [*disk.FAULTS, *holders.FAULTS, *hanging.FAULTS]
