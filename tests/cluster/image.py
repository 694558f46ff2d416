"""What is installed on every node of a cluster: the agent, the simulator, and the cluster's own: fence agent, corosync's and pacemaker's files.

It is installed once, into an overlay over the machine; the upper layer of that is a lower layer of every node.
"""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Callable

from cluster import network
from lab.run_in_node import MACHINE, mount

PROJECT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
COROSYNC = """totem {{
	version: 2
	cluster_name: lab
	transport: knet
	crypto_cipher: none
	crypto_hash: none
	token: {token}
}}
quorum {{
	provider: corosync_votequorum
	{two_node}
}}
logging {{
	to_syslog: no
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
	timestamp: hires
}}
nodelist {{
{nodes}}}
"""
# the first election would wait 20 s for others (dc-deadtime): 2 s are enough where all nodes boot together
CIB = """<cib crm_feature_set="3.0.14" validate-with="pacemaker-3.0" epoch="1" num_updates="0" admin_epoch="0">
<configuration><crm_config><cluster_property_set id="cib-bootstrap-options">
<nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="2s"/></cluster_property_set></crm_config>
<nodes/><resources/><constraints/></configuration><status/></cib>
"""


def build(room: pathlib.Path, names: Sequence[str], folders: Sequence[str], install: Callable[[pathlib.Path, Sequence[str]], None]) -> str:
    """Install it all; return the lower layers of a node's root file system. `folders` are mount points to make.

    `install`, called with the root file system and the nodes' names, installs what makes them a cluster.
    """
    for name in ("image", "image-work", "image-root"):
        (room / name).mkdir()
    root = room / "image-root"
    mount("overlay", "overlay", str(root), "lowerdir=%s,upperdir=%s/image,workdir=%s/image-work" % (MACHINE, room, room))
    subprocess.run(["make", "-s", "-C", str(PROJECT), "install", "DESTDIR=" + str(root)], check=True)
    subprocess.run([str(PROJECT / "tests/simulator/install"), "--root", str(root)], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(HERE / "boot", root / "etc/lab-boot")
    for folder in folders:
        (root / folder[1:]).mkdir(parents=True, exist_ok=True)
    hosts = "".join("%s %s\n" % (network.address(number), name) for number, name in enumerate(names, 1))
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n" + hosts)
    install(root, names)
    subprocess.run(["umount", str(root)], check=True)
    return "%s/image:%s" % (room, MACHINE)


def install_pacemaker(root: pathlib.Path, names: Sequence[str], token: int) -> None:
    """Fence agent, start script to compare with, and the files of corosync and pacemaker; `token` is in milliseconds."""
    for source, target in (("fence_lab", "usr/sbin/fence_lab"), ("standard-group", "etc/init.d/jobcenter-site")):
        shutil.copy(HERE / source, root / target)
    for folder in ("var/log/crmsh", "var/log/corosync"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    nodes = "".join("\tnode {\n\t\tname: %s\n\t\tnodeid: %d\n\t\tring0_addr: %s\n\t}\n" % (name, number, network.address(number))
                    for number, name in enumerate(names, 1))
    two_node = "two_node: 1" if len(names) == 2 else ""
    (root / "etc/corosync/corosync.conf").write_text(COROSYNC.format(token=token, two_node=two_node, nodes=nodes))
    cib = root / "var/lib/pacemaker/cib/cib.xml"
    cib.write_text(CIB)
    shutil.chown(cib, "hacluster", "haclient")
    os.chmod(cib, 0o600)
