"""Network checks: what hosts file, name service, peers and kernel say, put together. The lookups are real in tests/agent/test_doctor.py."""
from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace

import pytest

from cjc_agent.operator.checks import network
from cjc_agent.operator.rule import NO_ANSWER, Unchecked
from cjc_agent.tools import addresses
from cjc_agent.tools.command import EXITED, TIMED_OUT, Result

# -- --peer --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word, host, port", [
    ("mg1", "mg1", 0), ("mg1.example.com:20817", "mg1.example.com", 20817), ("10.0.0.1", "10.0.0.1", 0), ("10.0.0.1:1", "10.0.0.1", 1),
    ("fd00::1", "fd00::1", 0), ("[fd00::1]", "fd00::1", 0), ("[fd00::1]:65535", "fd00::1", 65535), ("::1", "::1", 0), ("my_host", "my_host", 0),
])
def test_peer(word, host, port):
    assert network.peer(word) == (host, port)


@pytest.mark.parametrize("word", ["", ":", ":20816", "mg1:", "mg1:0", "mg1:65536", "mg1:http", "mg1:２", "[fd00::1]:", "[fd00::1", "[mg1]:1", "fd00:::1", "a b",
                                  "-x", "mg1\n", "mg1:1:2", "[fd00::1]20816", "日本", "a" * 254, "mg1/24", "\x1b[31m"])
def test_bad_peer(word):
    with pytest.raises(ValueError, match="is no host: give HOST|is no TCP port: give") as caught:
        network.peer(word)
    assert "\x1b" not in str(caught.value)


# -- side by side --------------------------------------------------------------------------------------------------------------------------


def test_jobs_are_done_side_by_side_and_who_hangs_is_left():
    meet, never = threading.Barrier(2, timeout=10), threading.Event()
    try:
        assert network.side_by_side([meet.wait, lambda: "x", lambda: never.wait(30), meet.wait], 0.5)[1:3] == ["x", None]
        assert not meet.broken
    finally:
        never.set()
    assert network.side_by_side([], 1.0) == []


# -- names ---------------------------------------------------------------------------------------------------------------------------------

HOSTS = b"""# a comment with 10.0.0.9 name
127.0.0.1 localhost
10.0.0.1\tNode1.example.com  node1 # 10.0.0.2 other
::1 localhost
nonsense node1
10.0.0.3
\xff\xfe 10.0.0.1
"""


def test_hosts():
    localhost = addresses.packed("127.0.0.1"), addresses.packed("::1")
    assert network._hosts(HOSTS) == [(2, localhost[0], ["localhost"]), (3, addresses.packed("10.0.0.1"), ["node1.example.com", "node1"]),
                                     (4, localhost[1], ["localhost"]), (6, addresses.packed("10.0.0.3"), [])]


@pytest.mark.parametrize("here, there, found", [
    ("10.0.0.1", "10.0.0.1", ""), ("10.0.0.1", "10.0.0.2", "10.0.0.1|10.0.0.2"), ("10.0.0.1 10.0.0.2", "10.0.0.2 10.0.0.3", ""), ("10.0.0.1", "", ""),
    ("10.0.0.1", "fd00::1", ""), ("10.0.0.1 fd00::1", "10.0.0.1 fd00::2", "fd00::1|fd00::2"), ("10.0.0.1 10.0.0.2", "10.0.0.3 10.0.0.4",
                                                                                           "10.0.0.1, 10.0.0.2|10.0.0.3, 10.0.0.4"),
])
def test_compare(here, there, found):
    listed = [(number, addresses.packed(word)) for number, word in enumerate(here.split(), 1)]
    told = list(network._compare("n", listed, network._addresses_in(there.split())))
    assert ["%(hosts)s|%(service)s" % one.facts for one in told] == ([found] if found else [])
    if found:
        assert told[0].place == "/etc/hosts:%d" % (1 + here.split().index(found.split("|")[0].split(",")[0])), "the line of that family"


def node(answers, hosts=HOSTS, vip=("10.0.0.3",), name="NODE1", **more):
    """A node whose getent gives the `answers` in their order: text, None (killed after a second) or seconds (the resolver gave up)."""
    asked = []

    def tool(*words):
        asked.append(" ".join(words))
        answer = answers[len(asked) - 1]
        if isinstance(answer, str):
            return Result("getent", EXITED, 0 if answer else 2, answer, 0.01)
        return Result("getent", EXITED, 2, "", answer) if answer else Result("getent", TIMED_OUT, -1, "", 1.0)
    return SimpleNamespace(tool=tool, asked=asked, look=lambda paths: {paths[0]: SimpleNamespace(data=hosts)}, name=name,
                           settings=SimpleNamespace(vip=vip), **more)


def test_names_that_are_asked_for():
    made = node(["10.0.0.3        VIP.example.com node1\n", "10.0.0.1 STREAM node1\n10.0.0.1 DGRAM\n"])
    assert list(network.names(made)) == []
    assert made.asked == ["getent -s dns hosts -- 10.0.0.3", "getent -s dns ahosts -- node1"], "what the hosts file does not know needs no question"


def test_each_name_that_differs_is_told():
    made = node(["", "10.0.0.7 STREAM node1\n"], hosts=b"10.0.0.1 node1\n", vip=("10.0.0.3",))
    assert [(one.place, one.facts["name"]) for one in network.names(made)] == [("/etc/hosts:1", "node1")]


@pytest.mark.parametrize("answers", [[None], [0.95], ["", None], ["", 1.0]])
def test_a_name_service_that_does_not_answer_is_asked_no_more(answers):
    made = node(answers, hosts=b"10.0.0.1 node1 node2\n10.0.0.3 node1 node2\n")
    told, = network.names(made)
    assert isinstance(told, Unchecked) and told.rules == (network.NAMES_DISAGREE,) and len(made.asked) == len(answers)


def test_without_a_hosts_file_nothing_is_asked():
    made = node([], hosts=None)
    assert list(network.names(made)) == [] and made.asked == []


@pytest.mark.parametrize("reverse, forward, chain", [
    (("vip", 0), ["10.0.0.3"], ["vip", "10.0.0.3"]), (("vip", 0), ["10.0.0.4", "10.0.0.4", "fd00::1"], ["vip", "10.0.0.4", "fd00::1"]),
    (socket.EAI_NONAME, None, []), (socket.EAI_AGAIN, None, None), (("vip", 0), socket.EAI_AGAIN, None), (("vip", 0), socket.EAI_NONAME, ["vip"]),
    (("x" * 70, 0), UnicodeError(), ["x" * 70]),
])
def test_there_and_back(monkeypatch, reverse, forward, chain):
    def say(answer):
        if isinstance(answer, int):
            raise socket.gaierror(answer, "words")
        if isinstance(answer, Exception):
            raise answer
        return answer
    monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: say(reverse))
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, port: [(0, 0, 0, "", (one, 0)) for one in say(forward)])
    assert network._there_and_back("10.0.0.3") == chain


# -- peers ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def port():
    """A port that is open at 127.0.0.1 alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def resolver(monkeypatch):
    """Hosts that there are; "again": the name service does not answer; "hangs": not even that."""
    known = {"both": ["::2", "127.0.0.1"], "other": ["127.0.0.2"], "again": socket.EAI_AGAIN, "none": socket.EAI_NONAME}
    never = threading.Event()

    def getaddrinfo(host, port, type=0):
        if host == "hangs":
            never.wait(30)
        answer = known.get(host, [host])
        if isinstance(answer, int):
            raise socket.gaierror(answer, "words")
        return [(0, 0, 0, "", (address, 0)) for address in answer]
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(network, "PATIENCE", 0.3)
    yield
    never.set()


def test_reach(resolver, port):
    refused = "Connection refused"
    assert network._reach([("127.0.0.1", port), ("other", port), ("again", port), ("none", port), ("hangs", port)], []) == [
        {"": ""}, {"": refused}, None, {}, None]
    assert network._reach([("both", port)], ["127.0.0.1", "::1"]) == [{"": "", "127.0.0.1": ""}], "the best of its addresses, and that one alone for a VIP"
    assert network._reach([("other", port)], ["127.0.0.1"]) == [{"": refused}], "who refuses all says nothing about the VIP"
    assert network._reach([("127.0.0.1", port)], ["203.0.113.7"])[0]["203.0.113.7"] != "", "an address that is not here"


@pytest.mark.parametrize("ends, told", [
    ({"": ""}, None), ({"": "", "10.0.0.3": ""}, None), ({"": "No route to host"}, network.UNREACHED), ({}, network.UNRESOLVED),
    ({"": "", "10.0.0.3": "timed out"}, network.NOT_FROM_VIP), ({"": "timed out"}, NO_ANSWER), (None, network.NO_NAMES),
])
def test_what_is_said_of_a_peer(monkeypatch, ends, told):
    monkeypatch.setattr(addresses, "local", dict)
    answer = Result("reach", EXITED, 0, json.dumps([ends]))
    made = SimpleNamespace(peers=("mg1",), port=20816, settings=SimpleNamespace(vip=("10.0.0.3",)), call=lambda *_: answer)
    found = list(network.peers(made))
    assert [getattr(one, "rule", getattr(one, "reason", None)) for one in found] == ([told] if told else [])
    assert all(one.place == "mg1" for one in found if not isinstance(one, Unchecked))
