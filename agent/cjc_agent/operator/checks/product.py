"""JobCenter on this node: licence, commands, version."""
from __future__ import annotations

from collections.abc import Iterator

from cjc_agent.layers import site
from cjc_agent.operator.node import MAKER, Node
from cjc_agent.operator.rule import ERROR, NO_ANSWER, WARNING, Found, Group, Rule, unchecked
from cjc_agent.settings import licence, values

GROUP = Group("JobCenter: licence, commands, version", "JobCenter: ライセンス・コマンド・バージョン")
REGISTER = ("Register the CJC Option on this node with jclicreg; the licence is the same on all nodes.",
            "このノードで jclicreg により CJC Option を登録してください。ライセンスは全ノード同一にします。")
LOOK_AT_IT = ("Look at what lies there, its owner and mode, and the file system; then register the CJC Option anew with jclicreg if need be.",
              "そこにあるものの種類、所有者、モード、ファイルシステムを確認し、必要であれば jclicreg で CJC Option を登録し直してください。")
REFUSED = ("The start on this node is refused.", "このノードでの起動は拒否されます。")


def _licence_rule(id: str, finding: tuple[str, str], remedy: tuple[str, str] = REGISTER) -> Rule:
    return GROUP.rule(id, ERROR, finding, REFUSED, remedy)


LICENCE_RULES = {rule.id: rule for rule in (
    _licence_rule(licence.MISSING, ("the licence file is missing", "ライセンスファイルがありません")),
    _licence_rule(licence.UNREADABLE, ("the licence file cannot be read: %(words)s", "ライセンスファイルを読めません: %(words)s"), LOOK_AT_IT),
    _licence_rule(licence.EMPTY, ("the licence file is empty", "ライセンスファイルが空です")),
    _licence_rule(licence.WITHOUT_OPTION, ("the licence file lacks the CJC Option: there is no '%(pattern)s' in it",
                                             "ライセンスファイルに CJC Option が含まれていません（'%(pattern)s' がありません）")),
)}
NO_COMMAND = GROUP.rule(
    site.NO_COMMAND, ERROR,
    ("%(command)s is not installed: looked for %(paths)s", "%(command)s がありません（検索先: %(paths)s）"), REFUSED,
    ("Install JobCenter MG/SV in the same version as on the other nodes, or set the parameter `cjcpw`.",
     "他のノードと同じバージョンの JobCenter MG/SV を導入するか、パラメータ `cjcpw` を設定してください。"))
NOT_EXECUTABLE = GROUP.rule(
    site.NOT_EXECUTABLE, ERROR,
    ("%(command)s is not an executable file", "%(command)s は実行可能なファイルではありません"), REFUSED,
    ("`chmod 755 %(command)s`, or reinstall JobCenter.", "`chmod 755 %(command)s` を実行するか、JobCenter を再導入してください。"))
WRITABLE_COMMAND = GROUP.rule(
    site.WRITABLE_COMMAND, WARNING,
    ("%(command)s can be written by others (mode %(mode)s, uid %(uid)s)", "%(command)s が他のユーザから書き込み可能です（モード %(mode)s、uid %(uid)s）"),
    ("Whoever can write it becomes root at the next failover.", "書き込める者は、次のフェイルオーバ時に root 権限を得られます。"),
    ("`chown root %(command)s; chmod go-w %(command)s`", "`chown root %(command)s; chmod go-w %(command)s` を実行してください。"))
NO_MAKER = GROUP.rule(
    "CJC208", WARNING,
    ("cjcmksite is not installed: looked for %(paths)s", "cjcmksite がありません（検索先: %(paths)s）"),
    ("None for a site that exists; but JobCenter is not installed as it should be, and no site can be made here.",
     "既存サイトの動作には影響しませんが、JobCenter の導入が不完全で、このノードではサイトを作成できません。"),
    ("Reinstall JobCenter MG/SV.", "JobCenter MG/SV を再導入してください。"))
VERSION_UNKNOWN = GROUP.rule(
    "CJC209", WARNING,
    ("JobCenter's version is not known: no package that is installed owns %(command)s", "JobCenter のバージョンが不明です（%(command)s を含むパッケージがありません）"),
    ("All nodes need the very same version; here nobody can tell, and `version` cannot be held against it.",
     "全ノードでバージョンの完全一致が必要ですが、このノードでは確認できず、`version` との照合もできません。"),
    ("Install JobCenter from its package, the same one on all nodes; where there is none, compare by hand, and `--accept CJC209`.",
     "全ノードで同じパッケージから導入してください。パッケージが無い場合は手作業で照合し、`--accept CJC209` を指定します。"))
OTHER_VERSION = GROUP.rule(
    site.OTHER_VERSION, ERROR,
    ("JobCenter here is %(here)s, but the parameter `version` wants %(wanted)s", "このノードの JobCenter は %(here)s ですが、パラメータ `version` は %(wanted)s です"),
    ("All nodes need the very same version; where `version` is given, the start on a node with another one is refused.",
     "全ノードでバージョンの完全一致が必要です。`version` を指定している場合、異なるバージョンのノードでの起動は拒否されます。"),
    ("Install the same version on all nodes; after a planned update change `version`.", "全ノードを同じバージョンにしてください。計画した更新の後であれば `version` を変更します。"))
NO_USER = GROUP.rule(
    site.NO_USER, ERROR,
    ("user %(user)s is not known on this node", "ユーザ %(user)s がこのノードに存在しません"), REFUSED,
    ("Create the user with the same uid as on the other nodes, or set the parameter `user`.", "他のノードと同じ uid でユーザを作成するか、パラメータ `user` を設定してください。"))


@GROUP.check
def the_licence(node: Node) -> Iterator[Found]:
    """The licence file."""
    settings = node.settings
    answer = node.call("look at the licence", lambda: "%s %s" % licence.judge(settings.nqs_home, settings.licence_pattern))
    if not answer.ok:
        yield unchecked(LICENCE_RULES.values(), NO_ANSWER, what=settings.nqs_home)
        return
    id, _, words = answer.output.partition(" ")
    if id:
        yield LICENCE_RULES[id](licence.path(settings.nqs_home), words=words, pattern=settings.licence_pattern)


@GROUP.check
def commands(node: Node) -> Iterator[Found]:
    """cjcpw and cjcmksite."""
    for name, seen in node.commands.items():
        paths = values.programs_of(name, node.settings.nqs_home)
        if seen is None:
            yield (NO_MAKER if name == MAKER else NO_COMMAND)("", command=name, paths=", ".join(paths))
        elif seen.silent:
            yield unchecked((NOT_EXECUTABLE, WRITABLE_COMMAND), NO_ANSWER, what=seen.path)
        elif not seen.is_file or not seen.mode & 0o111:
            yield NOT_EXECUTABLE(seen.path, command=seen.path)
        elif seen.others_write:
            yield WRITABLE_COMMAND(seen.path, command=seen.path, mode="%04o" % (seen.mode & 0o7777), uid=seen.uid)


@GROUP.check
def version(node: Node) -> Iterator[Found]:
    """The version that is installed here, and the one that is wanted."""
    command = node.commands[node.settings.cjcpw]
    if command is None:
        return
    if command.silent or node.package is None:
        yield unchecked((VERSION_UNKNOWN, OTHER_VERSION), NO_ANSWER, what=command.path if command.silent else "rpm, dpkg-query")
        return
    here = node.package[1]
    if not here:
        yield VERSION_UNKNOWN(command.path, command=command.path)
    elif node.settings.version and here != node.settings.version:
        yield OTHER_VERSION(command.path, here=here, wanted=node.settings.version)


@GROUP.check
def user(node: Node) -> Iterator[Found]:
    """The user that cjcpw runs as."""
    name = node.settings.user
    if not node.user.ok:
        yield unchecked((NO_USER,), NO_ANSWER, what="user %s" % name)
    elif not node.user.output:
        yield NO_USER("", user=name)
