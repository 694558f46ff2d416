"""A file system that hangs in D state hangs a child of ours, never us; the child is remembered and not piled up."""
from __future__ import annotations

import pathlib

import pytest

from lab.hung import HungFileSystem
from lab.site import Site, all_processes


@pytest.fixture
def hung(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    folder = tmp_path / "hung"
    folder.mkdir()
    made = HungFileSystem(folder)
    yield made
    made.close()


def stuck() -> list[int]:
    """pids in D state."""
    found = []
    for pid in all_processes():
        try:
            if pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0] == "D":
                found.append(pid)
        except OSError:
            pass
    return found


def test_cjcpw_on_a_hung_file_system(site: Site, hung: HungFileSystem) -> None:
    site.start()
    changes = {"cjcpw": str(hung.folder / "cjcpw")}
    for number in range(3):
        answer = site.call("monitor", OCF_RESKEY_CRM_meta_timeout="3000", **changes)
        assert answer.code == 1 and answer.seconds < 3, answer
        assert "hangs despite SIGKILL" in answer.reason
        assert len(stuck()) == 1, "a second call must not pile up a second child"
        assert ("still there from an earlier call" in answer.reason) is (number > 0), "and need not wait for the first"
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="5000", **changes)
    assert answer.code == 1 and answer.seconds < 5
    assert site.monitor() == 1, "the same kind of call waits until the stuck one is gone"
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="10000")
    assert answer.code == 0 and answer.seconds < 10, answer
    site.assert_nothing_left()


def test_a_site_db_that_hangs(site: Site, hung: HungFileSystem) -> None:
    """`device` empty, the cluster's network file system is dead: every action answers in time."""
    changes = {"device": "", "directory": str(hung.folder), "site_db": str(hung.folder / "job_site")}
    for action, level, cjcpw, codes in (("monitor", "0", "/bin/true", [0]), ("monitor", "20", "/bin/true", [1]), ("monitor", "0", "/bin/false", [1, 7]),
                                        ("start", "0", "/bin/false", [1]), ("stop", "0", "/bin/false", [0]), ("validate-all", "10", "/bin/false", [0])):
        answer = site.call(action, OCF_CHECK_LEVEL=level, OCF_RESKEY_CRM_meta_timeout="4000", cjcpw=cjcpw, **changes)
        assert answer.seconds < 4 and answer.code in codes, (action, level, answer)


def test_a_hung_unrelated_mount_is_no_concern_of_ours(site: Site, hung: HungFileSystem) -> None:
    site.popen("ls", str(hung.folder))
    assert site.monitor() == 7
    site.start()
    assert [site.monitor(level) for level in (0, 10, 20)] == [0, 0, 0]
    site.stop()
