"""The agent's own parameters, from whichever source, and what this Python lacks."""
from __future__ import annotations

from collections.abc import Iterator

from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import ERROR, Found, Group
from cjc_agent.tools import processes

GROUP = Group("Parameters of the agent", "エージェントのパラメータ")

UNCOMPLETED = GROUP.rule(
    "CJC001", ERROR,
    ("the check \"%(check)s\" could not be completed: %(error)s", "検査「%(check)s」を完了できませんでした: %(error)s"),
    ("What it would have found is not known.", "本来見つかるはずの問題が分かりません。"),
    ("Report it with this line; look at the node's memory and descriptors.", "この行を添えて報告してください。ノードのメモリとファイル記述子も確認してください。"))
BAD = GROUP.rule(
    "CJC002", ERROR,
    ("wrong parameter: %(words)s", "パラメータの誤り: %(words)s"),
    ("Pacemaker refuses to start the resource anywhere (exit code 6); under CLUSTERPRO start.sh fails.",
     "Pacemaker ではどのノードでも起動が拒否されます（終了コード 6）。CLUSTERPRO では start.sh が失敗します。"),
    ("Correct it in the configuration file or in the cluster's resource, then run the doctor again.",
     "設定ファイルまたはクラスタのリソースで修正し、doctor を再実行してください。"))
NO_PSUTIL = GROUP.rule(
    "CJC003", ERROR,
    ("psutil is not installed for the Python that runs the agent", "エージェントを実行する Python に psutil がありません"),
    ("The start on this node is refused (exit code 5).", "このノードでの起動が拒否されます（終了コード 5）。"),
    ("Install it: python3-psutil (Debian, RHEL 9), python39-psutil (RHEL 8), python311-psutil (SLES 15) ...",
     "python3-psutil（Debian、RHEL 9）、python39-psutil（RHEL 8）、python311-psutil（SLES 15）などを導入してください。"))


@GROUP.check
def parameters(node: Node) -> Iterator[Found]:
    """All that is wrong with the parameters."""
    for words in node.request.complaints:
        yield BAD(words=words)


@GROUP.check
def python(node: Node) -> Iterator[Found]:
    """What this Python lacks."""
    if not processes.has_psutil():
        yield NO_PSUTIL()
