"""THE parameter table. Metadata, validation, the CLI's options, the configuration file and the documentation are made from it.

Names and defaults are contracts (README); where a default comes from JobCenter it is the seed document's.
"""
from __future__ import annotations

from cjc_agent.settings import values
from cjc_agent.tools import mountinfo
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

DEFAULT_PORT = 20816  # seed: listen_port


class Parameter:
    """One row: `name`, `parse` (text -> value), `default` (text), OCF attributes, and its description in English and Japanese.

    `empty_counts`: an empty text given is a value of its own, not "not given".
    """

    __slots__ = ("name", "parse", "default", "required", "unique", "reloadable", "content", "empty_counts", "short", "short_ja", "long", "long_ja")

    def __init__(self, name: str, parse: Callable[[str], Any], default: str, short: str, short_ja: str, long: str, long_ja: str,
                 required: bool = False, unique: bool = False, reloadable: bool = False, content: str = "string",
                 empty_counts: bool = False) -> None:
        self.name, self.parse, self.default = name, parse, default
        self.required, self.unique, self.reloadable, self.content = required, unique, reloadable, content
        self.empty_counts = empty_counts
        self.short, self.short_ja, self.long, self.long_ja = short, short_ja, long, long_ja


PARAMETERS = (
    Parameter(
        "site", values.site_name, "", "Cluster site name", "クラスタサイト名",
        "Name of the JobCenter cluster site, as given to cjcmksite -n: the value of NQS_SITE for JobCenter's commands, and for nothing else.",
        "JobCenter クラスタサイトの名前（cjcmksite -n で指定したもの）。NQS_SITE の値として JobCenter のコマンドにだけ渡します。",
        required=True, unique=True),
    Parameter(
        "site_db", values.folder, "", "Site DB directory", "サイト DB のディレクトリ",
        "Absolute path of the site DB on the shared disk, as given to cjcmksite -d, e.g. /share/job_site.",
        "共有ディスク上のサイト DB の絶対パス（cjcmksite -d で指定したもの）。例: /share/job_site",
        required=True, unique=True),
    Parameter(
        "device", values.device, "", "Shared disk to mount", "マウントする共有ディスク",
        "What to mount: /dev/..., LABEL=..., UUID=... or host:/export. Empty: the cluster mounts it before us and we only verify "
        "(also for two sites on one disk).",
        "マウント対象: /dev/...、LABEL=...、UUID=... または host:/export。空の場合はクラスタ側がマウントし、本エージェントは確認だけを行います"
        "（1 つのディスクに 2 サイトを置く場合も空にします）。"),
    Parameter(
        "directory", values.folder, "", "Mount point", "マウントポイント",
        "Where the shared disk is mounted. Needed with device; site_db lies below it.",
        "共有ディスクのマウント先。device を指定した場合は必須で、site_db はこの下に置きます。",
        unique=True),
    Parameter(
        "fstype", values.file_system, "", "File system type", "ファイルシステム種別",
        "ext4, xfs, nfs4, efs ...; empty: detected.",
        "ext4、xfs、nfs4、efs など。空の場合は自動判別します。"),
    Parameter(
        "options", values.mount_options, "", "Mount options", "マウントオプション",
        "Options for mount -o, comma separated.",
        "mount -o に渡すオプション（カンマ区切り）。"),
    Parameter(
        "run_fsck", values.choice("auto", "force", "no"), "auto", "Check the file system before mounting", "マウント前のファイルシステム検査",
        "auto: fsck -p on ext2/3/4; force: fsck on every type, ext with -f; no: never. Never on a network file system, never on a mounted device.",
        "auto: ext2/3/4 に fsck -p を実行。force: すべての種別で実行（ext は -f）。no: 実行しない。"
        "ネットワークファイルシステムやマウント中のデバイスには決して実行しません。",
        reloadable=True),
    Parameter(
        "vip", values.vips, "", "Virtual IP addresses", "仮想 IP アドレス",
        "Addresses that must be on this node while the site runs, comma separated, at most 5, IPv4 or IPv6. They are checked, never moved: "
        "IPaddr2, fip or awsvip moves them.",
        "サイト稼働中にこのノードに存在すべきアドレス（カンマ区切り、最大 5 個、IPv4 / IPv6）。確認するだけで移動はしません"
        "（移動は IPaddr2、fip、awsvip が行います）。",
        reloadable=True),
    Parameter(
        "vip_wait", values.duration, "10s", "How long start waits for the VIP", "起動時に VIP を待つ時間",
        "Time span that start waits for the addresses, never more than a quarter of what is left of its time.",
        "start がアドレスの出現を待つ時間。残り時間の 4 分の 1 を超えることはありません。",
        reloadable=True, content="time"),
    Parameter(
        "port", values.port, "", "Listen port", "待ち受けポート",
        "TCP port of the site. Empty: listen_port of the site's daemon.conf, else of the common one, else 20816.",
        "サイトの TCP ポート。空の場合はサイトの daemon.conf、共通の daemon.conf の listen_port、それも無ければ 20816。",
        reloadable=True, content="integer"),
    Parameter(
        "nqs_home", values.folder, "/usr/lib/nqs", "Product folder", "製品フォルダ",
        "Where JobCenter is installed: rc/daemon.conf, license/jobcenter_key.dat and the commands.",
        "JobCenter のインストール先（rc/daemon.conf、license/jobcenter_key.dat、各コマンド）。"),
    Parameter(
        "nqs_spool", values.folder, "/usr/spool/nqs", "Local spool folder", "ローカルスプール",
        "JobCenter's local spool with the local site's daemon.conf.",
        "JobCenter のローカルスプール（ローカルサイト用 daemon.conf を含む）。"),
    Parameter(
        "cjcpw", values.program, "cjcpw", "The cjcpw command", "cjcpw コマンド",
        "Command name or absolute path. A bare name is looked up in nqs_home, nqs_home/cluster, nqs_home/bin, then /usr/sbin:/usr/bin:/sbin:/bin, "
        "never in the caller's PATH.",
        "コマンド名または絶対パス。名前だけの場合は nqs_home、nqs_home/cluster、nqs_home/bin、/usr/sbin:/usr/bin:/sbin:/bin の順に探します"
        "（呼び出し元の PATH は使いません）。"),
    Parameter(
        "start_args", values.words, "start", "Arguments that start the site", "起動時の引数",
        "Arguments of cjcpw that start the site, split as a shell splits words, never run by one. In resident mode empty unless given.",
        "サイトを起動する cjcpw の引数。シェルと同じ規則で分割しますが、シェルは使いません。resident モードでは指定がなければ空です。",
        reloadable=True, empty_counts=True),
    Parameter(
        "stop_args", values.words, "stop", "Arguments that stop the site", "停止時の引数",
        "Arguments of cjcpw that stop the site. Given empty in resident mode: the resident cjcpw is sent TERM instead.",
        "サイトを停止する cjcpw の引数。resident モードで空を指定すると、常駐 cjcpw に TERM を送ります。",
        reloadable=True, empty_counts=True),
    Parameter(
        "status_args", values.words, "status", "Arguments that ask for the status", "状態確認の引数",
        "Arguments of cjcpw that answer by exit code whether the site runs.",
        "サイトが稼働しているかを終了コードで答える cjcpw の引数。",
        reloadable=True, empty_counts=True),
    Parameter(
        "cjcpw_mode", values.choice("command", "resident"), "command", "Whether cjcpw stays", "cjcpw の動作形態",
        "command: cjcpw start returns. resident: cjcpw stays in the foreground while the site lives; it gets a session of its own and its output "
        "goes to syslog.",
        "command: cjcpw start が戻る。resident: サイト稼働中 cjcpw が前面に残る（独立したセッションで起動し、出力は syslog へ送ります）。"),
    Parameter(
        "status_running", values.exit_codes, "0", "Exit codes that mean running", "稼働中を表す終了コード",
        "Exit codes of the status command that mean: the site runs. Comma separated.",
        "稼働中を意味する status の終了コード（カンマ区切り）。",
        reloadable=True),
    Parameter(
        "status_stopped", values.exit_codes, "1,3", "Exit codes that mean stopped", "停止中を表す終了コード",
        "Exit codes of the status command that mean: the site is stopped. Believed only when no process and no listener of the site is left. "
        "Every other code is a failure.",
        "停止中を意味する status の終了コード（カンマ区切り）。サイトのプロセスと待ち受けが残っていない場合にだけ信用します。それ以外のコードは異常です。",
        reloadable=True),
    Parameter(
        "user", values.user, "root", "User that runs cjcpw", "cjcpw の実行ユーザ",
        "Login name; uid, gid and groups are set in the child process, without su or sudo.",
        "ログイン名。uid、gid、グループは子プロセス内で設定し、su や sudo は使いません。"),
    Parameter(
        "environment", values.assignments, "", "Further environment for cjcpw", "cjcpw の追加環境変数",
        "NAME=value words for the environment of JobCenter's commands, split as a shell splits words.",
        "JobCenter のコマンドに渡す NAME=value の並び（シェルと同じ規則で分割）。",
        reloadable=True),
    Parameter(
        "stop_escalation", values.escalation, "auto", "How stop uses its time", "停止時間の配分",
        "auto: the graceful stop gets at most half of the time, TERM 10 %, KILL 5 %, the rest and all that was saved the disk. Or a time span "
        "for the graceful part.",
        "auto: 通常停止は最大で持ち時間の 50 %、TERM は 10 %、KILL は 5 %、残りはディスクに使います。通常停止の時間を直接指定することもできます。",
        reloadable=True),
    Parameter(
        "licence_pattern", values.text, "CJC", "Text the licence file must contain", "ライセンスに含まれるべき文字列",
        "The licence file nqs_home/license/jobcenter_key.dat must contain this text: it tells that the CJC Option is registered.",
        "nqs_home/license/jobcenter_key.dat に含まれるべき文字列。CJC Option が登録済みであることの確認に使います。"),
    Parameter(
        "version", values.text, "", "JobCenter's version that every node must have", "全ノードで必要な JobCenter のバージョン",
        "As the package manager prints it for the package that owns cjcpw (rpm: VERSION-RELEASE); `cjc-agent doctor` shows it. Given: a start with "
        "another version is refused. Empty: not checked.",
        "cjcpw を含むパッケージのバージョン（rpm では VERSION-RELEASE）。`cjc-agent doctor` で表示されます。"
        "指定すると、異なるバージョンでの起動を拒否します。空の場合は検査しません。",
        reloadable=True),
    Parameter(
        "min_free_percent", values.percent, "5", "Least free space of the site DB's disk (percent)", "サイト DB のディスクの最小空き容量（%）",
        "`cjc-agent doctor` complains when less of the space or of the inodes is free. It changes nothing for start, stop and monitor.",
        "空き容量または空き inode がこれを下回ると `cjc-agent doctor` が指摘します。start、stop、monitor には影響しません。",
        reloadable=True, content="integer"),
    Parameter(
        "min_free_mib", values.size, "512", "Least free space of the site DB's disk (MiB)", "サイト DB のディスクの最小空き容量（MiB）",
        "As min_free_percent, in MiB; the doctor complains below either.",
        "min_free_percent と同様（MiB 単位）。どちらかを下回ると指摘します。",
        reloadable=True, content="integer"),
    Parameter(
        "trace", values.boolean, "0", "Trace this resource's calls", "トレース",
        "1: every call writes a trace file below /var/lib/heartbeat/trace_ra/jobcenter (also with the cluster's own OCF_TRACE_RA).",
        "1: 呼び出しごとに /var/lib/heartbeat/trace_ra/jobcenter の下へトレースを書きます（クラスタの OCF_TRACE_RA でも有効）。",
        reloadable=True, content="boolean"),
)
# Where no cluster manager hands a timeout over (the command line, a configuration file); not part of the OCF meta-data.
CONF_PARAMETERS = (
    Parameter("start_timeout", values.timeout, "180s", "Timeout of start", "start のタイムアウト",
              "Time that a start may take.", "start にかけてよい時間。", content="time"),
    Parameter("stop_timeout", values.timeout, "180s", "Timeout of stop", "stop のタイムアウト",
              "Time that a stop may take.", "stop にかけてよい時間。", content="time"),
    Parameter("monitor_timeout", values.timeout, "30s", "Timeout of monitor", "monitor のタイムアウト",
              "Time that a monitor may take.", "monitor にかけてよい時間。", content="time"),
    Parameter("monitor_level", values.check_level, "0", "Depth of monitor", "monitor の深さ",
              "0: disk, VIP and cjcpw status; 10: also connect to every VIP; 20: also write into the site DB.",
              "0: ディスク・VIP・cjcpw status。10: 各 VIP への接続も確認。20: サイト DB への書き込みも確認。", content="integer"),
    Parameter("monitor_expect", values.choice("auto", "active"), "auto", "What genw.sh expects to find", "genw.sh が期待する状態",
              "CLUSTERPRO only. auto: a site that does not run and was not started on this node is good (standby). active: it is bad; for a monitor "
              "that runs only while the exec resource is active.",
              "CLUSTERPRO 専用。auto: このノードで起動されておらず稼働もしていないサイトは正常（待機系）。"
              "active: 異常とする（exec リソース活性時だけ監視する場合）。"),
    Parameter("log_limit", values.message_length, "255", "Longest message for clplogcmd (bytes)", "clplogcmd に渡すメッセージの最大長（バイト）",
              "CLUSTERPRO only. Longer messages are cut, on a character boundary.",
              "CLUSTERPRO 専用。これより長いメッセージは文字の境界で切り詰めます。", content="integer"),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS + CONF_PARAMETERS}


class Settings:
    """The values of one site, frozen; attributes are named like the parameters. `texts` are the same as text, defaults included."""

    site: str
    site_db: str
    device: str
    directory: str
    fstype: str
    options: str
    run_fsck: str
    vip: tuple[str, ...]
    vip_wait: float  # seconds
    port: int  # 0: not given
    nqs_home: str
    nqs_spool: str
    cjcpw: str
    start_args: tuple[str, ...]
    stop_args: tuple[str, ...]
    status_args: tuple[str, ...]
    cjcpw_mode: str
    status_running: tuple[int, ...]
    status_stopped: tuple[int, ...]
    user: str
    environment: tuple[str, ...]
    stop_escalation: float  # seconds; -1: auto
    licence_pattern: str
    version: str
    min_free_percent: int
    min_free_mib: int
    trace: bool
    start_timeout: float  # seconds, like the two below
    stop_timeout: float
    monitor_timeout: float
    monitor_level: int
    monitor_expect: str
    log_limit: int  # bytes
    texts: dict[str, str]

    def __init__(self, given: dict[str, Any], texts: dict[str, str]) -> None:
        self.__dict__.update(given, texts=texts)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("settings do not change")


def read(given: dict[str, str]) -> tuple[Settings, dict[str, str]]:
    """Given parameter texts by name, return the settings and the problems found (parameter name -> what is wrong and what to do).

    A parameter with a problem has its default instead (site, site_db, device, directory: ""), so that stop can go on with the rest.
    """
    problems: dict[str, str] = {}
    found: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for parameter in PARAMETERS + CONF_PARAMETERS:
        text = given.get(parameter.name, "")
        present = parameter.name in given and (parameter.empty_counts or text.strip() != "")
        if present:
            try:
                if not text.isprintable():
                    raise ValueError("has a control character or broken encoding in it: remove it")
                found[parameter.name] = parameter.parse(text)
                texts[parameter.name] = text
            except ValueError as error:
                problems[parameter.name] = _brief(str(error))
        elif parameter.required:
            problems[parameter.name] = "is not given: set it"
        if parameter.name not in found:
            found[parameter.name], texts[parameter.name] = _default(parameter), parameter.default
    if found["cjcpw_mode"] == "resident" and "start_args" not in given:
        found["start_args"], texts["start_args"] = (), ""
    for name, words in _contradictions(found, problems):
        problems.setdefault(name, _brief(words))
    return Settings(found, texts), problems


def _brief(words: str) -> str:
    """One line of at most 300 characters; of a long value the middle is left out, for what to do stands behind it."""
    return one_line(words if len(words) <= 300 else "%s ... %s" % (words[:150], words[-145:]), 300)


def _default(parameter: Parameter) -> Any:
    if parameter.default == "":
        return {"port": 0, "vip": (), "environment": ()}.get(parameter.name, "")
    return parameter.parse(parameter.default)


def _contradictions(found: dict[str, Any], problems: dict[str, str]) -> list[tuple[str, str]]:
    """What is wrong between parameters that are right by themselves."""
    wrong = []
    if found["device"] and not found["directory"] and "directory" not in problems:
        wrong.append(("directory", "is needed with device: give the mount point"))
    if found["directory"] and found["site_db"] and not mountinfo.is_below(found["site_db"], found["directory"]):
        wrong.append(("site_db", "%s does not lie below directory %s" % (found["site_db"], found["directory"])))
    if set(found["status_running"]) & set(found["status_stopped"]):
        wrong.append(("status_stopped", "names a code that status_running names too: a code can mean one thing only"))
    wrong_types = ("ext", "xfs", "btrfs") if values.is_network(found["device"]) else ("nfs", "efs")
    if found["device"] and found["fstype"].startswith(wrong_types):
        wrong.append(("fstype", "%s does not go with device %s" % (found["fstype"], found["device"])))
    return wrong


def nearest(name: str) -> str:
    """Given a name that is no parameter, return the parameter most like it, or ""."""
    import difflib
    return (difflib.get_close_matches(name, list(BY_NAME), 1) or [""])[0]
