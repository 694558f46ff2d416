"""init besides what only a node with a disk can show (tests/agent/test_init.py)."""
from __future__ import annotations

import shlex

import pytest

from cjc_agent.frontends import cli
from cjc_agent.frontends.verbs import init as verb
from cjc_agent.operator import init as steps
from cjc_agent.operator.init import DONE, FAILED, LEFT_OUT, NOTHING, Init, Step, Stopped, Wishes


@pytest.mark.parametrize("line", [
    "--conf /etc/cjc-agent/a.conf --mount", "--resource rsc --restart --yes-restart --json --dry-run", "--site a --site_db '/x y' --start_args ''",
    "--conf '/etc/a b.conf' --mount --ipcheck-off --local-daemon SITE --local-ipaddress 10.0.0.1,fd00::1 --vip 10.0.2.50",
])
def test_the_command_to_go_on_with_is_the_same(line):
    parser = cli._parser()
    options = parser.parse_args(["init", *shlex.split(line)])
    again = verb.command(options)
    assert again.startswith("cjc-agent init ") and parser.parse_args(shlex.split(again)[1:]) == options


@pytest.fixture
def made(mocker):
    """An Init of a node that is not looked at, with the steps that were told of."""
    told = []
    one = Init(mocker.Mock(), Wishes(restart=True), False, lambda step: told.append(("begun", step.name, step.outcome)),
               lambda step: told.append(("ended", step.name, step.outcome)))
    return one, told


def test_a_step_is_told_before_it_is_done_and_afterwards(made):
    one, told = made
    one._step("check", "x", lambda: told.append("acts") or ["detail"])
    assert told == [("begun", "check", ""), "acts", ("ended", "check", DONE)]
    assert (one.steps[0].details, one.failed, one.changed) == (["detail"], False, True)


def test_nothing_to_do_is_no_change(made):
    one, _ = made
    one._step("site-db", "x", None)
    one._step("check", "x", list, looks=True)
    assert [step.outcome for step in one.steps] == [NOTHING, "good"] and not one.changed


@pytest.mark.parametrize("error, words", [(steps.conf.Failed("no"), ["no"]), (steps.conf.Refused("a", "b"), ["a", "b"]), (steps.LayerError("disk"), ["disk"]),
                                          (OSError(28, "No space left", "/x"), ["/x: No space left"])])
def test_a_failed_step_stops_and_says_what_is_left(made, error, words):
    one, told = made

    def act():
        raise error
    with pytest.raises(Stopped):
        one._step("disk", "x", act)
    assert (list(one.steps[0].details), one.failed, told[-1]) == (words, True, ("ended", "disk", FAILED))
    assert one.left == ["check", "site-db", "note", "site-conf", "local-conf", "restart"]
    assert steps.as_json(one, "cjc-agent init")["go_on"] == "cjc-agent init"


def test_an_interrupted_step_has_failed(made):
    one, told = made

    def act():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        one._step("disk", "x", act)
    assert told[-1] == ("ended", "disk", FAILED)


def test_what_is_left_on_a_further_node(made):
    one, _ = made
    one.steps += [Step("check", "x", outcome="good"), Step("disk", "x", outcome=LEFT_OUT)]
    assert one.without_site and one.left == ["local-conf", "restart"]


@pytest.mark.parametrize("parameters, refused", [({"site": "jobsiteA"}, True), ({"site": "b", "device": "/dev/sdb1"}, True), ({"site": "b"}, False)])
def test_what_a_resource_of_the_running_cluster_mounts_is_not_mounted(made, mocker, state_folder, parameters, refused):
    """It may be active on another node, which nobody can see from the disk."""
    one, _ = made
    one.node.cib.resources = {"rsc": mocker.Mock(parameters=parameters)}
    one.node.request.folder = str(state_folder)
    one.settings.site, one.settings.device = "jobsiteA", "/dev/sdb1"
    if refused:
        with pytest.raises(steps.conf.Failed, match="resource rsc of the running cluster mounts it"):
            one._mount()
    else:
        one._mount()
    assert one.node.stack.disk.start.called is not refused or not refused


@pytest.mark.parametrize("wishes, local", [(Wishes(), {}), (Wishes(local_daemon="OFF"), {"local_daemon": "OFF"}),
                                           (Wishes(local_daemon="SITE", local_ipaddress="10.0.0.1"), {"local_daemon": "SITE", "ipaddress": "10.0.0.1"})])
def test_what_is_wanted_of_the_local_file(wishes, local):
    assert wishes.local == local
