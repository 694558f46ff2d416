from __future__ import annotations

import os

import pytest

from cjc_agent.settings import daemon_conf
from unit.helpers import settings


@pytest.mark.parametrize("text, found", [
    ("", {}), ("listen_port=20817\n", {"listen_port": ("20817", 1)}), ("  listen_port =\t20817  \r\n", {"listen_port": ("20817", 1)}),
    ("# listen_port=1\n\nlocal_daemon=SITE # why\n", {"local_daemon": ("SITE", 3)}), ("a=1\na=2\n", {"a": ("2", 2)}), ("=1\nno sense\n", {}),
    ("ipaddress=10.0.0.1,10.0.0.2\nipcheck=OFF", {"ipaddress": ("10.0.0.1,10.0.0.2", 1), "ipcheck": ("OFF", 2)}), ("a=b=c\n", {"a": ("b=c", 1)}),
    ("a=\n", {"a": ("", 1)}),
])
def test_parse(text, found):
    assert found_in(text.encode()) == found


def found_in(data):
    """Key -> (value, line) of what counts in a file."""
    file = daemon_conf.File("/x", data)
    counting = {entry.key: file.get(entry.key) for entry in file.entries}
    return {key: (entry.value, entry.line) for key, entry in counting.items()}


@pytest.mark.parametrize("separator", "\x0b\x0c\x1c\x85\u2028")
def test_only_newlines_end_a_line(separator):
    assert found_in(("# comment%slisten_port=1\n" % separator).encode()) == {}


def test_lines_that_say_nothing():
    data = b"\xef\xbb\xbf# of an editor\r\n\r\n \t\na=1\nipcheck OFF # why\n=1\n# x\nlisten_port: 1"
    assert daemon_conf.File("/x", data).neither == [5, 6, 8]


def test_read(tmp_path):
    path = tmp_path / "daemon.conf"
    with pytest.raises(FileNotFoundError):
        daemon_conf.read(str(path))
    path.write_bytes("# 待ち受けポート\nlisten_port=20817 # 変更\n".encode("euc_jp"))
    assert [found_in(path.read_bytes()), daemon_conf.read(str(path)).encoding] == [{"listen_port": ("20817", 2)}, "euc_jp"]
    path.write_bytes("# ソ表能\r\nlisten_port=20818\r\n".encode("shift_jis"))
    assert [found_in(path.read_bytes()), daemon_conf.read(str(path)).encoding] == [{"listen_port": ("20818", 2)}, "cp932"]
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(OSError):
        daemon_conf.read(str(tmp_path))


@pytest.fixture
def homes(tmp_path):
    home, site_db = tmp_path / "nqs_home", tmp_path / "job_site"
    (home / "rc").mkdir(parents=True)
    (site_db / "nqs").mkdir(parents=True)

    def write(common=None, site=None):
        for path, text in ((home / "rc" / "daemon.conf", common), (site_db / "nqs" / "daemon.conf", site)):
            if text is not None:
                path.write_text(text)
        return str(home), str(site_db)
    return write


@pytest.mark.parametrize("common, site, port", [
    (None, None, 20816), ("listen_port=1000\n", None, 1000), (None, "listen_port=2000\n", 2000), ("listen_port=1000\n", "listen_port=2000\n", 2000),
    ("listen_port=1000\n", "ipaddress=10.0.0.1\n", 1000), ("listen_port=1000\n", "listen_port=\n", 1000), ("listen_port=70000\n", None, 20816),
    ("listen_port=0\n", "listen_port=x\n", 20816), ("#listen_port=1\n", "listen_port=65535 # x\n", 65535), ("listen_port=\u0663\n", None, 20816),
    ("listen_port=1000\n", "listen_port=%s\n" % ("9" * 5000), 1000),
])
def test_listen_port(homes, common, site, port):
    assert daemon_conf.listen_port(*homes(common, site)) == port


def test_listen_port_without_the_disk(homes, monkeypatch):
    """site_db "": nothing below the mount point is touched, nor the file of the same name at the root."""
    home, site_db = homes("listen_port=1000\n", "listen_port=2000\n")
    assert daemon_conf.listen_port(home, "") == 1000


def test_listen_port_that_cannot_be_read_is_an_error(homes):
    home, site_db = homes("listen_port=1000\n")
    os.mkdir(site_db + "/nqs/daemon.conf")
    with pytest.raises(OSError):
        daemon_conf.listen_port(home, site_db)


# -- the value that counts -------------------------------------------------------------------------------------------------------------


def three(common=None, local=None, site=None):
    """The files that there are, by name."""
    texts = {"common": common, "local": local, "site": site}
    return {name: daemon_conf.File("/" + name, text.encode()) for name, text in texts.items() if text is not None}


@pytest.mark.parametrize("site, files, key, value, place, hidden", [
    ("site", three(), "listen_port", "20816", "", []),
    ("site", three(common="listen_port=1\n"), "listen_port", "1", "/common:1", []),
    ("site", three("listen_port=1\n", "listen_port=2\n", "# x\nlisten_port=3\n"), "listen_port", "3", "/site:2", ["1"]),
    ("local", three("listen_port=1\n", "listen_port=2\n", "listen_port=3\n"), "listen_port", "2", "/local:1", ["1"]),
    ("local", three("a=1\n", "b=2\n", "c=3\n"), "c", None, "", []),
    ("site", three("a=1\na=2\n", None, "a=3\na=4\n"), "a", "4", "/site:2", ["1", "2", "3"]),
    ("site", three(None, "ipaddress=10.0.0.10\n", None), "ipaddress", "", "", []),
])
def test_what_counts(site, files, key, value, place, hidden):
    found = daemon_conf.effective(site, files).get(key)
    assert (found and found.value, found.place if found else "") == (value, place)
    assert [entry.value for _, entry in found.hides] == hidden if found else not hidden


# the seed's two examples, to the letter
SEED_SITE = """local_daemon=OFF               # ローカルデーモンは停止
ipaddress=10.0.2.50            # VIP／仮想ホスト名に対応するIP
listen_port=20816              # MG/SV ↔ SV 間通信ポート
ipcheck=OFF                    # SV 逆引きチェック抑制（必要に応じ）
"""
SEED_LOCAL = """local_daemon=SITE              # ローカル＆クラスタの同居を許可
ipaddress=10.0.0.10            # 管理ネットワークIP
"""


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc_jp"])
def test_the_seed_s_examples(encoding):
    data = {"site": SEED_SITE.encode(encoding, "replace"), "local": SEED_LOCAL.encode(encoding, "replace")}
    files = {name: daemon_conf.File("/" + name, text) for name, text in data.items()}
    assert {key: found.value for key, found in daemon_conf.effective("site", files).items()} == {
        "local_daemon": "OFF", "ipaddress": "10.0.2.50", "listen_port": "20816", "ipcheck": "OFF"}
    assert {key: found.value for key, found in daemon_conf.effective("local", files).items()} == {
        "local_daemon": "SITE", "ipaddress": "10.0.0.10", "listen_port": "20816", "ipcheck": ""}
    assert [file.encoding for file in files.values()] == [encoding, encoding]


# -- another value ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before, key, value, after", [
    ("ipaddress=10.0.0.1            # VIP\n", "ipaddress", "10.0.2.50", "ipaddress=10.0.2.50            # VIP\n"),
    ("a=1\r\nlisten_port = 20816 \r\n", "listen_port", "1", "a=1\r\nlisten_port = 1 \r\n"),
    ("listen_port=1\nlisten_port=2", "listen_port", "3", "listen_port=1\nlisten_port=3"),
    ("listen_port=# none\n", "listen_port", "3", "listen_port=3# none\n"), ("listen_port=  \n", "listen_port", "3", "listen_port=3  \n"),
    ("", "a", "b", "a=b\n"), ("x=1", "a", "b", "x=1\na=b\n"), ("x=1\r\n", "a", "b", "x=1\r\na=b\r\n"), ("#a=1\n", "a", "b", "#a=1\na=b\n"),
    ("a=1\n", "a", "", "a=\n"),
])
def test_set(before, key, value, after):
    assert daemon_conf.File("/x", before.encode()).with_value(key, value).decode() == after


@pytest.mark.parametrize("key, value", [("", "1"), ("a#", "1"), ("a=b", "1"), (" a", "1"), ("a", "1 "), ("a", "1#2"), ("a", "1\n2"),
                                        ("a\n", "1"), ("a", "\x1b")])
def test_what_would_not_be_read_back_is_refused(key, value):
    with pytest.raises(ValueError):
        daemon_conf.File("/x", b"a=1\n").with_value(key, value)


def test_a_value_that_the_file_s_encoding_does_not_have_is_refused():
    with pytest.raises(ValueError, match="euc_jp"):
        daemon_conf.File("/x", "# 夜間\n".encode("euc_jp")).with_value("a", "\U0001f600")


@pytest.mark.parametrize("key, like", [("listenport", "listen_port"), ("Listen_Port", "listen_port"), ("ip_address", "ipaddress"), ("ip-check", "ipcheck"),
                                       ("\ufefflocal_daemon", "local_daemon"), ("jcdbs_cachesize", ""), ("x", "")])
def test_the_nearest_known_key(key, like):
    assert daemon_conf.nearest(key) == like


@pytest.mark.parametrize("common, site, port, words", [
    (None, None, "", ""), ("listen_port=20817\n", None, "", ""), ("listen_port=20817\n", None, "20816", "CJC115: listen_port=20817, but `port` is 20816"),
    ("listen_port=20817\n", "listen_port=20816\n", "20816", ""), ("listen_port=x\n", "listen_port=20816\n", "20816", ""),
    ("listen_port=\n", None, "20816", ""),
    ("listen_port=70000\n", None, "", "CJC113: listen_port=70000 is no TCP port"), (None, None, "20817", "- the default"),
])
def test_ports_that_a_start_refuses(homes, common, site, port, words):
    home, site_db = homes(common, site)
    said = daemon_conf.port_complaint(settings(nqs_home=home, site_db=site_db, **({"port": port} if port else {})))
    assert words in said and bool(words) is bool(said)
