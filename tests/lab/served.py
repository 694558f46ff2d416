"""Sites whose disk depends on a server that can stop answering: a network file system, or a block device on dead storage."""
from __future__ import annotations

import pathlib
import subprocess

from lab import disk
from lab.server import FileServer
from lab.site import Site

EXPORT, NETWORK_TYPE = "nfsserver:/export", "fuse.lab"


class StorageSite(Site):
    """The block device's image lies on the server."""

    def make_disk(self, folder: pathlib.Path, fstype: str) -> disk.Disk:
        """See Site.make_disk."""
        self.server = FileServer(folder / "served")
        storage = folder / "storage"
        storage.mkdir()
        self.server.mount(storage)
        return disk.make(str(storage / "disk.img"), 32, fstype, "-L", folder.name[-16:])

    def close(self) -> None:
        """See Site.close."""
        self.server.answer()
        super().close()
        self.server.close()


class Share(disk.Disk):
    """An export in a disk's clothes: no device of this node."""

    def __init__(self) -> None:
        self.image = self.path = EXPORT

    def can_be_claimed(self) -> bool:
        """Nobody claims an export."""
        return True

    def close(self) -> None:
        """Nothing of it is attached."""


class ShareSite(Site):
    """The site DB lies on a network file system that the agent mounts."""

    def make_disk(self, folder: pathlib.Path, fstype: str) -> disk.Disk:
        """See Site.make_disk."""
        self.server = FileServer(folder / "served", EXPORT, NETWORK_TYPE, helper=True)
        return Share()

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.parameters["fstype"] = NETWORK_TYPE

    def mount(self, *options: str) -> None:
        """See Site.mount."""
        subprocess.run(["mount", *options, "-t", NETWORK_TYPE, EXPORT, str(self.directory)], check=True)

    def close(self) -> None:
        """See Site.close."""
        self.server.answer()
        super().close()
        self.server.close()


class ClusterShareSite(ShareSite):
    """... that the cluster mounts before the agent is called, and unmounts itself."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.parameters.update(device="", fstype="")
        self.mount()
