"""OCF meta-data, made from the parameter table (OCF resource agent API 1.1).

Three readers must all be content. ocf-tester validates against the OCF *1.0* DTD, which knows no unique-group, reloadable or
reload-agent: an internal DTD subset declares them first, and the first declaration of an attribute is the binding one (XML 1.0, 3.3).
crmsh refuses an encoding in the XML declaration. pcs shows the first description only, so English comes first.
"""
from __future__ import annotations

from cjc_agent import VERSION
from cjc_agent.settings.parameters import PARAMETERS, Parameter

# action, timeout (seconds), interval (seconds), depth; the same timeouts are the budget where the cluster names none
ACTIONS = (
    ("start", 180, None, None),
    ("stop", 180, None, None),
    ("monitor", 30, 10, 0),
    ("monitor", 30, 60, 10),
    ("monitor", 60, 300, 20),
    ("validate-all", 20, None, None),
    ("reload-agent", 30, None, None),
    ("meta-data", 5, None, None),
)

HEADER = """<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST parameter unique-group CDATA #IMPLIED
                    reloadable (1|0) "0">
<!ATTLIST action name (start|stop|monitor|validate-all|reload-agent|meta-data) #REQUIRED>
]>
<resource-agent name="jobcenter" version="%s">
<version>1.1</version>
<longdesc lang="en">
Makes a cluster site of NEC WebSAM JobCenter (CJC Option) fail over safely: mounts the shared disk that carries the site DB, checks that
the virtual IP address is on this node, and calls cjcpw with NQS_SITE set for that command only. The address itself is moved by another
resource (IPaddr2, awsvip ...), which stands before this one in the group. A monitor of depth 0 checks disk, address and cjcpw status; 10
also connects to the listener on every address; 20 also writes a small file into the site DB.
(日本語) NEC WebSAM JobCenter（CJC Option）のクラスタサイトを安全にフェイルオーバさせます。共有ディスクのマウント、仮想 IP の確認、cjcpw の呼び出しを行い、
NQS_SITE は JobCenter のコマンドにだけ渡します。
</longdesc>
<shortdesc lang="en">JobCenter cluster site (CJC Option)</shortdesc>
<parameters>
"""


def default_timeout(action: str, level: int = 0) -> float:
    """Return the timeout (seconds) that the meta-data recommends for an action."""
    for name, timeout, _, depth in ACTIONS:
        if name == action and depth in (None, level):
            return float(timeout)
    return 20.0


def xml() -> str:
    """Return the whole meta-data document."""
    parts = [HEADER % VERSION]
    parts += [_parameter(parameter) for parameter in PARAMETERS]
    parts.append("</parameters>\n<actions>\n")
    parts += [_action(*row) for row in ACTIONS]
    parts.append("</actions>\n</resource-agent>\n")
    return "".join(parts)


def _parameter(row: Parameter) -> str:
    attributes = ' required="1"' if row.required else ""
    if row.unique:
        attributes += ' unique-group="%s"' % row.name
    if row.reloadable:
        attributes += ' reloadable="1"'
    default = ' default="%s"' % _escaped(row.default) if row.default else ""
    return (
        '<parameter name="%s"%s>\n<longdesc lang="en">%s</longdesc>\n<longdesc lang="ja">%s</longdesc>\n'
        '<shortdesc lang="en">%s</shortdesc>\n<shortdesc lang="ja">%s</shortdesc>\n<content type="%s"%s />\n</parameter>\n'
        % (row.name, attributes, _escaped(row.long), _escaped(row.long_ja), _escaped(row.short), _escaped(row.short_ja), row.content, default))


def _action(name: str, timeout: int, interval: int | None, depth: int | None) -> str:
    attributes = ' interval="%ds"' % interval if interval is not None else ""
    if depth is not None:
        attributes += ' depth="%d"' % depth
    return '<action name="%s" timeout="%ds"%s />\n' % (name, timeout, attributes)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
