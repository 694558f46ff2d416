"""A node on which JobCenter is installed as its installer leaves it: from a package, with its systemd unit."""
from __future__ import annotations

import pathlib

from cluster.node import Node
from lab import unit
from lab.healthy import build_package

LICENCE = "/usr/lib/nqs/license/jobcenter_key.dat"
WITHOUT_CJC = "SIMULATOR licence key\nproduct=JobCenter MG/SV\n"
WITH_CJC = WITHOUT_CJC + "option=CJC Option\n"


def install(node: Node, folder: pathlib.Path, version: str) -> None:
    """Install the SIMULATOR's package of a version, and its unit. `folder`: where the package is made."""
    node.path("/root/jobcenter.deb").write_bytes(build_package(folder, version).read_bytes())
    node.run("dpkg", "--force-unsafe-io", "--force-downgrade", "-i", "/root/jobcenter.deb")
    node.path(str(unit.UNIT)).write_text(unit.TEXT)
    node.path("/etc/resolv.conf").write_text("")  # nobody asks a name service outside
