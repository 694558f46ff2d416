from __future__ import annotations

import pytest

from cjc_agent.settings import licence


@pytest.fixture
def home(tmp_path):
    (tmp_path / "license").mkdir()
    return tmp_path


@pytest.mark.parametrize("content, pattern, good", [
    (b"x CJC Option y", "CJC", True), (b"cjc", "CJC", False), (b"", "CJC", False), ("ライセンス CJC".encode("euc_jp"), "CJC", True),
    ("日本".encode(), "日本", True), (b"\xff\xfeCJC", "CJC", True), (b"C J C", "CJC", False),
])
def test_pattern(home, content, pattern, good):
    (home / "license" / "jobcenter_key.dat").write_bytes(content)
    complaint = licence.complaint(str(home), pattern)
    assert (complaint == "") is good
    if not good:
        assert str(home / "license" / "jobcenter_key.dat") in complaint and repr(pattern) in complaint and "jclicreg" in complaint


def test_missing_or_unreadable(home):
    assert "No such file" in licence.complaint(str(home), "CJC")
    (home / "license" / "jobcenter_key.dat").mkdir()
    assert "Is a directory" in licence.complaint(str(home), "CJC")
