from __future__ import annotations

import socket
import time

import pytest

from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError
from cjc_agent.layers.vip import Vip
from cjc_agent.tools import addresses
from cjc_agent.tools.addresses import DUPLICATE, LINK_DOWN, TENTATIVE, USABLE
from cjc_agent.tools.deadline import Deadline

A, B = "10.0.0.1", "2001:db8::1"
LO = socket.if_nametoindex("lo")
# (flags, interface, bits of the network)
PLACES = {USABLE: (0x80, LO, 24), TENTATIVE: (0x40, LO, 24), DUPLICATE: (0x08, LO, 24), LINK_DOWN: (0x80, 2 ** 31 - 1, 24)}


@pytest.fixture
def node(monkeypatch):
    here = {}
    monkeypatch.setattr(addresses, "local", lambda: {addresses.packed(text): [PLACES[worth]] for text, worth in here.items()})
    return here


@pytest.mark.parametrize("here, status, named", [
    ({A: USABLE, B: USABLE}, RUNNING, [A, B]), ({}, STOPPED, [A, B]), ({"10.0.0.9": USABLE}, STOPPED, [A, B]), ({A: USABLE}, FAILED, [B]),
    ({B: USABLE}, FAILED, [A]),
    ({A: USABLE, B: TENTATIVE}, FAILED, [B, " lo ", "tentative"]), ({A: DUPLICATE, B: USABLE}, FAILED, [A, "duplicate"]),
    ({A: LINK_DOWN, B: USABLE}, FAILED, [A, "link down"]), ({A: TENTATIVE}, FAILED, [A]), ({A: LINK_DOWN, B: LINK_DOWN}, FAILED, [A, B]),
])
def test_states(node, here, status, named):
    node.update(here)
    state = Vip((A, B)).state()
    assert state.status == status
    for word in named:
        assert word in state.reason


@pytest.mark.parametrize("worth, remedy", [(LINK_DOWN, "ip link set"), (TENTATIVE, "cable of lo"), (DUPLICATE, "another machine has it")])
def test_each_trouble_has_its_remedy_and_hides_no_other(node, worth, remedy):
    node.update({A: worth})
    reason = Vip((A, B)).state().reason
    assert remedy in reason and "%s is not on this node: bring it up" % B in reason


def test_no_address_asked_for_asks_nobody(monkeypatch):
    monkeypatch.setattr(addresses, "local", lambda: 1 // 0)
    assert Vip(()).state().status == RUNNING


def test_in_doubt_failed(monkeypatch):
    def refuse():
        raise OSError(105, "No buffer space available")
    monkeypatch.setattr(addresses, "local", refuse)
    state = Vip((A,)).state()
    assert state.status == FAILED and "No buffer space" in state.reason


def test_the_real_loopback():
    assert Vip(("127.0.0.1",)).state().status == RUNNING
    assert Vip(("203.0.113.77",)).state().status == STOPPED
    assert Vip(("127.0.0.1", "203.0.113.77")).state().status == FAILED


def test_wait(node, monkeypatch):
    with pytest.raises(LayerError, match="is not on this node.*see vip_wait"):
        Vip((A,)).wait(Deadline(0))
    looks = []

    def local():
        looks.append(1)
        return {addresses.packed(A): [PLACES[USABLE if len(looks) > 3 else TENTATIVE]]}
    monkeypatch.setattr(addresses, "local", local)
    began = time.monotonic()
    Vip((A,)).wait(Deadline(10))
    assert time.monotonic() - began < 5
