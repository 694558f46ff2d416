"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import disk, killed, meetings, node, records

FAULTS = [*disk.FAULTS, *node.FAULTS, *killed.FAULTS, *meetings.FAULTS, *records.FAULTS]
