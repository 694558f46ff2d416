"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import address, disk, holders, killed, node

FAULTS = [*disk.FAULTS, *holders.FAULTS, *address.FAULTS, *node.FAULTS, *killed.FAULTS]
