from __future__ import annotations

import pytest

from cjc_agent.settings import conf_file
from cjc_agent.settings.conf_file import BadConf


@pytest.mark.parametrize("data, found", [
    (b"", {}), (b"site = jobsiteA\n", {"site": "jobsiteA"}), (b"site=jobsiteA", {"site": "jobsiteA"}),
    (b"\xef\xbb\xbfsite = a\r\n\r\n  # x\r\n\tport\t=\t80  \r\n", {"site": "a", "port": "80"}),
    ("# 日本語のコメント\nsite = a\n".encode("euc_jp"), {"site": "a"}), ("#ソ表\nsite = a\n".encode("shift_jis"), {"site": "a"}),
    ("licence_pattern = 日本 = x # y\n".encode(), {"licence_pattern": "日本 = x # y"}), (b"start_args =\n", {"start_args": ""}),
    (b"start_timeout = 60s\nmonitor_level = 20\n", {"start_timeout": "60s", "monitor_level": "20"}), (b"\n" * 1000, {}),
])
def test_parse(data, found):
    assert conf_file.parse(data, "/etc/x.conf") == found


@pytest.mark.parametrize("data, words", [
    (b"site = a\nsitedb = /x\n", ["/etc/x.conf line 2", "unknown parameter 'sitedb'", "did you mean site_db?"]),
    (b"xyzzy = 1\n", ["/etc/x.conf line 1", "unknown parameter 'xyzzy'"]),
    (b"SITE = a\n", ["/etc/x.conf line 1", "unknown parameter 'SITE'"]),
    (b"= a\n", ["/etc/x.conf line 1", "unknown parameter ''"]),
    (b"#\nsite = a\n\nsite = b\n", ["/etc/x.conf line 4", "site is set in line 2 already"]),
    (b"site = a\nport\n", ["/etc/x.conf line 2", "'port' is no `name = value` line"]),
    (b"[section]\n", ["/etc/x.conf line 1", "no `name = value` line"]),
    ("site = a\nlicence_pattern = 日本\n".encode("euc_jp"), ["/etc/x.conf line 2", "not UTF-8"]),
    ("site = a\n".encode("utf-16"), ["/etc/x.conf line 1"]),
])
def test_bad(data, words):
    with pytest.raises(BadConf) as caught:
        conf_file.parse(data, "/etc/x.conf")
    for word in words:
        assert word in str(caught.value)


def test_hostile_lines_give_bounded_printable_words():
    for data in (b"\x1b[2J" * 1000, b"\x1b" * 1000 + b"=1"):
        with pytest.raises(BadConf) as caught:
            conf_file.parse(data, "/etc/x.conf")
        assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_read(tmp_path):
    path = tmp_path / "x.conf"
    with pytest.raises(BadConf, match="x.conf: No such file"):
        conf_file.read(str(path))
    path.write_bytes(b"site = a\n")
    assert conf_file.read(str(path)) == {"site": "a"}
    path.write_bytes(b"site\n")
    with pytest.raises(BadConf, match="%s line 1" % path):
        conf_file.read(str(path))
    with pytest.raises(BadConf, match="Is a directory"):
        conf_file.read(str(tmp_path))


def test_a_file_too_large_is_refused(tmp_path):
    path = tmp_path / "x.conf"
    path.write_bytes(b"#" * conf_file.LARGEST + b"\nsite = a\n")
    with pytest.raises(BadConf):
        conf_file.read(str(path))
