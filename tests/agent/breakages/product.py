"""CJC2xx: licence, commands and version of JobCenter."""
from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from lab.changed import away, mode_of, owned_by, text_of
from lab.healthy import PACKAGE, Broken, Healthy, configured, install_package
from lab.site import NQS_HOME

LICENCE = pathlib.Path(NQS_HOME, "license/jobcenter_key.dat")
CJCPW, CJCMKSITE = pathlib.Path(NQS_HOME, "cjcpw"), pathlib.Path(NQS_HOME, "cjcmksite")


@contextlib.contextmanager
def a_folder(path: pathlib.Path) -> Iterator[None]:
    """A directory of that name."""
    with away(path):
        path.mkdir()
        yield


@contextlib.contextmanager
def other_version(healthy: Healthy) -> Iterator[None]:
    """An older JobCenter is installed on this node."""
    install_package(healthy.conf.parent, "15.2-1")
    try:
        yield
    finally:
        install_package(healthy.conf.parent, "16.1-1")


@contextlib.contextmanager
def no_package(healthy: Healthy) -> Iterator[None]:
    """JobCenter was unpacked by hand: no package knows its files."""
    path = pathlib.Path("/var/lib/dpkg/info/%s.list" % PACKAGE)
    text = path.read_text()
    path.write_text("/.\n")
    try:
        yield
    finally:
        path.write_text(text)
        subprocess.run(["dpkg-query", "-S", str(CJCPW)], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def silent_package_manager() -> Iterator[None]:
    """Its database is locked by somebody: it waits, and says nothing."""
    program = pathlib.Path("/usr/bin/dpkg-query")
    with away(program):
        program.write_text("#!/bin/sh\nexec sleep 1000\n")
        program.chmod(0o755)
        yield


ROWS = [
    Broken("the licence is missing", "CJC201", lambda healthy: away(LICENCE), str(LICENCE)),
    Broken("the licence is a directory", "CJC202", lambda healthy: a_folder(LICENCE), str(LICENCE)),
    Broken("the licence is empty", "CJC203", lambda healthy: text_of(LICENCE, " \n"), str(LICENCE)),
    Broken("the licence lacks the CJC Option, on a standby", "CJC204", lambda healthy: text_of(LICENCE, "JobCenter MG/SV\n"), str(LICENCE), True),
    Broken("cjcpw is not installed, on a standby", "CJC205", lambda healthy: away(CJCPW), "", True),
    Broken("cjcpw is not executable", "CJC206", lambda healthy: mode_of(CJCPW, 0o644), str(CJCPW)),
    Broken("cjcmksite is not executable", "CJC206", lambda healthy: mode_of(CJCMKSITE, 0o644), str(CJCMKSITE)),
    Broken("cjcpw can be written by its group", "CJC207", lambda healthy: mode_of(CJCPW, 0o775), str(CJCPW)),
    Broken("cjcmksite is somebody else's", "CJC207", lambda healthy: owned_by(CJCMKSITE, 12345), str(CJCMKSITE)),
    Broken("cjcmksite is not installed", "CJC208", lambda healthy: away(CJCMKSITE), ""),
    Broken("no package owns cjcpw", "CJC209", no_package, str(CJCPW)),
    Broken("another version is installed", "CJC210", other_version, str(CJCPW)),
    Broken("the user is not known", "CJC211", lambda healthy: configured(healthy, user="nosuchuser"), ""),
    Broken("a parameter is bad", "CJC002", lambda healthy: configured(healthy, vip_wait="ten"), ""),
]
