"""The doctor: content with a healthy node, and of a node that is broken in one way it says just that, where it is."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.breakages import daemon_conf, product
from cjc_agent.operator.rules import RULES
from lab.healthy import Broken, Healthy

ROWS: list[Broken] = [*daemon_conf.ROWS, *product.ROWS]


@pytest.fixture(scope="module")
def healthy(node: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Healthy]:
    """The node, healthy; each test leaves it so."""
    made = Healthy(tmp_path_factory.mktemp("healthy"))
    yield made
    made.close()


@pytest.mark.parametrize("standby", [False, True], ids=["active", "standby"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_healthy_node_is_clean(healthy: Healthy, language: str, standby: bool) -> None:
    (healthy.standby if standby else healthy.active)()
    found = healthy.doctor("--lang", language)
    assert found["findings"] == [] and found["clean"]
    text = healthy.call("doctor", "--lang", language)
    assert text.code == 0 and "\x1b" not in text.out
    assert text.out.strip().split("\n")[-1].count({"en": "0 errors, 0 warnings", "ja": "エラー 0、警告 0"}[language]) == 1


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_broken_is_found_and_nothing_else(healthy: Healthy, row: Broken) -> None:
    (healthy.standby if row.standby else healthy.active)()
    with row.breaks(healthy):
        place = row.place(healthy) if callable(row.place) else row.place
        found = healthy.doctor(*row.options)
        japanese = healthy.doctor("--lang", "ja", *row.options)
    assert [finding["rule"] for finding in found["findings"]] == [row.rule], found["findings"]
    finding, = found["findings"]
    assert finding["severity"] == RULES[row.rule].severity
    if place is not None:
        assert finding["place"] == place
    assert [(one["rule"], one["place"]) for one in japanese["findings"]] == [(row.rule, finding["place"])]
    assert not japanese["findings"][0]["why"].isascii() and not japanese["findings"][0]["remedy"].isascii()


def test_every_rule_is_broken_once() -> None:
    assert set(RULES) - {row.rule for row in ROWS} == NOT_BROKEN_HERE


# why a rule has no row of its own
NOT_BROKEN_HERE = {
    "CJC001",  # a check that fails itself: tests/unit/operator/test_doctor.py
    "CJC003",  # no psutil: tests/agent/test_install.py takes it away
}
