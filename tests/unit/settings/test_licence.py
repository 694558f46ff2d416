from __future__ import annotations

import pytest

from cjc_agent.settings import licence


@pytest.fixture
def home(tmp_path):
    (tmp_path / "license").mkdir()
    return tmp_path


@pytest.mark.parametrize("content, pattern, words", [
    (b"x CJC Option y", "CJC", ""), (b"cjc", "CJC", "CJC204: licence FILE does not contain 'CJC': "), (b"", "CJC", "CJC203: licence FILE is empty: "),
    (b" \n", "CJC", "CJC203: "), ("ライセンス CJC".encode("euc_jp"), "CJC", ""), ("日本".encode(), "日本", ""), (b"\xff\xfeCJC", "CJC", ""),
    (b"C J C", "CJC", "CJC204: "),
])
def test_pattern(home, content, pattern, words):
    (home / "license" / "jobcenter_key.dat").write_bytes(content)
    complaint = licence.complaint(str(home), pattern)
    assert bool(complaint) is bool(words)
    if words:
        assert complaint.startswith(words.replace("FILE", licence.path(str(home)))) and "jclicreg" in complaint and licence.path(str(home)) in complaint


def test_missing_or_unreadable(home):
    complaint = licence.complaint(str(home), "CJC")
    assert complaint.startswith("CJC201: licence %s: No such file" % licence.path(str(home)))
    (home / "license" / "jobcenter_key.dat").mkdir()
    complaint = licence.complaint(str(home), "CJC")
    assert complaint.startswith("CJC202: ") and "Is a directory" in complaint
