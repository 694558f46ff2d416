"""The doctor: content with a healthy node, and of a node that is broken in one way it says just that, where it is."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Callable

import pytest

from agent.breakages import cluster, daemon_conf, disk, environment, network, product
from cjc_agent.operator.rules import RULES
from lab.changed import both
from lab.healthy import VERSION, Broken, Healthy

ROWS: list[Broken] = [*daemon_conf.ROWS, *product.ROWS, *disk.ROWS, *network.ROWS, *environment.ROWS, *cluster.ROWS]
FIRST = {row.rule: row for row in reversed(ROWS)}


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
    assert text.code == 0 and "\x1b" not in text.out and "JobCenter " + VERSION in text.out.split("\n")[0]
    assert text.out.strip().split("\n")[-1].count({"en": "0 errors, 0 warnings", "ja": "エラー 0、警告 0"}[language]) == 1


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_broken_is_found_and_nothing_else(healthy: Healthy, row: Broken) -> None:
    (healthy.standby if row.standby else healthy.active)()
    with row.breaks(healthy):
        place = row.place(healthy) if callable(row.place) else row.place
        found = healthy.doctor(*row.options)
        # what is found does not depend on the language: once for each rule is enough
        japanese = healthy.doctor("--lang", "ja", *row.options) if row is FIRST[row.rule] else None
    assert [finding["rule"] for finding in found["findings"]] == [row.rule], found["findings"]
    finding, = found["findings"]
    assert finding["severity"] == RULES[row.rule].severity
    if place is not None:
        assert finding["place"] == place
    if japanese:
        assert [(one["rule"], one["place"]) for one in japanese["findings"]] == [(row.rule, finding["place"])]
        assert not japanese["findings"][0]["why"].isascii() and not japanese["findings"][0]["remedy"].isascii()


def unchecked(found: dict[str, Any]) -> set[str]:
    """The rules that could not be checked."""
    return {rule for one in found["unchecked"] for rule in one["rules"]}


def test_what_only_looks_like_a_leak_is_none(healthy: Healthy) -> None:
    healthy.active()
    with environment.harmless():
        assert healthy.doctor(CJC_AGENT_CALLER_SITE="forged")["findings"] == []


def test_a_vip_that_the_cluster_routes_is_in_no_subnet_and_well(healthy: Healthy) -> None:
    healthy.active()
    with network.own_address_is_single(healthy):
        assert [finding["rule"] for finding in healthy.doctor()["findings"]] == ["CJC401"]
        accepted = healthy.doctor("--accept", "CJC308", "--accept", "CJC401")  # where nobody can see that it is routed
        assert accepted["clean"] and [(finding["rule"], finding["severity"]) for finding in accepted["findings"]] == [("CJC401", "info")]
        assert healthy.call("doctor", "--accept", "CJC302").code == 2
        text = cluster.configuration(healthy).replace("IPaddr2", "aws-vpc-move-ip")
        with cluster.cluster(text):
            assert healthy.doctor()["findings"] == []


def test_a_vip_with_a_name_and_a_peer_that_answers_it_are_good(healthy: Healthy) -> None:
    healthy.active()
    with network.ipcheck_on(healthy), network.a_peer():
        found = healthy.doctor("--peer", network.PEER, "--peer", "[::ffff:%s]:20816" % network.PEER)
    assert found["findings"] == [] and not {"CJC403", "CJC404", "CJC405", "CJC406"} & unchecked(found)


@pytest.mark.parametrize("breaks, options, rules", [
    (network.silent, (), {"CJC402"}),
    (lambda healthy: both(network.silent(healthy), network.ipcheck_on(healthy), network.reverse(healthy)), (), {"CJC402", "CJC403"}),
    (network.silent, ("--peer", "nosuchhost"), {"CJC402", "CJC404", "CJC405", "CJC406"}),
    (network.nothing, ("--peer", "NETWORK.253"), {"CJC404", "CJC406"}),
    (lambda healthy: product.silent_package_manager(), (), {"CJC209", "CJC210"}),
], ids=["name service", "reverse name", "peer's name", "peer", "package manager"])
def test_what_does_not_answer_is_not_checkable(healthy: Healthy, breaks: Callable[[Healthy], AbstractContextManager[object]], options: tuple[str, ...],
                                               rules: set[str]) -> None:
    healthy.active()
    before = unchecked(healthy.doctor())
    with breaks(healthy):
        found = healthy.doctor(*(word.replace("NETWORK", healthy.base.rpartition(".")[0]) for word in options))
    assert found["findings"] == [] and unchecked(found) - before == rules


def test_on_a_standby_nobody_knows_whether_the_vip_needs_a_name(healthy: Healthy) -> None:
    healthy.standby()
    assert "CJC403" in unchecked(healthy.doctor())


@pytest.mark.parametrize("word", ["", "mg1:http", "[fd00::1", "mg1 mg2"])
def test_a_peer_that_is_none_is_wrong_usage(healthy: Healthy, word: str) -> None:
    answer = healthy.call("doctor", "--peer", "mg1", "--peer", word)
    assert answer.code == 2 and not answer.out and "--peer: " in answer.said and "give" in answer.said and answer.said.count("\n") == 1


def test_every_rule_is_broken_once() -> None:
    assert set(RULES) - {row.rule for row in ROWS} == NOT_BROKEN_HERE


# why a rule has no row of its own
NOT_BROKEN_HERE = {
    "CJC001",  # a check that fails itself: tests/unit/operator/test_doctor.py
    "CJC003",  # no psutil: tests/agent/test_install.py takes it away
    "CJC610", "CJC611", "CJC612", "CJC613", "CJC614", "CJC615",  # what no node can know alone: test_compare.py
    "CJC312", "CJC313",  # no NFS can be had here: tests/unit/operator/test_checks_disk.py
}
