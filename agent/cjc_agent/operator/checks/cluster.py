"""What Pacemaker's configuration does to a failover; and, for `cjc-agent compare`, what must be the same on all nodes."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cjc_agent.operator.cib import Cib, Resource
from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import ERROR, INFO, NO_CLUSTER, WARNING, Found, Group, Reason, unchecked
from cjc_agent.settings import values
from cjc_agent.tools import history
from cjc_agent.tools.deadline import budget

GROUP = Group("Cluster: timeouts, fencing, nodes", "クラスタ: タイムアウト・フェンシング・ノード")

TOO_SHORT = GROUP.rule(
    "CJC601", ERROR,
    ("%(action)s needed %(needed)s s here last time, but its timeout is %(timeout)s, which leaves %(left)s s for it",
     "前回 %(action)s に %(needed)s 秒かかりましたが、タイムアウトは %(timeout)s（使える時間は %(left)s 秒）です"),
    ("A start that is cut off counts as failed, and the site does not come up anywhere; a stop that is cut off has the node fenced.",
     "start が打ち切られると失敗となり、どのノードでもサイトが起動しません。stop が打ち切られるとノードがフェンシングされます。"),
    ("Raise it well above that, 180s is recommended: of Pacemaker's operation (`op %(action)s timeout=180s`), or under CLUSTERPRO `%(action)s_timeout`.",
     "十分に延ばしてください（推奨値 180s）。Pacemaker ではオペレーションのタイムアウト（`op %(action)s timeout=180s`）、CLUSTERPRO では `%(action)s_timeout` です。"))
NO_FENCING = GROUP.rule(
    "CJC602", ERROR,
    ("the cluster has %(count)s nodes and no fencing (stonith-enabled=false, or no STONITH device)",
     "%(count)s ノードのクラスタですが、フェンシングがありません（stonith-enabled=false、または STONITH デバイスなし）"),
    ("A node that is lost may still write to the site DB when the other one takes it over: that destroys it. A stop that fails blocks the failover.",
     "応答しなくなったノードがサイト DB に書き込み続けたまま引き継がれ、サイト DB が破壊されるおそれがあります。停止に失敗するとフェイルオーバも止まります。"),
    ("Set up a STONITH device for each node, or SBD, and stonith-enabled=true.", "各ノードの STONITH デバイスまたは SBD を設定し、stonith-enabled=true にしてください。"))
CLONED = GROUP.rule(
    "CJC603", ERROR,
    ("the resource %(resource)s is in the clone %(clone)s", "リソース %(resource)s がクローン %(clone)s に含まれています"),
    ("The start is refused on every node: several of them would mount the site's disk at once.",
     "複数ノードが同時にディスクをマウントするため、どのノードでも起動が拒否されます。"),
    ("Remove the clone: `pcs resource unclone %(resource)s`, or `crm configure delete %(clone)s`.",
     "`pcs resource unclone %(resource)s` または `crm configure delete %(clone)s` でクローンを解除してください。"))
BANNED = GROUP.rule(
    "CJC604", WARNING,
    ("the constraint %(constraint)s keeps %(resource)s away from this node", "制約 %(constraint)s により %(resource)s はこのノードで起動できません"),
    ("No failover to this node happens: a command to move or ban the resource has left that behind.",
     "移動または禁止コマンドの制約が残っているため、このノードへはフェイルオーバしません。"),
    ("Remove it: `crm configure delete %(constraint)s`, or `pcs constraint remove %(constraint)s`.",
     "`crm configure delete %(constraint)s` または `pcs constraint remove %(constraint)s` で削除してください。"))
IDLE = GROUP.rule(
    "CJC605", INFO,
    ("the cluster does nothing with %(what)s now: %(why)s", "クラスタは現在 %(what)s を操作しません: %(why)s"),
    ("No failover to this node happens until that is ended; right while somebody works on it.",
     "解除するまでこのノードへはフェイルオーバしません。保守作業中であれば正常です。"),
    ("Take that attribute back when the work is done.", "作業が終わったら、この属性を元に戻してください。"))
VIP_UNTIED = GROUP.rule(
    "CJC606", INFO,
    ("nothing in the cluster's configuration brings the VIP %(vip)s up before %(resource)s", "VIP %(vip)s を %(resource)s より先に割り当てる設定がクラスタにありません"),
    ("The start waits for the address, at most `vip_wait`, and fails without it.", "起動は最大 `vip_wait` の間アドレスを待ち、無ければ失敗します。"),
    ("Put the address's resource before the site's into the same group; nothing to do where something else than the cluster moves it.",
     "アドレスのリソースを同じグループ内でサイトより前に置いてください。クラスタ以外が移動させる場合は対処不要です。"))
LEFT_OUT = GROUP.rule(
    "CJC607", INFO,
    ("not checked: %(what)s, because it holds under a rule only, or is a secret of the cluster's", "検査対象外: %(what)s（ルールの条件付き、またはクラスタの秘密情報のため）"),
    ("None; but the agent may be called with other parameters than those that were checked here.",
     "影響はありませんが、実際には検査時と異なるパラメータで呼び出される可能性があります。"),
    ("Check those by hand.", "手作業で確認してください。"))

# what `cjc-agent compare` says: no single node can find it
OTHER_LICENCE = GROUP.rule(
    "CJC610", WARNING,
    ("the licence file is not the same on all nodes", "ライセンスファイルがノード間で異なります"),
    ("All nodes need the same licence: what one may do, another may not.", "ライセンスは全ノード同一でなければなりません。引き継ぎ後に使えない機能が生じる可能性があります。"),
    ("Register the same licence on all nodes with jclicreg.", "全ノードで同じライセンスを jclicreg により登録してください。"))
OTHER_COMMANDS = GROUP.rule(
    "CJC611", WARNING,
    ("JobCenter's commands are not the same on all nodes, though the version is", "バージョンは同じですが、JobCenter のコマンドがノード間で異なります"),
    ("One node has a patch that the other lacks, or a command was replaced by hand: after the failover the site behaves otherwise.",
     "一方のノードだけにパッチが適用されたか、コマンドが差し替えられています。引き継ぎ後の動作が変わる可能性があります。"),
    ("Install the same package and the same patches on all nodes.", "全ノードに同じパッケージと同じパッチを導入してください。"))
OTHER_PARAMETER = GROUP.rule(
    "CJC612", WARNING,
    ("a parameter of the agent is not the same on all nodes", "エージェントのパラメータがノード間で異なります"),
    ("After a failover the site is started, monitored or stopped in another way than before.", "フェイルオーバの前後で、起動・監視・停止の方法が変わります。"),
    ("Have the same configuration file on all nodes.", "全ノードで同じ設定ファイルを使ってください。"))
OTHER_UID = GROUP.rule(
    "CJC613", ERROR,
    ("the user of cjcpw has not the same uid on all nodes", "cjcpw の実行ユーザの uid がノード間で異なります"),
    ("The site DB's files belong to a uid: after the failover the site cannot read or write its own.",
     "サイト DB のファイルは uid で所有されるため、引き継ぎ後に自分のファイルを読み書きできなくなります。"),
    ("Give the user the same uid on all nodes (usermod -u, then correct the owners of its files).",
     "全ノードで uid を揃えてください（usermod -u の後、ファイルの所有者を修正）。"))
OTHER_AGENT = GROUP.rule(
    "CJC614", WARNING,
    ("cjc-agent has not the same version on all nodes", "cjc-agent のバージョンがノード間で異なります"),
    ("The nodes judge the site by different rules, and know different parameters.", "ノードによって判定規則や使えるパラメータが異なります。"),
    ("Install the same version on all nodes.", "全ノードに同じバージョンを導入してください。"))
OTHER_COMMON = GROUP.rule(
    "CJC615", WARNING,
    ("the common daemon.conf says something else for the cluster site on other nodes", "共通の daemon.conf のうちクラスタサイトに効く設定がノード間で異なります"),
    ("After a failover the site runs with another setting than before.", "フェイルオーバの前後で、サイトの設定が変わります。"),
    ("Make the common file the same on all nodes, or set the key in the site's own file.", "共通ファイルを全ノードで揃えるか、サイトの daemon.conf で設定してください。"))

OF_THE_CLUSTER = (NO_FENCING, CLONED, BANNED, IDLE, VIP_UNTIED)
UNKNOWN = Reason("no %(action)s of the site was noted on this node since it booted", "このノードの起動後、サイトの %(action)s の記録がありません")

def resource_of(node: Node) -> Optional[Resource]:
    """Return the resource of the cluster that runs the node's site: the one that is named, else the one of that site; None for none."""
    resources = node.cib.resources if node.cib else {}
    named = resources.get(node.resource)
    return named or next((one for one in resources.values() if one.parameters.get("site", "").strip() == node.settings.site != ""), None)


def name_here(cib: Cib, node: Node) -> str:
    """Return how the cluster calls this node: corosync.conf may name it with or without its domain."""
    return next((name for name in cib.nodes if name.split(".")[0] == node.name.split(".")[0]), node.name)


@GROUP.check
def timeouts(node: Node) -> Iterator[Found]:
    """The timeouts of start and stop, against what they needed."""
    resource = resource_of(node)
    given = resource.timeouts if resource else {"start": node.settings.texts["start_timeout"], "stop": node.settings.texts["stop_timeout"]}
    place = "resource " + resource.name if resource else node.origin
    for action in (history.START, history.STOP):
        entry = history.last_good(node.request.folder, node.settings.site, action)
        if entry is None:
            yield unchecked((TOO_SHORT,), UNKNOWN, action=action)
            continue
        try:
            left = budget(values.duration(given[action]))
        except ValueError:  # Pacemaker has units of its own; crm_verify(8) says what is none
            continue
        if entry.seconds > left:
            yield TOO_SHORT(place, action=action, needed="%.1f" % entry.seconds, timeout=given[action], left="%.1f" % left)


@GROUP.check
def cluster(node: Node) -> Iterator[Found]:
    """What the cluster is told to do with the site's resource."""
    cib, resource = node.cib, resource_of(node)
    if cib is None:
        yield unchecked(OF_THE_CLUSTER, NO_CLUSTER)
    if cib is None or resource is None:  # another cluster product may run the site
        return
    place = "resource " + resource.name
    here = name_here(cib, node)
    if len(cib.nodes) > 1 and not cib.fencing and node.mmp is not False:  # without both it is worse (disk.py)
        yield NO_FENCING("", count=len(cib.nodes))
    if resource.clone:
        yield CLONED(place, resource=resource.name, clone=resource.clone)
    for constraint in (one for one, banned in resource.bans.items() if banned == here):
        yield BANNED(place, constraint=constraint, resource=resource.name)
    if cib.idle.get(here):
        yield IDLE("", what=here, why=cib.idle[here])
    if resource.held:
        yield IDLE(place, what=resource.name, why=resource.held)
    for vip in node.settings.vip:
        if not cib.brings(vip, resource):
            yield VIP_UNTIED(place, vip=vip, resource=resource.name)
    if resource.left_out:
        yield LEFT_OUT(place, what=", ".join(resource.left_out))
