from __future__ import annotations

import os

import pytest

from cjc_agent.settings import daemon_conf


@pytest.mark.parametrize("text, found", [
    ("", {}), ("listen_port=20817\n", {"listen_port": ("20817", 1)}), ("  listen_port =\t20817  \r\n", {"listen_port": ("20817", 1)}),
    ("# listen_port=1\n\nlocal_daemon=SITE # why\n", {"local_daemon": ("SITE", 3)}), ("a=1\na=2\n", {"a": ("2", 2)}), ("=1\nno sense\n", {}),
    ("ipaddress=10.0.0.1,10.0.0.2\nipcheck=OFF", {"ipaddress": ("10.0.0.1,10.0.0.2", 1), "ipcheck": ("OFF", 2)}), ("a=b=c\n", {"a": ("b=c", 1)}),
    ("a=\n", {"a": ("", 1)}),
])
def test_parse(text, found):
    assert daemon_conf.parse(text) == found


@pytest.mark.parametrize("separator", "\x0b\x0c\x1c\x85\u2028")
def test_only_newlines_end_a_line(separator):
    assert daemon_conf.parse("# comment%slisten_port=1\n" % separator) == {}


def test_read(tmp_path):
    path = tmp_path / "daemon.conf"
    assert daemon_conf.read(str(path)) == {}
    path.write_bytes("# 待ち受けポート\nlisten_port=20817 # 変更\n".encode("euc_jp"))
    assert daemon_conf.read(str(path)) == {"listen_port": ("20817", 2)}
    path.write_bytes("# ソ表能\r\nlisten_port=20818\r\n".encode("shift_jis"))
    assert daemon_conf.read(str(path)) == {"listen_port": ("20818", 2)}
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
