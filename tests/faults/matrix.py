"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import address, disk, hanging, holders, jobcenter, killed, meetings, mmp, mounts, node, records

FAULTS = [*disk.FAULTS, *mounts.FAULTS, *mmp.FAULTS, *holders.FAULTS, *hanging.FAULTS, *address.FAULTS, *jobcenter.FAULTS, *node.FAULTS,
          *killed.FAULTS, *meetings.FAULTS, *records.FAULTS]
