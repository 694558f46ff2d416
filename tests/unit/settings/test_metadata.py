from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from cjc_agent.settings import metadata, parameters
from unit.helpers import AGENT, ROOT

GOLDEN = ROOT / "tests" / "unit" / "golden" / "meta-data.xml"
DTD = "/usr/share/resource-agents/ra-api-1.dtd"
XMLLINT = "/usr/bin/xmllint"
# design.md: action, timeout, interval, depth
ACTIONS = [("start", "180s", None, None), ("stop", "180s", None, None), ("monitor", "30s", "10s", "0"), ("monitor", "30s", "60s", "10"),
           ("monitor", "60s", "300s", "20"), ("validate-all", "20s", None, None), ("reload-agent", "30s", None, None), ("meta-data", "5s", None, None)]


@pytest.fixture(scope="module")
def tree():
    return ElementTree.fromstring(metadata.xml())


def test_golden():
    """A change of the meta-data is a change of a contract: look at it, then `sh ocf/jobcenter meta-data >tests/unit/golden/meta-data.xml`."""
    assert metadata.xml() == GOLDEN.read_text(encoding="utf-8")


def test_the_agent_prints_the_golden_file_whatever_the_locale():
    for locale in ("C", "ja_JP.eucJP"):
        said = subprocess.run(["/bin/sh", str(ROOT / "ocf" / "jobcenter"), "meta-data"], env={"LC_ALL": locale, "NQS_SITE": "x"},
                              capture_output=True, timeout=10, cwd="/")
        assert (said.returncode, said.stderr, said.stdout) == (0, b"", GOLDEN.read_bytes())


def test_head(tree):
    text = metadata.xml()
    assert text.startswith('<?xml version="1.0"?>\n<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [')
    assert "encoding" not in text.split("?>")[0], "crmsh refuses one"
    assert (tree.tag, tree.get("name"), tree.find("version").text) == ("resource-agent", "jobcenter", "1.1")
    assert [child.tag for child in tree] == ["version", "longdesc", "shortdesc", "parameters", "actions"]


def test_actions(tree):
    assert [(row.get("name"), row.get("timeout"), row.get("interval"), row.get("depth")) for row in tree.iter("action")] == ACTIONS


def test_parameters(tree):
    rows = list(tree.iter("parameter"))
    assert [row.get("name") for row in rows] == [row.name for row in parameters.PARAMETERS]
    for row, parameter in zip(rows, parameters.PARAMETERS):
        assert (row.get("required") == "1") == parameter.required and (row.get("reloadable") == "1") == parameter.reloadable
        assert row.get("unique-group") == (parameter.name if parameter.unique else None) and row.get("unique") is None
        assert (row.find("content").get("default") or "") == parameter.default
        assert row.find("content").get("type") in ("string", "integer", "boolean", "time")


def test_english_comes_first(tree):
    """pcs shows the first description only."""
    for row in tree.iter("parameter"):
        for tag in ("longdesc", "shortdesc"):
            found = row.findall(tag)
            assert [element.get("lang") for element in found] == ["en", "ja"]
            assert found[0].text.isascii() and not found[1].text.isascii()
    assert [element.get("lang") for element in tree.findall("longdesc")] == ["en"], "the DTD allows one"
    assert tree.find("longdesc").text.index("(日本語)") > 100


def test_valid_against_the_dtd(tmp_path):
    if not (os.path.exists(DTD) and os.path.exists(XMLLINT)):
        pytest.skip("needs %s (resource-agents) and %s (libxml2-utils)" % (DTD, XMLLINT))
    (tmp_path / "meta-data.xml").write_text(metadata.xml(), encoding="utf-8")
    (tmp_path / "ra-api-1.dtd").write_bytes(open(DTD, "rb").read())
    command = [XMLLINT, "--nonet", "--noout", "--valid", "meta-data.xml"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10)
    assert (said.returncode, said.stderr) == (0, "")
    (tmp_path / "meta-data.xml").write_text(metadata.xml().replace("<actions>", "<actions><nonsense/>"), encoding="utf-8")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=10).returncode != 0, "else this test proves nothing"


@pytest.mark.parametrize("action, level, seconds", [("start", 0, 180), ("stop", 20, 180), ("monitor", 0, 30), ("monitor", 10, 30), ("monitor", 20, 60),
                                                    ("validate-all", 10, 20), ("reload-agent", 0, 30), ("meta-data", 0, 5), ("unknown", 0, 20)])
def test_default_timeout(action, level, seconds):
    assert metadata.default_timeout(action, level) == seconds


def test_special_characters_are_escaped():
    assert metadata._escaped('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"


def ocf(*arguments, **more):
    return subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", str(AGENT / "__main__.py"), "ocf", *arguments], timeout=10, cwd="/", **more)


def test_with_stdout_closed():
    for redirection in (">&-", "<&- >&- 2>&-", ">/dev/null"):
        code = subprocess.run(["/bin/sh", "-c", 'exec "$@" ' + redirection, "sh", sys.executable, "-I", "-S", str(AGENT / "__main__.py"), "ocf", "meta-data"],
                              timeout=10, capture_output=True)
        assert (code.returncode, code.stdout, code.stderr) == (0, b"", b"")


def test_with_a_reader_that_has_gone():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        said = ocf("meta-data", stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert b"Traceback" not in said.stderr
