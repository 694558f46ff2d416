"""All faults of one node, in the order of the tables."""
from __future__ import annotations

from faults import address, disk, jobcenter

FAULTS = [*disk.FAULTS, *address.FAULTS, *jobcenter.FAULTS]
