"""Ways to break something that several faults share; each is a context manager that heals what it broke."""
from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from lab.hung import HungFileSystem
from lab.site import NQS_SPOOL, Site


def run(*command: str) -> str:
    """Run a tool; it must work. Return what it printed."""
    return subprocess.run(list(command), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def stops(site: Site) -> None:
    """After a start that failed the cluster calls stop, while the fault is still there; a stop that fails too costs the node."""
    answer = site.call("stop")
    assert answer.code == 0, "after that, stop says %r" % answer


@contextlib.contextmanager
def _replaced(values: dict[str, str], changes: dict[str, str]) -> Iterator[None]:
    before = dict(values)
    values.update(changes)
    try:
        yield
    finally:
        values.clear()
        values.update(before)


def given(site: Site, **parameters: str) -> contextlib.AbstractContextManager[None]:
    """The agent is called with other parameters."""
    return _replaced(site.parameters, parameters)


def environment(site: Site, **values: str) -> contextlib.AbstractContextManager[None]:
    """The cluster calls the agent with other values of its own."""
    return _replaced(site.environment, values)


@contextlib.contextmanager
def ended(*children: subprocess.Popen[bytes]) -> Iterator[None]:
    """When the fault is over, so are they."""
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@contextlib.contextmanager
def simulator(*switches: str) -> Iterator[None]:
    """JobCenter's simulator fails on purpose from now on, whoever calls it: lines as in tests/simulator/README.md."""
    path = pathlib.Path(NQS_SPOOL, "simulator.faults")
    path.write_text("\n".join(switches) + "\n")
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def hung(folder: pathlib.Path, source: str = "hung", fstype: str = "fuse", has_file: bool = False) -> Iterator[HungFileSystem]:
    """A file system on `folder` whose server reads every request and answers none."""
    folder.mkdir(exist_ok=True)
    file_system = HungFileSystem(folder, source, fstype, has_file)
    try:
        yield file_system
    finally:
        file_system.close()
