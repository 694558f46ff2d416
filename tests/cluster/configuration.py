"""The files of docs/pacemaker, which are written for users, as the lab needs them."""
from __future__ import annotations

import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs/pacemaker"
FENCING = {r"\bfence_ipmilan\b": "fence_lab",
           r"\bip=\S+ username=\S+ password=\S+ lanplus=1 pcmk_host_list=(\S+)": r"plug=\1 pcmk_host_list=\1",
           r"\bpcmk_delay_base=10s\b": "pcmk_delay_base=2s"}  # fence_lab takes milliseconds, a real BMC takes seconds
QUICK_MONITORS = {r"\binterval=10s timeout=30s(?! OCF_CHECK_LEVEL)": "interval=2s timeout=30s",
                  r"\binterval=60s timeout=30s OCF_CHECK_LEVEL=10": "interval=7s timeout=30s OCF_CHECK_LEVEL=10",
                  r"\binterval=300s timeout=60s OCF_CHECK_LEVEL=20": "interval=11s timeout=60s OCF_CHECK_LEVEL=20"}
FENCE_DEVICE = """
primitive fence-{0} stonith:fence_lab params plug={0} pcmk_host_list={0} op monitor interval=60s timeout=60s
location fence-{0}-not-from-{0} fence-{0} -inf: {0}
"""


def for_the_lab(text: str, quick: bool = False, nodes: int = 2) -> str:
    """Given a user's file, return the lab's: fenced by fence_lab, with a shorter delay, and, if `quick`, the site looked at every 2, 7 and 11 s.

    The files are for two nodes: with more, each of the others gets a fence device like those of the first two.

    Fencing is left out for a file without fence devices, which is loaded on top of another. Raise ValueError when there is nothing to
    replace: then the file was changed and this function was not.
    """
    changes = dict(FENCING if "pcmk_host_list=" in text else {}, **(QUICK_MONITORS if quick else {}))
    for pattern, replacement in changes.items():
        text, hits = re.subn(pattern, replacement, text)
        if not hits:
            raise ValueError("for_the_lab: nothing matches %s" % pattern)
    others = range(3, nodes + 1) if "pcmk_host_list=" in text else ()
    return text + "".join(FENCE_DEVICE.format("node%d" % number) for number in others)


def file_for_the_lab(name: str, quick: bool = False, nodes: int = 2) -> str:
    """for_the_lab() of a file of docs/pacemaker."""
    return for_the_lab((FOLDER / name).read_text(), quick, nodes)
