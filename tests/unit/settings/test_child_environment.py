from __future__ import annotations

import os

import pytest

from cjc_agent.settings import child_environment
from unit.helpers import settings

BASE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "USER": "root", "LOGNAME": "root", "NQS_SITE": "jobsiteA"}


@pytest.fixture(autouse=True)
def caller(monkeypatch, tmp_path):
    monkeypatch.setattr(child_environment, "LOCALE_FILES", (str(tmp_path / "locale.conf"), str(tmp_path / "locale")))
    for name, value in {"PATH": "/evil", "LANG": "de_DE", "LC_ALL": "C", "HOME": "/evil", "USER": "evil", "NQS_SITE": "evil", "LD_PRELOAD": "/evil",
                        "OCF_RESKEY_site": "evil", "CJC_AGENT_CALL": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TZ", raising=False)


def test_nothing_of_the_callers():
    assert child_environment.make(settings(), call=False) == BASE


@pytest.mark.parametrize("user, given", [("root", True), ("nqs", False)])
def test_home_of_another_user_comes_from_the_child(user, given):
    """A name service may hang: another user is looked up under the deadline, in the child; what `environment` says wins there too."""
    made = child_environment.make(settings(user=user), call=False)
    assert made == (BASE if given else {"PATH": BASE["PATH"], "NQS_SITE": "jobsiteA"})
    made = child_environment.make(settings(user=user, environment="HOME=/h"), call=False)
    assert made["HOME"] == "/h" and ("USER" in made, "LOGNAME" in made) == (given, given)


def test_our_own_calls_are_marked():
    assert child_environment.make(settings(), call=True) == {**BASE, "CJC_AGENT_CALL": "1"}


def test_our_own_process_never_gets_it(monkeypatch):
    monkeypatch.delenv("NQS_SITE")
    child_environment.make(settings(), call=True)["X"] = "1"
    assert "NQS_SITE" not in os.environ and "X" not in child_environment.make(settings(), call=True)


@pytest.mark.parametrize("zone, kept", [("Asia/Tokyo", True), ("", False)])
def test_time_zone(monkeypatch, zone, kept):
    monkeypatch.setenv("TZ", zone)
    assert child_environment.make(settings(), call=False) == ({**BASE, "TZ": zone} if kept else BASE)


def test_further_environment_wins_but_never_over_the_site():
    made = child_environment.make(settings(environment="A=1 B='x y' HOME=/h LANG=C TZ=UTC"), call=False)
    assert made == {**BASE, "A": "1", "B": "x y", "HOME": "/h", "LANG": "C", "TZ": "UTC"}


def test_the_locale_of_the_system(tmp_path):
    (tmp_path / "locale").write_text("LANG=ja_JP.eucJP\n")
    assert child_environment.make(settings(), call=False)["LANG"] == "ja_JP.eucJP"
    (tmp_path / "locale.conf").write_text('LANG="ja_JP.UTF-8"\nLC_TIME=C\n')
    made = child_environment.make(settings(), call=False)
    assert made == {**BASE, "LANG": "ja_JP.UTF-8", "LC_TIME": "C"}, "the first file that is there, alone"


def test_a_locale_file_in_a_strange_encoding(tmp_path):
    (tmp_path / "locale.conf").write_bytes("# 日本語\nLANG=ja_JP.eucJP\n".encode("euc_jp"))
    assert child_environment.system_locale() == {"LANG": "ja_JP.eucJP"}


@pytest.mark.parametrize("text, found", [
    ("", {}), ("LANG=C", {"LANG": "C"}), ("#LANG=C\n # LANG=C\n", {}), ("LANG='C'\nLC_ALL=\"x\"\n", {"LANG": "C", "LC_ALL": "x"}),
    ("LANGUAGE=ja\nPATH=/evil\nLD_PRELOAD=x\n", {}), ("  LANG=C  \r\n", {"LANG": "C"}), ("LANG\n", {}), ("LANG=a\x1bb\n", {}),
    ("LC_\0=x\nLC_A B=x\nLC_\x1b[2J=x\n", {}),
])
def test_parse_locale(text, found):
    assert child_environment.parse_locale(text) == found
