"""The shared disk and the site DB on it: where they are, what is on them, whether there is room; and what would go wrong at the next mount."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Optional

from cjc_agent import actions
from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import ERROR, NO_CLUSTER, NOT_MOUNTED, WARNING, Found, Group, Reason, unchecked
from cjc_agent.settings import site_db, values
from cjc_agent.tools import blockdevice, mountinfo
from cjc_agent.tools.blockdevice import Unresolved

GROUP = Group("Shared disk and site DB", "共有ディスクとサイト DB")
FSTAB = "/etc/fstab"
EFS_OPTIONS = {"nfsvers": "4.1", "rsize": "1048576", "wsize": "1048576", "hard": "", "timeo": "600", "retrans": "2",
               "noresvport": ""}  # Amazon EFS user guide, recommended mount options; amazon-efs-utils' mount helper sets the same
CONTAINERS = ("_member", "crypto_LUKS", "swap")  # how blkid's types of what is no file system end
FOR_ALL_NODES = ("efs", "glusterfs", "gfs2", "ocfs2")  # as fstab calls what several nodes may mount at once, besides mountinfo.NETWORK
RECOVERY = ("hard", "soft", "softerr")  # nfs(5): what a client does when the server does not answer; the last one given counts

NO_SITE_DB = GROUP.rule(
    "CJC301", ERROR,
    ("the disk is mounted, but there is no site DB: %(path)s is missing", "ディスクはマウントされていますが、サイト DB がありません（%(path)s がありません）"),
    ("The start fails on every node: there is nothing to fail over.", "どのノードでも起動に失敗します。引き継ぐサイトが存在しません。"),
    ("Correct `site_db`, restore the site DB from its backup, or make a new one: `cjc-agent init`.",
     "`site_db` を修正するか、バックアップから復元するか、`cjc-agent init` で新規に作成してください。"))
OTHER_SITE = GROUP.rule(
    site_db.OTHER_SITE, ERROR,
    ("%(path)s is the site DB of %(owner)s, not of %(site)s", "%(path)s はサイト %(site)s ではなく %(owner)s のサイト DB です"),
    ("The start is refused: two sites on one site DB would destroy each other's jobs.", "起動は拒否されます。2 つのサイトが同じサイト DB を使うと、互いのジョブを壊すためです。"),
    ("Correct `site` or `site_db`; if the site was renamed, remove %(note)s.", "`site` または `site_db` を修正してください。サイト名を変更した場合は %(note)s を削除します。"))
ON_ROOT = GROUP.rule(
    "CJC303", ERROR,
    ("the site DB lies on this node's own file system, not on a shared disk: %(mount)s", "サイト DB が共有ディスクではなく、このノード自身のファイルシステムにあります: %(mount)s"),
    ("The other nodes do not have it: a failover starts without these jobs. Under the mount point it is hidden as soon as the disk is mounted.",
     "他のノードからは見えないため、フェイルオーバ後にこれらのジョブが失われます。マウントポイントの下にある場合は、ディスクをマウントすると隠れて見えなくなります。"),
    ("Mount the shared disk and move the site DB onto it; if it is there already, remove this stray copy.",
     "共有ディスクをマウントし、サイト DB を移してください。共有ディスク上に既にある場合は、この残骸を削除します。"))
BAD_MODE = GROUP.rule(
    "CJC304", WARNING,
    ("%(path)s has a wrong owner or mode (mode %(mode)s, uid %(uid)s)", "%(path)s の所有者またはモードが不適切です（モード %(mode)s、uid %(uid)s）"),
    ("Others may change jobs and settings, or the site cannot write its own site DB; it travels with the disk to every node.",
     "他のユーザがジョブや設定を変更できるか、サイト自身がサイト DB に書き込めません。ディスクと共に全ノードへ引き継がれます。"),
    ("chown to root or the user of the parameter `user`, chmod u+rwx,go-w; uids must be the same on all nodes.",
     "chown で root またはパラメータ `user` のユーザを所有者にし、chmod u+rwx,go-w を実行してください。uid は全ノードで一致させます。"))
LOW_SPACE = GROUP.rule(
    "CJC305", WARNING,
    ("%(free)s of %(total)s MiB are free, less than %(asked)s", "空き容量が %(free)s / %(total)s MiB しかありません（%(asked)s を下回っています）"),
    ("When it is full, jobs and the site stop; moving a full disk to another node does not empty it.",
     "満杯になるとジョブもサイトも停止します。別ノードへ切り替えても空き容量は増えません。"),
    ("Make room on the disk or enlarge it; or lower `min_free_percent` or `min_free_mib`.",
     "不要なファイルを削除するかディスクを拡張してください。または `min_free_percent` か `min_free_mib` を下げます。"))
LOW_INODES = GROUP.rule(
    "CJC306", WARNING,
    ("%(free)s of %(total)s inodes are free, less than min_free_percent=%(percent)s", "空き inode が %(free)s / %(total)s しかありません（min_free_percent=%(percent)s を下回っています）"),
    ("Without inodes no file can be made, however much space is free: jobs and the site stop, on every node.",
     "inode が尽きると、空き容量があってもファイルを作成できず、どのノードでもジョブとサイトが停止します。"),
    ("Remove small files (`du --inodes`), or make the file system anew with more inodes (mkfs -N).",
     "小さなファイルを削除する（`du --inodes` で確認）か、inode 数を増やしてファイルシステムを作り直してください（mkfs -N）。"))
READ_ONLY = GROUP.rule(
    "CJC307", ERROR,
    ("the disk of the site DB is, or would be, mounted read-only: %(how)s", "サイト DB のディスクが読み取り専用でマウントされているか、その設定になっています: %(how)s"),
    ("The start is refused, and a site that runs cannot save its jobs.", "起動は拒否され、稼働中のサイトはジョブを保存できません。"),
    ("Remove ro from `options`; if it is not there, look for I/O errors in the kernel's log, then have the file system checked (fsck).",
     "`options` から ro を除いてください。指定していない場合は、カーネルログの I/O エラーを調べ、fsck を実行してください。"))
ABSENT = GROUP.rule(
    "CJC308", WARNING,
    ("no block device answers to %(device)s on this node", "%(device)s に該当するブロックデバイスがこのノードにありません"),
    ("A disk that all nodes see (FC, iSCSI, EBS Multi-Attach) must be there: the start on this node fails. "
     "It is right only where the cluster itself attaches (EBS) or activates it (LVM) before the mount.",
     "全ノードから見えるディスク（FC、iSCSI、EBS マルチアタッチ）であれば、このノードでの起動は失敗します。"
     "クラスタがマウント前に接続（EBS）または活性化（LVM）する構成の場合のみ正常です。"),
    ("Check the storage path (lsblk, multipath -ll) and `device`; where the cluster attaches or activates the disk, nothing is to be done (`--accept CJC308`).",
     "ストレージパス（lsblk、multipath -ll）と `device` を確認してください。クラスタがディスクを接続・活性化する構成では対処不要です（`--accept CJC308`）。"))
TWICE = GROUP.rule(
    "CJC309", ERROR,
    ("%(device)s is answered by several devices: %(paths)s", "%(device)s に複数のデバイスが該当します: %(paths)s"),
    ("Nobody can tell which is the right one: the start on this node is refused.", "どれが正しいか判断できないため、このノードでの起動は拒否されます。"),
    ("Compare them first: lsblk -o NAME,WWN,SERIAL. The same: paths of one disk; start multipathd, and change nothing on the disk. Not the same: detach "
     "the copy, give the copy alone another label or UUID (e2label, tune2fs -U random), or name the disk by /dev/disk/by-id in `device`.",
     "まず lsblk -o NAME,WWN,SERIAL で比較してください。同一なら 1 台のディスクへの複数パスなので、multipathd を起動し、ディスクには変更を加えないでください。"
     "異なる場合は、コピー側を切り離すか、コピー側だけのラベルまたは UUID を変更する（e2label、tune2fs -U random）か、`device` に /dev/disk/by-id を指定してください。"))
BAD_FILE_SYSTEM = GROUP.rule(
    "CJC310", ERROR,
    ("file system on %(device)s: %(found)s, but `fstype` says %(wanted)s", "%(device)s のファイルシステム: %(found)s（`fstype` の指定: %(wanted)s）"),
    ("It cannot be mounted: the start on this node fails.", "マウントできないため、このノードでの起動は失敗します。"),
    ("See what is on it with `wipefs -n %(device)s`, and correct `device` or `fstype`. Make no new file system before you are sure that the site DB is not on it.",
     "`wipefs -n %(device)s` で内容を確認し、`device` または `fstype` を修正してください。サイト DB が無いと確信できるまで、ファイルシステムを作り直さないでください。"))
NO_MMP = GROUP.rule(
    "CJC311", ERROR,
    ("%(device)s is ext4 without mmp, %(count)s nodes see it, and the cluster has no fencing", "%(device)s は mmp なしの ext4 で、%(count)s ノードから見えますが、クラスタにフェンシングがありません"),
    ("When the nodes lose sight of each other, both mount it, and that destroys the file system.",
     "ノード間通信が途切れると両ノードが同時にマウントし、ファイルシステムが破壊されます。"),
    ("Set up fencing (STONITH). Besides, with the disk unmounted everywhere: `tune2fs -O mmp %(device)s`.",
     "フェンシング（STONITH）を設定してください。加えて、全ノードでアンマウントした状態で `tune2fs -O mmp %(device)s` を実行します。"))
SOFT = GROUP.rule(
    "CJC312", WARNING,
    ("the network file system is, or would be, mounted with %(option)s instead of hard", "ネットワークファイルシステムが hard ではなく %(option)s でマウントされているか、その設定になっています"),
    ("When the server is away for a while, writes are lost and the site DB may be damaged; with hard they wait for it.",
     "サーバが一時的に応答しないと書き込みが失われ、サイト DB が壊れる可能性があります。hard であれば復旧を待ちます。"),
    ("Write hard instead into the mount options (`options`, or those of the cluster's own mount).",
     "マウントオプション（`options`、またはクラスタ側のマウント設定）を hard に変更してください。"))
EFS = GROUP.rule(
    "CJC313", WARNING,
    ("EFS: %(missing)s missing, or given another value", "EFS: %(missing)s が指定されていないか、値が異なります"),
    ("Amazon recommends them: without noresvport the mount may hang after a failover of the network, the others cost speed or data.",
     "Amazon の推奨値です。noresvport が無いとネットワーク切り替え後にマウントが応答しなくなることがあり、他の項目は性能低下やデータ消失につながります。"),
    ("Add them to the mount options, or mount with `fstype` efs (amazon-efs-utils), which sets them itself.",
     "マウントオプションに追加するか、`fstype` に efs を指定してください（amazon-efs-utils が自動設定します）。"))
AUTOMATIC = GROUP.rule(
    "CJC314", ERROR,
    ("%(what)s is mounted by the node itself, at boot or when it is touched: options %(options)s", "%(what)s をノード自身が起動時またはアクセス時にマウントします（オプション: %(options)s）"),
    ("A standby that boots mounts the disk that the active node has mounted: that destroys a file system that is not for several nodes.",
     "待機系の起動時に、稼働系が使用中のディスクをマウントしてしまい、ファイルシステムが破壊されます。"),
    ("Add noauto to the line (and remove x-systemd.automount), or remove the line: the cluster mounts the disk.",
     "その行に noauto を追加する（x-systemd.automount は外す）か、行を削除してください。マウントはクラスタが行います。"))
BAD_DIRECTORY = GROUP.rule(
    actions.BAD_MOUNT_POINT, ERROR,
    ("the mount point is not as it must be: %(words)s", "マウントポイントが不正です: %(words)s"),
    ("The start on this node is refused.", "このノードでの起動は拒否されます。"),
    ("Create the directory on every node (mkdir -p), and give its path without symbolic links.",
     "全ノードでディレクトリを作成し（mkdir -p）、シンボリックリンクを含まないパスを指定してください。"))
ELSEWHERE = GROUP.rule(
    "CJC316", ERROR,
    ("something else is mounted on the mount point, or the disk is mounted elsewhere: %(words)s",
     "マウントポイントに別のものがマウントされているか、ディスクが別の場所にマウントされています: %(words)s"),
    ("The start on this node is refused.", "このノードでの起動は拒否されます。"),
    ("Unmount what does not belong there (`findmnt` shows it).", "本来と異なるマウントを解除してください（`findmnt` で確認）。"))

NEED_THE_DISK = (NO_SITE_DB, OTHER_SITE, BAD_MODE, LOW_SPACE, LOW_INODES, READ_ONLY)
NOT_SEEN = Reason("%(what)s cannot be looked at: %(error)s", "%(what)s を確認できません: %(error)s")
NOT_READ = Reason("%(what)s cannot be read on this node (right on a standby whose disk is mirrored): %(error)s",
                  "%(what)s をこのノードで読み取れません（ミラーディスクの待機系では正常）: %(error)s")


# -- the site DB -----------------------------------------------------------------------------------------------------------------------------


@GROUP.check
def the_site_db(node: Node) -> Iterator[Found]:
    """The site DB where the disk is mounted: is it there, whose is it, is there room."""
    if node.mount is None:
        yield unchecked(NEED_THE_DISK, NOT_MOUNTED)
        return
    if node.mount.read_only:
        yield READ_ONLY(node.mount.point, how=node.mount.words())
    silent = next((seen for seen in node.folders if seen.error and not seen.missing), None)
    if silent:
        yield unchecked(NEED_THE_DISK[:-1], NOT_SEEN, what=silent.path, error=silent.error)
        return
    absent = next((seen for seen in node.folders if not seen.is_folder), None)
    if absent:
        yield NO_SITE_DB(node.settings.site_db, path=absent.path)
        return
    for seen in node.folders:
        if seen.mode & 0o722 != 0o700 or not _is_right_owner(node, seen.uid):
            yield BAD_MODE(seen.path, path=seen.path, mode="%04o" % (seen.mode & 0o7777), uid=seen.uid)
    yield from _owner(node)
    yield from _room(node)


def _is_right_owner(node: Node, uid: int) -> bool:
    """Whether a folder of the site DB is root's or the site's user's; where nobody can tell who that is, it is another rule's matter."""
    return uid == 0 or not node.user.ok or node.user.output in ("", str(uid))


def _owner(node: Node) -> Iterator[Found]:
    path, site = node.settings.site_db, node.settings.site
    answer = node.call("read the site DB's note", lambda: site_db.owner(path))
    if not answer.ok:
        yield unchecked((OTHER_SITE,), NOT_SEEN, what=site_db.path(path), error=answer.words())
    elif answer.output and site and answer.output != site:
        yield OTHER_SITE(site_db.path(path), path=path, owner=answer.output, site=site, note=site_db.path(path))


def _room(node: Node) -> Iterator[Found]:
    path, percent, mib = node.settings.site_db, node.settings.min_free_percent, node.settings.min_free_mib

    def look() -> str:
        facts = os.statvfs(path)
        return json.dumps([facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize, facts.f_favail, facts.f_files])
    answer = node.call("measure the site DB's disk", look)
    if not answer.ok:
        yield unchecked((LOW_SPACE, LOW_INODES), NOT_SEEN, what=path, error=answer.words())
        return
    free, total, free_inodes, inodes = json.loads(answer.output)
    asked = ["min_free_percent=%d" % percent] if free * 100 < total * percent else []
    asked += ["min_free_mib=%d" % mib] if free < mib << 20 else []
    if total and asked:
        yield LOW_SPACE(path, free=free >> 20, total=total >> 20, asked=", ".join(asked))
    elif free_inodes * 100 < inodes * percent:  # btrfs counts none; XFS makes them of free space: without the one there is none of the other
        yield LOW_INODES(path, free=free_inodes, total=inodes, percent=percent)


# -- where it is mounted ---------------------------------------------------------------------------------------------------------------------


@GROUP.check
def the_mount(node: Node) -> Iterator[Found]:
    """What is mounted where the site DB should be, or lies there though nothing is."""
    settings = node.settings
    if not settings.site_db or {"device", "directory"} & node.request.problems.keys():
        return
    if "ro" in settings.options.split(",") and not (node.mount and node.mount.read_only):
        yield READ_ONLY("", how="options = " + settings.options)
    if node.mount is not None:
        return
    top = mountinfo.top_at(node.mounts, settings.directory) if settings.directory else mountinfo.containing(node.mounts, settings.site_db)
    last = node.folders[1]
    if (top is None or node.on_root(top)) and last.is_folder and last.real == last.path:  # what is behind a link is the mount point's matter
        under = mountinfo.containing(node.mounts, settings.site_db)
        yield ON_ROOT(settings.site_db, mount=under.words() if under else "/")
    elif not node.disk.running and not node.disk.stopped and not node.device[1]:
        yield ELSEWHERE(settings.directory, words=node.disk.reason)


@GROUP.check
def the_mount_point(node: Node) -> Iterator[Found]:
    """The directory that the disk is, or will be, mounted on."""
    directory, path = node.settings.directory, node.settings.site_db
    if node.mount is not None or not path or (directory and mountinfo.top_at(node.mounts, directory)):
        return
    answer = node.call("look at " + (directory or path), lambda: actions.look_at_directory(directory, path))
    if not answer.ok:
        yield unchecked((BAD_DIRECTORY,), NOT_SEEN, what=directory or path, error=answer.words())
    elif answer.output:
        yield BAD_DIRECTORY(directory or path, words=answer.output)


@GROUP.check
def fstab(node: Node) -> Iterator[Found]:
    """Whether this node mounts the disk by itself. What every node mounts (`device` empty), NFS or GFS2 say, may be mounted at boot."""
    data = node.look([FSTAB])[FSTAB].data
    for line, words in enumerate((data or b"").decode("utf-8", "surrogateescape").split("\n"), 1):
        entry = [mountinfo.plain(word) for word in words.split()]
        if len(entry) < 2 or entry[0].startswith("#"):
            continue
        spec, point, fstype, options = (*entry, "auto", "defaults")[:4]
        by_itself = "noauto" not in options.split(",") or "x-systemd.automount" in options.split(",")
        for_all = not node.settings.device and (_is_network(fstype) or fstype in FOR_ALL_NODES)
        if by_itself and not for_all and (_is_its_mount_point(node, "/" + point.strip("/")) or _is_its_device(node, spec)):
            yield AUTOMATIC("%s:%d" % (FSTAB, line), what="%s (%s)" % (point, spec), options=options)


def _is_network(fstype: str) -> bool:
    return fstype.split(".")[0] in mountinfo.NETWORK


def _is_its_mount_point(node: Node, point: str) -> bool:
    """Whether the disk belongs on a mount point. Where no `directory` says so, one above the site DB; but not what is mounted there without it."""
    if node.settings.directory:
        return point == node.settings.directory
    mounted = mountinfo.top_at(node.mounts, point)
    return point != "/" and mountinfo.is_below(node.settings.site_db, point) and (mounted is None or mounted is node.mount)


def _is_its_device(node: Node, spec: str) -> bool:
    """Whether what stands in fstab (fstab(5): a path, or TAG=value, which may be quoted) is the site's device."""
    tag, equals, value = spec.partition("=")
    if equals and not spec.startswith("/"):
        spec = "%s=%s" % (tag, value.strip("\"'"))
    if not node.settings.device:
        return False
    if spec.rstrip("/") == node.settings.device.rstrip("/"):
        return True
    path = node.device[0]
    if not path or spec.startswith(values.TAGS):
        return bool(path) and spec in node.tags
    try:
        return spec.startswith("/dev/") and blockdevice.number(spec) == blockdevice.number(path)
    except Unresolved:
        return False


# -- the device ------------------------------------------------------------------------------------------------------------------------------


@GROUP.check
def the_device(node: Node) -> Iterator[Found]:
    """The block device: is it there, is it one, what is on it."""
    path, error = node.device
    device = node.settings.device
    if error and error.candidates:
        yield TWICE("", device=device, paths=", ".join(error.candidates))
    elif error and error.absent:
        yield ABSENT("", device=device)
    elif error:
        yield unchecked((ABSENT, TWICE, BAD_FILE_SYSTEM, NO_MMP), NOT_SEEN, what=device, error=error)
    elif path:
        yield from _file_system(node, path)


def _file_system(node: Node, path: str) -> Iterator[Found]:
    wanted = node.settings.fstype or "auto"
    found, error = node.file_system
    if error:
        yield BAD_FILE_SYSTEM(path, device=path, found="several", wanted=wanted) if isinstance(error, blockdevice.SeveralKinds) else unchecked(
            (BAD_FILE_SYSTEM, NO_MMP), NOT_SEEN, what=path, error=error)
        return
    answer = node.call("read " + path, lambda: _beginning(path)) if not found else None
    if answer and not answer.ok:  # a mirror's second half (DRBD) cannot even be opened
        yield unchecked((BAD_FILE_SYSTEM, NO_MMP), NOT_READ, what=path, error=answer.words())
    elif not found or found.endswith(CONTAINERS) or blockdevice.is_other_type(found, node.settings.fstype):
        yield BAD_FILE_SYSTEM(path, device=path, found=found or "none", wanted=wanted)
    elif found == "ext4":
        yield from _mmp(node, path)


def _beginning(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.read(descriptor, 4096)
        return ""
    finally:
        os.close(descriptor)


def _mmp(node: Node, path: str) -> Iterator[Found]:
    """ext4's multiple mount protection (ext4(5)) is the last thing that keeps two nodes from mounting one disk where there is no fencing."""
    if node.mmp is None:
        yield unchecked((NO_MMP,), NOT_SEEN, what=path, error=node.superblock.words())
    elif not node.mmp and node.cib is None:
        yield unchecked((NO_MMP,), NO_CLUSTER)
    elif not node.mmp and node.cib and len(node.cib.nodes) > 1 and not node.cib.fencing:
        yield NO_MMP(path, device=path, count=len(node.cib.nodes))


# -- network file systems --------------------------------------------------------------------------------------------------------------------


@GROUP.check
def network(node: Node) -> Iterator[Found]:
    """The mount options of a network file system: as they are where it is mounted, else as they are given."""
    mount, settings = node.mount, node.settings
    if not (_is_network(mount.fstype) if mount else values.is_network(settings.device)):
        return
    options = list(mount.options) if mount else settings.options.split(",")
    recovery = [option for option in options if option in RECOVERY][-1:]
    soft = recovery[0] if recovery and recovery != ["hard"] else ""
    place = mount.point if mount else ""
    if soft:
        yield SOFT(place, option=soft)
    if settings.fstype == "efs" or _is_efs(settings.device) or (mount and _is_efs(mount.source)):
        missing = _missing(options, soft, by_helper=settings.fstype == "efs" and mount is None)
        if missing:
            yield EFS(place, missing=", ".join(missing))


def _is_efs(source: str) -> bool:
    """Whether a source is an EFS file system by its name: fs-ID.efs.REGION.amazonaws.com, which has other ends in other partitions."""
    host = source.rpartition(":/")[0].lower()
    return ".efs." in host and ".amazonaws." in host


def _missing(options: Sequence[str], soft: str, by_helper: bool) -> list[str]:
    """Return those of EFS_OPTIONS that are missing or different. `soft` is another rule's matter; what the helper adds is not missing."""
    given: dict[str, Optional[str]] = {}
    for option in options:
        name, _, value = option.partition("=")
        given["nfsvers" if name == "vers" else name] = value
    wrong = []
    for name, value in EFS_OPTIONS.items():
        if given.get(name) != value and not (name == "hard" and soft) and not (by_helper and name not in given):
            wrong.append("%s=%s" % (name, value) if value else name)
    return wrong
