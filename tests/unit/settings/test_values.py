from __future__ import annotations

import pytest

from cjc_agent.settings import parameters, values

LONG = "a" * 63

GOOD = [
    ("site", "jobsiteA", "jobsiteA"), ("site", "0", "0"), ("site", "a.b_c-d", "a.b_c-d"), ("site", LONG, LONG),
    ("site_db", "/share/job_site", "/share/job_site"), ("site_db", "//share///x/./y/", "/share/x/y"), ("site_db", "/a b/日本", "/a b/日本"),
    ("device", "/dev/sdb1", "/dev/sdb1"), ("device", "/dev//mapper/vg-lv", "/dev/mapper/vg-lv"), ("device", "LABEL=job", "LABEL=job"),
    ("device", "UUID=1-2", "UUID=1-2"), ("device", "PARTLABEL=x", "PARTLABEL=x"), ("device", "PARTUUID=x", "PARTUUID=x"),
    ("device", "nfs:/export", "nfs:/export"), ("device", "nfs:/export/", "nfs:/export"), ("device", "[2001:db8::1]:/e", "[2001:db8::1]:/e"),
    ("device", "fs-1.efs.ap-northeast-1.amazonaws.com:/", "fs-1.efs.ap-northeast-1.amazonaws.com:/"), ("device", "LABEL=a:/b", "LABEL=a:/b"),
    ("directory", "/share", "/share"), ("directory", "/share/", "/share"),
    ("fstype", "ext4", "ext4"), ("fstype", "fuse.x-y_z", "fuse.x-y_z"),
    ("options", "noatime,nfsvers=4.1", "noatime,nfsvers=4.1"), ("options", "tls", "tls"),
    ("run_fsck", "auto", "auto"), ("run_fsck", "force", "force"), ("run_fsck", "no", "no"),
    ("vip", "10.0.0.1", ("10.0.0.1",)), ("vip", " 10.0.0.1 , 2001:DB8:0::1 ", ("10.0.0.1", "2001:db8::1")),
    ("vip", "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5", ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")),
    ("vip_wait", "10s", 10.0), ("vip_wait", "0", 0.0), ("vip_wait", "1.5", 1.5), ("vip_wait", "500ms", 0.5), ("vip_wait", "2min", 120.0),
    ("vip_wait", "2m", 120.0), ("vip_wait", "1h", 3600.0), ("vip_wait", "24h", 86400.0), ("vip_wait", "7sec", 7.0),
    ("port", "1", 1), ("port", "65535", 65535), ("port", "020816", 20816),
    ("nqs_home", "/opt/nqs", "/opt/nqs"), ("nqs_spool", "/var/nqs", "/var/nqs"),
    ("cjcpw", "cjcpw", "cjcpw"), ("cjcpw", "/opt/x/cjcpw", "/opt/x/cjcpw"), ("cjcpw", "cjc-pw.sh", "cjc-pw.sh"),
    ("start_args", "start -c", ("start", "-c")), ("start_args", "", ()), ("start_args", "  ", ()), ("stop_args", "'a b' \"c\" d\\ e", ("a b", "c", "d e")),
    ("stop_args", "$HOME;id", ("$HOME;id",)), ("status_args", "status", ("status",)), ("status_args", "", ()),
    ("cjcpw_mode", "command", "command"), ("cjcpw_mode", "resident", "resident"),
    ("status_running", "0", (0,)), ("status_running", "0, 10 ,255", (0, 10, 255)), ("status_stopped", "1,3", (1, 3)),
    ("user", "root", "root"), ("user", "nqs_user-1", "nqs_user-1"), ("user", "DOM.x$", "DOM.x$"),
    ("environment", "A=1 B='x y' C=", ("A=1", "B=x y", "C=")), ("environment", "A=b=c", ("A=b=c",)),
    ("stop_escalation", "auto", -1.0), ("stop_escalation", "60s", 60.0), ("stop_escalation", "0", 0.0),
    ("licence_pattern", "CJC Option", "CJC Option"), ("version", "16.1-1.el8", "16.1-1.el8"),
    ("min_free_percent", "0", 0), ("min_free_percent", "100", 100), ("min_free_mib", "0", 0), ("min_free_mib", "1048576", 1048576),
    ("trace", "1", True), ("trace", "yes", True), ("trace", "ON", True), ("trace", "True", True), ("trace", "0", False), ("trace", "off", False),
    ("trace", "No", False), ("trace", "false", False),
    ("start_timeout", "1s", 1.0), ("stop_timeout", "3min", 180.0), ("monitor_timeout", "30", 30.0),
    ("monitor_expect", "auto", "auto"), ("monitor_expect", "active", "active"), ("log_limit", "128", 128), ("log_limit", "65536", 65536),
    ("monitor_level", "0", 0), ("monitor_level", "10", 10), ("monitor_level", "20", 20),
]
BAD = [
    *[("site", text) for text in ("-a", ".a", "_a", "a b", "a/b", "a" * 64, "日本", "a\u0301", "a;b", "a$", "é", "../x", " a", "a ")],
    *[(name, text) for name in ("site_db", "directory", "nqs_home", "nqs_spool") for text in ("share", "./share", "/", "//", "/.", "/a/../b", "/..", "~/x")],
    *[("device", text) for text in ("sdb1", "LABEL=", "UUID=", "label=x", "host:export", ":/export", "/tmp/image", "-o:/x", "a b:/x", "/dev/../x", "a,b:/x",
                                    "UUID", "-/dev/sdb")],
    *[("fstype", text) for text in ("-t", "ext4 xfs", "ext4;id", "é")],
    *[("options", text) for text in ("a, b", "a b")],
    *[("run_fsck", text) for text in ("yes", "AUTO", "1")],
    ("vip", "0.0.0.0"), ("vip", "10.0.0.1,::"),
    *[("vip", text) for text in ("10.0.0.1,", ",", "10.0.0.1 10.0.0.2", "10.0.0", "10.0.0.1/24", "host", "fe80::1%eth0", "10.0.0.1,10.0.0.1",
                                 "::1,0:0:0:0:0:0:0:1", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6")],
    *[(name, text) for name in ("vip_wait", "stop_escalation", "start_timeout") for text in (
        "-1", "s", "1e3", "10 s", "ten", "1d", "1.2.3", ".", "inf", "nan", "25h", "9" * 400, "٣", "+5", "1_0")],
    *[("port", text) for text in ("0", "-1", "65536", "80a", "0x50", "٣", "²", "1.0", " 80", "9" * 50, "9" * 5000)],
    *[("cjcpw", text) for text in ("bin/cjcpw", "./cjcpw", "-x", "cjc pw", "/a/../b", ".", "..", "/", "//.")],
    *[(name, text) for name in ("start_args", "stop_args", "status_args") for text in ("'open", '"open', "x\\")],
    *[("cjcpw_mode", text) for text in ("Resident", "daemon")],
    *[("min_free_percent", text) for text in ("101", "-1", "5%", "x")], *[("min_free_mib", text) for text in ("-1", "1GiB", "9" * 50)],
    *[(name, text) for name in ("status_running", "status_stopped") for text in (
        "256", "-1", "1,,2", "1 2", "x", "126", "127", "0,127", "0x1", "²", ",", "9" * 5000)],
    *[("user", text) for text in ("-x", "a b", "a:b", "../x", "é", "a" * 65)],
    *[("environment", text) for text in ("A", "=1", "1A=1", "A-B=1", "NQS_SITE=x", "CJC_AGENT_CALL=1", "A=1 NQS_SITE=x", "A='x", "é=1")],
    *[("stop_escalation", text) for text in ("AUTO", "50%")],
    *[("trace", text) for text in ("2", "ja", "x", "-1")],
    *[(name, text) for name in ("start_timeout", "stop_timeout", "monitor_timeout") for text in ("0", "999ms", "0.5")],
    *[("monitor_expect", text) for text in ("yes", "Active", "standby")], *[("log_limit", text) for text in ("127", "65537", "x", "-1", "1e3", "9" * 5000)],
    *[("monitor_level", text) for text in ("5", "15", "x", "-10", "010")],
]


@pytest.mark.parametrize("name, text, value", GOOD)
def test_good(name, text, value):
    assert parameters.BY_NAME[name].parse(text) == value
    assert type(parameters.BY_NAME[name].parse(text)) is type(value)


@pytest.mark.parametrize("name, text", BAD)
def test_bad(name, text):
    with pytest.raises(ValueError) as caught:
        parameters.BY_NAME[name].parse(text)
    assert str(caught.value).strip()


@pytest.mark.parametrize("text", ["A=1 topsecret", "PASSWORD=top'secret", "PASSWORD=topsecret\\", "A-B=topsecret",
                                  "=topsecret", "A=topsecret NQS_SITE=topsecret",
                                  "A=topsecret\n", "A=topsecret\x1b", "A=topsecret\udce9"])
def test_what_is_wrong_with_the_environment_is_said_without_its_values(text):
    problems = parameters.read({"site": "a", "site_db": "/share/a", "environment": text})[1]
    assert list(problems) == ["environment"] and "secret" not in problems["environment"]


def test_every_parameter_is_in_the_tables():
    names = {row.name for row in parameters.PARAMETERS + parameters.CONF_PARAMETERS}
    assert {row[0] for row in GOOD} == names
    assert names - {row[0] for row in BAD} == {"licence_pattern", "version"}, "any text will do for these alone"


@pytest.mark.parametrize("text", ["/dev", "/dev/", "/dev/.", "/dev//"])
def test_the_device_folder_is_no_device(text):
    with pytest.raises(ValueError):
        values.device(text)


@pytest.mark.parametrize("value, network", [("", False), ("/dev/sdb1", False), ("LABEL=x", False), ("UUID=x", False), ("PARTUUID=a:/b", False),
                                            ("host:/x", True), ("[::1]:/x", True)])
def test_is_network(value, network):
    assert values.is_network(value) is network


def test_programs_of():
    assert values.programs_of("cjcpw", "/n") == ["/n/cjcpw", "/n/cluster/cjcpw", "/n/bin/cjcpw", "/usr/sbin/cjcpw", "/usr/bin/cjcpw", "/sbin/cjcpw",
                                                "/bin/cjcpw"]
    assert values.programs_of("/opt/cjcpw", "/n") == ["/opt/cjcpw"]
