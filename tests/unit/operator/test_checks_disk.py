"""What no test machine has: NFS and EFS, mirrors, LVM. Their mount tables are made up, as nfs(5) and the kernel's fs/nfs/super.c have them."""
from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from cjc_agent.actions import Request
from cjc_agent.operator.checks import disk
from cjc_agent.operator.cib import Cib
from cjc_agent.operator.node import Node
from cjc_agent.operator.rule import ENGLISH, JAPANESE, Finding
from cjc_agent.tools import blockdevice, mountinfo
from cjc_agent.tools.blockdevice import Unresolved
from cjc_agent.tools.command import EXITED, TIMED_OUT, Result
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.look import Seen
from unit.helpers import mount_line, mount_table

ROOT = mount_line("/", "/dev/sda1", "8:1")
NFS = {"device": "nas:/export", "directory": "/share"}
EFS_HOST = "fs-0123456789abcdef0.efs.ap-northeast-1.amazonaws.com"
EFS = {"device": EFS_HOST + ":/", "directory": "/share"}
RIGHT = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"
SHOWN = ("rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.10,"
         "local_lock=none,addr=10.0.0.200")


@pytest.fixture
def node(monkeypatch, state_folder, log):
    """A node with these parameters and mounts; facts that are found out once may be laid down."""
    def make(given, *lines, site_db="/share/job_site", **facts):
        monkeypatch.setattr(mountinfo, "read", lambda process="self": mountinfo.parse(mount_table(ROOT, *lines)))
        request = Request({"site": "jobsiteA", "site_db": site_db, **given}, Deadline(10), log, str(state_folder), "")
        assert not request.complaints
        made = Node(request)
        made.__dict__.update(facts)
        return made
    return make


def shown(source, options=SHOWN, fstype="nfs4"):
    """A mount on /share."""
    return mount_line("/share", source, "0:50", fstype, superblock=options)


def found(check, *words):
    """rule, place and facts (named by `words`) of what a check finds; rules only of what it could not check."""
    listed = list(check)
    for one in listed:
        for language in (ENGLISH, JAPANESE):
            assert one.words(language)
    return [(one.rule.id, one.place, *(one.facts[word] for word in words)) if isinstance(one, Finding) else [rule.id for rule in one.rules] for one in listed]


# -- network file systems --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, soft", [
    (SHOWN, ""), (SHOWN.replace("hard", "soft"), "soft"), (SHOWN.replace("hard", "softerr"), "softerr"), (SHOWN.replace("hard,", "hard,softreval,"), "")])
@pytest.mark.parametrize("given", [NFS, {}, {"directory": "/share"}])
def test_mounted_without_hard(node, given, options, soft):
    line = shown("nas:/export", options)
    expected = [("CJC312", "/share", soft)] if soft else []
    assert found(disk.network(node({**given, "options": "soft" if not soft else "hard"}, line, folders=FOLDERS)), "option") == expected


@pytest.mark.parametrize("options, soft", [
    ("", ""), ("noatime", ""), ("hard", ""), ("soft", "soft"), ("softerr,timeo=50", "softerr"), ("hard,soft", "soft"), ("soft,hard", ""), ("nosoft", "")])
def test_on_a_standby_the_parameter_counts(node, options, soft):
    assert found(disk.network(node({**NFS, "options": options})), "option") == ([("CJC312", "", soft)] if soft else [])


@pytest.mark.parametrize("given, line", [
    ({"device": "/dev/sdb1", "directory": "/share", "options": "soft"}, []), ({"options": "soft"}, []), ({}, [mount_line("/share", superblock="rw,soft")])])
def test_other_disks_have_no_such_options(node, given, line):
    assert found(disk.network(node(given, *line, folders=FOLDERS))) == []


@pytest.mark.parametrize("change, missing", [
    (("", ""), []), (("vers=4.1", "vers=4.0"), ["nfsvers=4.1"]), (("vers=4.1", "vers=4.2"), ["nfsvers=4.1"]),
    (("rsize=1048576", "rsize=32768"), ["rsize=1048576"]), (("wsize=1048576", "wsize=65536"), ["wsize=1048576"]),
    (("timeo=600", "timeo=150"), ["timeo=600"]), (("retrans=2", "retrans=3"), ["retrans=2"]), (("noresvport,", ""), ["noresvport"]),
    (("noresvport,proto=tcp,timeo=600", "proto=tcp,timeo=60"), ["timeo=600", "noresvport"])])
@pytest.mark.parametrize("given", [EFS, {"directory": "/share"}, {**EFS, "fstype": "efs"}])
def test_efs_mounted(node, given, change, missing):
    made = node(given, shown(EFS_HOST + ":/", SHOWN.replace(*change)), folders=FOLDERS)
    assert found(disk.network(made), "missing") == ([("CJC313", "/share", ", ".join(missing))] if missing else [])


def test_efs_mounted_soft_is_told_once(node):
    made = node(EFS, shown(EFS_HOST + ":/", SHOWN.replace("hard", "soft")), folders=FOLDERS)
    assert found(disk.network(made)) == [("CJC312", "/share")]


def test_efs_with_tls_is_known_by_its_type_and_our_record(node):
    made = node({**EFS, "fstype": "efs"}, shown("127.0.0.1:/", SHOWN.replace("noresvport,", "")), folders=FOLDERS)
    made.stack.disk.resolved.update(device=EFS["device"], source="127.0.0.1:/")
    assert found(disk.network(made), "missing") == [("CJC313", "/share", "noresvport")]


@pytest.mark.parametrize("fstype, options, expected", [
    ("nfs4", RIGHT, ""), ("nfs", RIGHT.replace("nfsvers", "vers"), ""), ("nfs4", RIGHT.replace(",noresvport", ""), "noresvport"),
    ("nfs4", "", RIGHT.replace(",", ", ")), ("nfs4", RIGHT.replace("hard,", ""), "hard"), ("nfs4", RIGHT.replace("timeo=600", "timeo=60"), "timeo=600"),
    ("efs", "", ""), ("efs", "tls,iam", ""), ("efs", "tls,timeo=60", "timeo=600"), ("efs", "nfsvers=4.0,rsize=4096", "nfsvers=4.1, rsize=1048576")])
def test_efs_on_a_standby(node, fstype, options, expected):
    made = node({**EFS, "fstype": fstype, "options": options})
    assert found(disk.network(made), "missing") == ([("CJC313", "", expected)] if expected else [])


@pytest.mark.parametrize("source, efs", [
    (EFS_HOST + ":/", True), ("ap-northeast-1a." + EFS_HOST + ":/x", True), ("fs-1.efs.cn-north-1.amazonaws.com.cn:/", True),
    ("nas:/fs-1.efs.x.amazonaws.com", False), ("FS-1.EFS.us-east-1.AmazonAWS.com:/", True),
    ("nas.example.com:/efs.amazonaws.com", False), ("fs-1.fsx.us-east-1.amazonaws.com:/fsx", False), ("/dev/sdb1", False), ("", False)])
def test_efs_by_name(source, efs):
    assert disk._is_efs(source) is efs


# -- the device ------------------------------------------------------------------------------------------------------------------------------

BLOCK = {"device": "/dev/sdb1", "directory": "/share"}
THERE = ("/dev/sdb1", None)


@pytest.mark.parametrize("type, fstype, told", [
    ("ext4", "ext3", ""), ("ext4", "auto", ""), ("xfs", "", ""), ("xfs", "ext4", "xfs"), ("LVM2_member", "", "LVM2_member"),
    ("linux_raid_member", "", "linux_raid_member"),
    ("crypto_LUKS", "", "crypto_LUKS"), ("swap", "", "swap"), ("", "", "none")])
def test_types(node, type, fstype, told):
    made = node({**BLOCK, "fstype": fstype}, device=THERE, file_system=(type, None), mmp=True, call=lambda name, function: Result(name, EXITED, 0))
    assert found(disk.the_device(made), "found") == ([("CJC310", "/dev/sdb1", told)] if told else [])


def test_a_mirror_s_second_half_is_rightly_unreadable(node, monkeypatch):
    def refused(path):
        raise OSError(124, "Wrong medium type")
    monkeypatch.setattr(disk, "_beginning", refused)
    made = node({**BLOCK, "device": "/dev/drbd0"}, device=("/dev/drbd0", None), file_system=("", None))
    unchecked, = disk.the_device(made)
    assert [rule.id for rule in unchecked.rules] == ["CJC310", "CJC311"]
    assert "/dev/drbd0 cannot be read on this node (right on a standby whose disk is mirrored): " in unchecked.words(ENGLISH)
    assert "EMEDIUMTYPE" in unchecked.words(ENGLISH) and "ミラーディスク" in unchecked.words(JAPANESE)


def test_what_does_not_answer_cannot_be_checked(node):
    slow = Unresolved("LABEL=x cannot be resolved: blkid did not end", absent=False)
    assert found(disk.the_device(node({**BLOCK, "device": "LABEL=x"}, device=("", slow)))) == [["CJC308", "CJC309", "CJC310", "CJC311"]]
    assert found(disk.the_device(node(BLOCK, device=THERE, file_system=("", slow)))) == [["CJC310", "CJC311"]]


def cluster(count, fencing):
    return Cib({}, ["node%d" % number for number in range(count)], fencing)


FEATURES = "Filesystem volume name:   <none>\nFilesystem features:      has_journal ext_attr %s extent\nFilesystem flags: mmp\n"


NAKED = [("CJC311", "/dev/sdb1", "2")]


@pytest.mark.parametrize("features, cib, expected", [
    ("", cluster(2, False), NAKED), ("", cluster(3, False), [("CJC311", "/dev/sdb1", "3")]), ("nommp", cluster(2, False), NAKED),
    ("mmp", cluster(2, False), []), ("", cluster(2, True), []), ("", cluster(1, False), []), ("", None, [["CJC311"]]), ("mmp", None, [])])
def test_mmp(node, features, cib, expected):
    made = node(BLOCK, device=THERE, file_system=("ext4", None), superblock=Result("dumpe2fs", EXITED, 0, FEATURES % features), cib=cib)
    assert found(disk.the_device(made), "count") == expected


@pytest.mark.parametrize("answer", [(EXITED, 127, "not found"), (EXITED, 1, "Bad magic number"), (TIMED_OUT,)])
def test_mmp_that_cannot_be_told(node, answer):
    answer = Result("dumpe2fs", *answer)
    made = node(BLOCK, device=THERE, file_system=("ext4", None), superblock=answer, cib=cluster(2, False))
    assert found(disk.the_device(made)) == [["CJC311"]] and made.mmp is None


def test_only_ext4_has_mmp(node):
    made = node(BLOCK, device=THERE, file_system=("xfs", None), superblock=None, cib=cluster(2, False))
    assert found(disk.the_device(made)) == [] and made.mmp is None


# -- the site DB, and what is taken for its disk ---------------------------------------------------------------------------------------------


def folders(site_db=0o40755, nqs=0o40755):
    """What is seen of the site DB's folders; mode 0: missing."""
    return [Seen(path, {"mode": mode} if mode else {"errno": 2, "error": "No such file or directory"})
            for path, mode in (("/share/job_site", site_db), ("/share/job_site/nqs", nqs))]


FOLDERS, NOTHING = folders(), folders(0, 0)
HUNG = [Seen("/share/job_site", {"error": "its file system does not answer", "errno": 110})] * 2
SHARE = mount_line("/share")
SITE_RULES = ["CJC301", "CJC302", "CJC304", "CJC305", "CJC306", "CJC307"]


@pytest.mark.parametrize("given, lines, seen, point", [
    (BLOCK, [SHARE], NOTHING, "/share"), ({"directory": "/share"}, [SHARE], NOTHING, "/share"), ({"directory": "/share"}, [], FOLDERS, ""),
    ({}, [SHARE], FOLDERS, "/share"), ({}, [SHARE], HUNG, "/share"), ({}, [SHARE], NOTHING, ""), ({}, [], FOLDERS, ""),
    ({}, [mount_line("/share", "/dev/sda1", "8:1", root="/@share")], FOLDERS, ""),  # a subvolume of the root file system
    ({"directory": "/share"}, [mount_line("/share", "/dev/sda1", "8:1", root="/@share")], FOLDERS, ""),
], ids=["block device", "cluster's mount", "not mounted", "by the site DB alone", "hung", "another file system", "root", "subvolume", "subvolume there"])
def test_what_is_taken_for_the_disk(node, monkeypatch, given, lines, seen, point):
    monkeypatch.setattr(blockdevice, "number", lambda path: "8:17")
    made = node(given, *lines, folders=seen)
    assert (made.mount.point if made.mount else "") == point
    if not point:
        assert found(disk.the_site_db(made)) == [SITE_RULES]
        assert [rule for rule, *_ in found(disk.the_mount(made))] == (["CJC303"] if seen is FOLDERS else [])


def test_a_subvolume_that_is_absent_and_one_with_a_site_db(node):
    line = mount_line("/share", "/dev/sda1", "8:1", root="/@share")
    assert found(disk.the_mount(node({}, line, folders=FOLDERS)), "mount") == [("CJC303", "/share/job_site", "/dev/sda1 (ext4) on /share")]
    assert found(disk.the_mount(node({}, line, folders=NOTHING))) == []


def test_a_disk_that_hangs_is_no_finding(node):
    asked = []
    made = node({}, SHARE, folders=HUNG, call=lambda name, function: asked.append(name))
    assert found(disk.the_site_db(made)) == [SITE_RULES[:-1]] and asked == [], "whatever hangs is asked once"
    made = node({}, mount_line("/share", superblock="ro"), folders=HUNG)
    assert found(disk.the_site_db(made)) == [("CJC307", "/share"), SITE_RULES[:-1]]


def test_a_site_db_on_a_stranger_is_not_on_the_root_file_system(node, monkeypatch):
    monkeypatch.setattr(blockdevice, "number", lambda path: "8:17")
    made = node(BLOCK, mount_line("/share", "/dev/sdc1", "8:33"), folders=FOLDERS)
    assert found(disk.the_mount(made), "words") == [
        ("CJC316", "/share", "/share should carry /dev/sdb1, but /dev/sdc1 (ext4) on /share is mounted there: unmount it")]


@pytest.mark.parametrize("seen, path", [
    (folders(0o40755, 0), "/share/job_site/nqs"), (folders(0o100644, 0), "/share/job_site"), (folders(0o40755, 0o100644), "/share/job_site/nqs")])
def test_what_is_missing_is_named(node, seen, path):
    made = node({"directory": "/share"}, SHARE, folders=seen)
    assert found(disk.the_site_db(made), "path") == [("CJC301", "/share/job_site", path)]


@pytest.fixture
def here(node, tmp_path):
    """A node whose site DB is a real folder on a made-up mount."""
    def make(mode=0o755, uid=0, **given):
        (tmp_path / "job_site/nqs").mkdir(parents=True, exist_ok=True)
        seen = [Seen(str(tmp_path / path), {"mode": 0o40000 | mode, "uid": uid}) for path in ("job_site", "job_site/nqs")]
        return node(given, mount_line(str(tmp_path)), site_db=str(tmp_path / "job_site"), folders=seen)
    return make


@pytest.mark.parametrize("mode, uid, user, wrong", [
    (0o755, 0, "root", False), (0o700, 0, "daemon", False), (0o2755, 1, "daemon", False), (0o755, 2, "daemon", True), (0o755, 1, "root", True),
    (0o775, 0, "root", True), (0o757, 0, "root", True), (0o555, 0, "root", True), (0o000, 0, "root", True), (0o755, 2, "no-such-user", False),
    (0o777, 2, "no-such-user", True)])
def test_owner_and_mode(here, mode, uid, user, wrong):
    made = here(mode, uid, user=user, min_free_percent="0", min_free_mib="0")
    made.__dict__["user"] = Result("look up", EXITED, 0, {"root": "0", "daemon": "1"}.get(user, ""))
    expected = [("CJC304", seen.path, "%04o" % mode, str(uid)) for seen in made.folders] if wrong else []
    assert found(disk.the_site_db(made), "mode", "uid") == expected


def space(free, total, inodes=100, all_inodes=1000):
    """As statvfs(3) has it, in MiB."""
    return SimpleNamespace(f_bavail=free << 8, f_blocks=total << 8, f_frsize=4096, f_favail=inodes, f_files=all_inodes)


@pytest.mark.parametrize("facts, percent, mib, rule", [
    (space(1000, 10000), 5, 512, ""), (space(499, 10000), 5, 0, "CJC305"), (space(500, 10000), 5, 500, ""), (space(511, 1000), 5, 512, "CJC305"),
    (space(0, 0, 0, 0), 5, 512, ""), (space(900, 1000, 0, 0), 5, 512, ""), (space(900, 1000, 49), 5, 512, "CJC306"), (space(900, 1000, 50), 5, 512, ""),
    (space(0, 1000, 0, 10), 5, 512, "CJC305"), (space(0, 1000, 0), 0, 0, "")],
    ids=["room", "share", "just enough", "size", "says nothing", "btrfs", "inodes", "inodes enough", "XFS, full", "not asked for"])
def test_room(here, monkeypatch, facts, percent, mib, rule):
    monkeypatch.setattr(os, "statvfs", lambda path: facts)
    made = here(min_free_percent=str(percent), min_free_mib=str(mib))
    assert [id for id, *_ in found(disk.the_site_db(made))] == ([rule] if rule else [])


def test_looks_that_fail_are_no_findings(here, monkeypatch):
    def refused(path):
        raise OSError(5, "Input/output error")
    monkeypatch.setattr(os, "statvfs", refused)
    made = here()
    os.symlink("elsewhere", os.path.join(made.settings.site_db, ".cjc-agent-site"))
    assert found(disk.the_site_db(made)) == [["CJC302"], ["CJC305", "CJC306"]]


# -- /etc/fstab ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def automatic(node, tmp_path, monkeypatch):
    """The lines of an fstab that the doctor complains of."""
    def look(text, given, *lines, site_db="/share/job_site", **facts):
        (tmp_path / "fstab").write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setattr(disk, "FSTAB", str(tmp_path / "fstab"))
        made = node(given, *lines, site_db=site_db, **{"device": ("", None), "folders": FOLDERS, **facts})
        return [int(place.rpartition(":")[2]) for _, place in found(disk.fstab(made))]
    return look


@pytest.mark.parametrize("text, lines", [
    ("", []), ("/dev/sdb1 /share ext4 defaults 0 2\n", [1]), ("/dev/sdb1 /share ext4 noauto 0 2\n", []), ("x /share\n", [1]),
    ("# x\n\n\tx\t/share/\text4\trw,nofail\n", [3]),
    ("#/dev/sdb1 /share ext4 defaults 0 2\n  # x /share ext4\n", []), ("x /share2 ext4 defaults\nx /shar ext4\nx /share/below ext4\nx /\nx none swap\n", []),
    ("/dev/sdb1 /other ext4 defaults\n", [1]), ("x /share ext4 noauto,x-systemd.automount\n", [1]), ("x /share ext4 noautomatic\n", [1]),
    ("x /share\nx /share ext4 ro\n", [1, 2]), (b"\xff\xfe /share ext4 \xff\n/dev/sdb1\n\x00\n", [1]),
    ("UUID=0A0B /other\nLABEL=\"two\\040words\" /other\n", [1, 2]),
    ("UUID=0A0C /other\nLABEL=two /other\n", []), ("nas:/share /mnt nfs defaults\ntmpfs /tmp tmpfs\nproc /proc proc defaults 0 0\n", [])])
def test_fstab(automatic, monkeypatch, text, lines):
    monkeypatch.setattr(blockdevice, "number", lambda path: path)
    assert automatic(text, BLOCK, device=THERE, tags=["DEVNAME=/dev/sdb1", "LABEL=two words", "UUID=0A0B", "TYPE=ext4"]) == lines


def test_fstab_escapes(automatic):
    assert automatic("/dev/sdz /mnt/a\\040b\\134c ext4\n", {"directory": "/mnt/a b\\c"}, site_db="/mnt/a b\\c/job_site") == [1]


def test_fstab_names_the_device_as_the_parameter_does(automatic):
    absent = ("", Unresolved("absent", absent=True))
    for device in ("LABEL=job", "UUID=0A0B", "/dev/mapper/job", "nas:/export"):
        assert automatic(device + " /elsewhere auto\n", {"device": device, "directory": "/share"}, device=absent if ":" not in device else ("", None)) == [1]


def test_fstab_names_the_device_by_a_link(automatic, monkeypatch):
    numbers = {"/dev/disk/by-id/x": "8:17", "/dev/sdb1": "8:17", "/dev/sdc1": "8:33"}

    def number(path):
        if path in numbers:
            return numbers[path]
        raise Unresolved("none", absent=True)
    monkeypatch.setattr(blockdevice, "number", number)
    assert automatic("/dev/sdc1 /a ext4\n/dev/gone /b ext4\n/dev/disk/by-id/x /c ext4\n", BLOCK, device=THERE) == [3]


@pytest.mark.parametrize("given, mounted, seen, lines", [
    ({}, [], NOTHING, [2]),                                      # what is not mounted now will be at boot
    ({}, [SHARE], FOLDERS, [2]),                                 # the disk itself
    ({}, [SHARE], NOTHING, []),                                  # a file system of the node's own, on which the cluster mounts the disk
    ({"directory": "/share"}, [], NOTHING, [2]),
    ({"directory": "/share/job_site"}, [], NOTHING, []),
])
def test_fstab_where_the_cluster_mounts_the_disk(automatic, given, mounted, seen, lines):
    assert automatic("/dev/sda1 / ext4\n/dev/sdb1 /share ext4\n", given, *mounted, folders=seen) == lines


def test_a_network_file_system_may_be_mounted_at_boot_on_all_nodes(automatic):
    text = "nas:/export /share nfs4 _netdev\n"
    assert automatic(text, {}, shown("nas:/export")) == automatic(text, {"directory": "/share"}) == []
    assert automatic(text, NFS) == [1], "but not where the agent mounts it"


def test_no_fstab(node, monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "FSTAB", str(tmp_path / "none"))
    assert found(disk.fstab(node(BLOCK))) == []


# -- parameters that cannot be understood ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [
    {}, {"site": "jobsiteA"}, {"site_db": "x", "device": "nonsense", "directory": "/share"},
    {"site_db": "/share/a", "device": "nonsense", "directory": "/share"}, {"site_db": "/share/a", "device": "/dev/sdb1"}])
def test_bad_parameters_are_another_rule_s_matter(state_folder, log, monkeypatch, given):
    monkeypatch.setattr(mountinfo, "read", lambda process="self": mountinfo.parse(mount_table(ROOT, mount_line("/share", "tmpfs", "0:60", "tmpfs"))))
    made = Node(Request(given, Deadline(10), log, str(state_folder), ""))
    for check in disk.GROUP.checks:
        assert [one for one in check(made) if isinstance(one, Finding) and one.rule.id != "CJC308"] == []


@pytest.mark.parametrize("fstype, lines", [("efs", []), ("gfs2", []), ("glusterfs", []), ("ocfs2", []), ("xfs", [1])])
def test_fstab_may_mount_what_every_node_mounts(node, monkeypatch, tmp_path, fstype, lines):
    (tmp_path / "fstab").write_text("fs-0123456789abcdef0:/ /share %s defaults,_netdev 0 0\n" % fstype)
    monkeypatch.setattr(disk, "FSTAB", str(tmp_path / "fstab"))
    assert [place for _, place in found(disk.fstab(node({})))] == ["%s/fstab:%d" % (tmp_path, line) for line in lines]
