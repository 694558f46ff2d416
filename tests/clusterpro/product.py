"""What the SIMULATOR of CLUSTERPRO puts on a node: the fakes of its commands, below the product's own folder."""
from __future__ import annotations

import pathlib
import shutil

HERE = pathlib.Path(__file__).parent
HOME = "/opt/nec/clusterpro"
CONFIGURATION, SCRIPTS, LOG = HOME + "/etc/clp.conf", HOME + "/scripts", HOME + "/log"
COMMANDS = ("clplogcmd", "clpcfset", "clpcfadm.py", "clpcfctrl")


def install(root: pathlib.Path) -> None:
    """Install it below `root`."""
    home = root / HOME[1:]
    for folder in ("bin", "etc", "log", "scripts"):
        (home / folder).mkdir(parents=True)
    shutil.copy(HERE / "clpconf.py", home)
    (root / "usr/sbin").mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        shutil.copy(HERE / "fakes" / name, home / "bin")
        (root / "usr/sbin" / name).symlink_to("%s/bin/%s" % (HOME, name))
