"""Which kind of disk the settings name. Only that kind is imported: a monitor pays for what it uses."""
from __future__ import annotations

from cjc_agent.layers.disk import ClusterDisk, Disk, NetworkDisk, UnknownDisk
from cjc_agent.settings import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from cjc_agent.settings.parameters import Settings
    from cjc_agent.tools.command import Runner
    from cjc_agent.tools.deadline import Deadline
    from cjc_agent.tools.log import Log


def disk_of(settings: Settings, runner: Runner, log: Log, deadline: Deadline, resolved: Optional[dict[str, str]] = None, known: bool = True) -> Disk:
    """Given the settings, return the kind of disk they name; `resolved` is the record's `disk`. `known` false: `device` or `directory` is bad."""
    kind: type[Disk] = ClusterDisk
    if not known:
        kind = UnknownDisk
    elif settings.device and settings.directory and values.is_network(settings.device):
        kind = NetworkDisk
    elif settings.device and settings.directory:
        from cjc_agent.layers.blockdisk import BlockDisk
        kind = BlockDisk
    return kind(settings, runner, log, deadline, dict(resolved or {}))
