"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import address, disk, hanging, holders, jobcenter, killed, mmp, mounts, node

FAULTS = [*disk.FAULTS, *mounts.FAULTS, *mmp.FAULTS, *holders.FAULTS, *hanging.FAULTS, *address.FAULTS, *jobcenter.FAULTS, *node.FAULTS,
          *killed.FAULTS]
