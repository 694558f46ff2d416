"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import address, disk, holders, jobcenter, killed, mounts, node

FAULTS = [*disk.FAULTS, *mounts.FAULTS, *holders.FAULTS, *address.FAULTS, *jobcenter.FAULTS, *node.FAULTS, *killed.FAULTS]
