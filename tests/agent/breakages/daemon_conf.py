"""CJC1xx: daemon.conf broken in every way that there is a rule for."""
from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

from lab.changed import appended, away, both, mode_of, owned_by, replaced
from lab.healthy import COMMON, LOCAL, Broken, Healthy, configured, line_of, systemctl
from lab.hung import HungFileSystem
from lab.unit import UNIT


@contextlib.contextmanager
def a_folder_instead(healthy: Healthy) -> Iterator[None]:
    """A directory of that name."""
    with away(COMMON):
        COMMON.mkdir()
        yield


@contextlib.contextmanager
def a_hanging_pipe(healthy: Healthy) -> Iterator[None]:
    """A FIFO, which is no file either; nobody may wait for it."""
    with away(LOCAL):
        os.mkfifo(LOCAL)
        yield


HANGS = pathlib.Path("/srv/hangs")


@contextlib.contextmanager
def a_dead_server(healthy: Healthy) -> Iterator[None]:
    """The spool lies on a file system that does not answer."""
    HANGS.mkdir()
    hung = HungFileSystem(HANGS)
    try:
        yield
    finally:
        hung.close()
        HANGS.rmdir()


@contextlib.contextmanager
def without_its_unit(healthy: Healthy) -> Iterator[None]:
    """JobCenter's unit file is not there."""
    text = UNIT.read_text()
    systemctl("disable")
    UNIT.unlink()
    try:
        yield
    finally:
        UNIT.write_text(text)
        systemctl("enable")


@contextlib.contextmanager
def masked(healthy: Healthy) -> Iterator[None]:
    """The unit is masked."""
    systemctl("disable")
    systemctl("mask")
    try:
        yield
    finally:
        systemctl("unmask")
        systemctl("enable")


@contextlib.contextmanager
def taken(healthy: Healthy, address: str) -> Iterator[None]:
    """A stranger listens at the site's port."""
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((address, 20816))
        stranger.listen()
        yield


def site_conf(healthy: Healthy) -> str:
    """Its path."""
    return str(healthy.site_conf)


MANY = ",".join("10.77.200.%d" % number for number in range(1, 6))

ROWS = [
    Broken("the common daemon.conf is missing", "CJC101", lambda healthy: away(COMMON), str(COMMON)),
    Broken("the local daemon.conf is missing", "CJC101", lambda healthy: away(LOCAL), str(LOCAL)),
    Broken("the site's daemon.conf is missing", "CJC101", lambda healthy: away(healthy.site_conf), site_conf),
    Broken("the local daemon.conf does not answer", "CJC102", a_dead_server, str(HANGS / "daemon.conf"), options=("--nqs_spool", str(HANGS))),
    Broken("the common daemon.conf is a directory", "CJC103", a_folder_instead, str(COMMON)),
    Broken("the local daemon.conf is a pipe", "CJC103", a_hanging_pipe, str(LOCAL)),
    Broken("the common daemon.conf can be written by everybody", "CJC104", lambda healthy: mode_of(COMMON, 0o666), str(COMMON)),
    Broken("the site's daemon.conf is somebody else's", "CJC104", lambda healthy: owned_by(healthy.site_conf, 12345), site_conf),
    Broken("a key is misspelt", "CJC105", lambda healthy: appended(COMMON, "listenport=20816\n"), lambda healthy: line_of(COMMON, "listenport")),
    Broken("a key is misspelt, on a standby", "CJC105", lambda healthy: appended(LOCAL, "ip_address=10.0.0.1\n"),
           lambda healthy: line_of(LOCAL, "ip_addr"), True),
    Broken("a byte order mark is a part of the key", "CJC105", lambda healthy: appended(healthy.site_conf, "\ufeffipcheck=OFF\n"),
           lambda healthy: line_of(healthy.site_conf, "\ufeff")),
    Broken("a key is not known", "CJC106", lambda healthy: appended(LOCAL, "max_sessions=1000\n"), lambda healthy: line_of(LOCAL, "max_sessions")),
    Broken("a key stands there twice", "CJC107", lambda healthy: appended(COMMON, "listen_port=20816\n"), lambda healthy: line_of(COMMON, "listen_port")),
    Broken("ipcheck stands in the local file", "CJC108", lambda healthy: appended(LOCAL, "ipcheck=OFF\n"), lambda healthy: line_of(LOCAL, "ipcheck")),
    Broken("ipaddress stands in the common file", "CJC108", lambda healthy: appended(COMMON, "ipaddress=%s\n" % healthy.base),
           lambda healthy: line_of(COMMON, "ipaddress")),
    Broken("local_daemon=SITE in the site's file", "CJC109", lambda healthy: replaced(healthy.site_conf, "local_daemon=OFF", "local_daemon=SITE"),
           lambda healthy: line_of(healthy.site_conf, "local_daemon")),
    Broken("ipaddress of the local site is a name", "CJC110", lambda healthy: replaced(LOCAL, "ipaddress=", "ipaddress=localhost,"),
           lambda healthy: line_of(LOCAL, "ipaddress")),
    Broken("ipaddress of the site is half an address", "CJC110", lambda healthy: replaced(healthy.site_conf, "ipaddress=", "ipaddress=10.77.0,"),
           lambda healthy: line_of(healthy.site_conf, "ipaddress")),
    Broken("six addresses", "CJC111", lambda healthy: replaced(LOCAL, "ipaddress=", "ipaddress=%s," % MANY), lambda healthy: line_of(LOCAL, "ipaddress")),
    Broken("six addresses of the site", "CJC111", lambda healthy: replaced(healthy.site_conf, "ipaddress=", "ipaddress=%s," % MANY),
           lambda healthy: line_of(healthy.site_conf, "ipaddress")),
    Broken("an address twice", "CJC112", lambda healthy: replaced(LOCAL, "ipaddress=", "ipaddress=%s," % healthy.base),
           lambda healthy: line_of(LOCAL, "ipaddress")),
    Broken("listen_port out of range", "CJC113", lambda healthy: replaced(COMMON, "listen_port=20816", "listen_port=208160"),
           lambda healthy: line_of(COMMON, "listen_port")),
    Broken("listen_port is no number, on a standby", "CJC113", lambda healthy: replaced(COMMON, "listen_port=20816", "listen_port=x"),
           lambda healthy: line_of(COMMON, "listen_port"), True),
    Broken("listen_port of the site is empty", "CJC113", lambda healthy: appended(healthy.site_conf, "listen_port=\n"),
           lambda healthy: line_of(healthy.site_conf, "listen_port")),
    Broken("the local site has another listen_port", "CJC114", lambda healthy: appended(LOCAL, "listen_port=20817\n"),
           lambda healthy: line_of(LOCAL, "listen_port")),
    Broken("the agent monitors another port", "CJC115", lambda healthy: configured(healthy, port="20817"), lambda healthy: line_of(COMMON, "listen_port")),
    Broken("the common listen_port of a standby is not what the agent monitors", "CJC115", lambda healthy: both(
        configured(healthy, port="20816"), replaced(COMMON, "listen_port=20816", "listen_port=20817")), lambda healthy: line_of(COMMON, "listen_port"), True),
    Broken("a stranger listens on every address", "CJC116", lambda healthy: taken(healthy, "0.0.0.0"), "", True),
    Broken("the site's ipaddress lacks the VIP", "CJC117", lambda healthy: replaced(healthy.site_conf, "ipaddress=", "ipaddress=10.77.200.1 #"),
           lambda healthy: line_of(healthy.site_conf, "ipaddress")),
    Broken("the site has no ipaddress", "CJC117", lambda healthy: replaced(healthy.site_conf, "ipaddress=", "#ipaddress="), site_conf),
    Broken("the local ipaddress contains the VIP", "CJC118", lambda healthy: replaced(LOCAL, "ipaddress=", "ipaddress=%s, " % healthy.site.vip),
           lambda healthy: line_of(LOCAL, "ipaddress")),
    Broken("local_daemon=SITE without an ipaddress", "CJC119", lambda healthy: replaced(LOCAL, "ipaddress=", "# ipaddress="), str(LOCAL)),
    Broken("the local site takes every address", "CJC119", lambda healthy: replaced(LOCAL, "ipaddress=", "ipaddress=0.0.0.0 # "),
           lambda healthy: line_of(LOCAL, "ipaddress")),
    Broken("local_daemon is neither SITE nor OFF", "CJC120", lambda healthy: replaced(LOCAL, "local_daemon=SITE", "local_daemon=ON"),
           lambda healthy: line_of(LOCAL, "local_daemon")),
    Broken("local_daemon in small letters", "CJC120", lambda healthy: replaced(COMMON, "local_daemon=SITE", "local_daemon=site"),
           lambda healthy: line_of(COMMON, "local_daemon")),
    Broken("SITE while there is no unit", "CJC121", without_its_unit, lambda healthy: line_of(LOCAL, "local_daemon")),
    Broken("SITE while the unit is masked", "CJC121", masked, lambda healthy: line_of(LOCAL, "local_daemon")),
    Broken("OFF while the unit is enabled", "CJC122", lambda healthy: replaced(LOCAL, "local_daemon=SITE", "local_daemon=OFF"),
           lambda healthy: line_of(LOCAL, "local_daemon")),
    Broken("a line without =", "CJC124", lambda healthy: appended(COMMON, "ipcheck OFF\n"), lambda healthy: line_of(COMMON, "ipcheck OFF")),
    Broken("a line without a key, on a standby", "CJC124", lambda healthy: appended(LOCAL, " = 20816 # port\n"), lambda healthy: line_of(LOCAL, " = "), True),
    Broken("ipcheck is neither ON nor OFF", "CJC123", lambda healthy: replaced(healthy.site_conf, "ipcheck=OFF", "ipcheck=NO"),
           lambda healthy: line_of(healthy.site_conf, "ipcheck")),
]
