"""The network of the cluster: a bridge in the room, a cable to each node. The room itself is the client on it."""
from __future__ import annotations

import os
import subprocess

BRIDGE = "lan0"
NETWORK = "10.0.2."  # the seed's: its VIP is 10.0.2.50
CLIENT = NETWORK + "200"


def address(number: int) -> str:
    """The address of the node with that number."""
    return NETWORK + str(10 + number)


def build() -> None:
    """Make the bridge, with the client's address on it."""
    ip("link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    ip("address", "add", CLIENT + "/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")


def remove() -> None:
    """Take the bridge away."""
    ip("link", "delete", BRIDGE)


def plug_in(name: str, number: int, init_pid: int, is_cut_off: bool) -> None:
    """Make the cable from the bridge to the node whose process 1 that is. `is_cut_off`: it carries nothing yet."""
    unplug(name)  # the last life's end of it may still be there
    ip("link", "add", _port(name), "type", "veth", "peer", "name", "eth0", "address", "52:54:00:00:02:%02x" % number, "netns", str(init_pid))
    ip("link", "set", _port(name), "master", BRIDGE, "down" if is_cut_off else "up")


def unplug(name: str) -> None:
    """Take the cable away."""
    if os.path.exists("/sys/class/net/" + _port(name)):
        subprocess.run(["ip", "link", "delete", _port(name)], check=False, stderr=subprocess.DEVNULL)


def cut(name: str) -> None:
    """Cut the node off: its cable loses the carrier."""
    ip("link", "set", _port(name), "down")


def mend(name: str) -> None:
    """Undo cut()."""
    ip("link", "set", _port(name), "up")


def ip(*words: str) -> None:
    """ip(8), which says itself what is wrong."""
    subprocess.run(["ip", *words], check=True)


def _port(name: str) -> str:
    return "to-" + name
