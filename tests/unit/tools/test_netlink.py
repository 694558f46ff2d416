from __future__ import annotations

import struct

import pytest

from cjc_agent.tools import netlink

WANTED, OTHER = 20, 24


def message(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + b"\0" * (-len(body) % 4)


DONE = message(netlink.NLMSG_DONE, b"\0\0\0\0")


def taken(data):
    found = []
    more = netlink._take(data, WANTED, found)
    return found, more


def test_bodies_come_without_padding_and_only_of_the_type_asked_for():
    assert taken(message(WANTED, b"abcde") + message(OTHER, b"x") + message(WANTED, b"fg")) == ([b"abcde", b"fg"], True)


def test_nothing_counts_after_the_end():
    assert taken(message(WANTED, b"a") + DONE + message(WANTED, b"b")) == ([b"a"], False)


@pytest.mark.parametrize("data", [b"", b"\0" * 15])
def test_too_short_for_a_message(data):
    assert taken(data) == ([], True)


def test_a_length_that_makes_no_progress_ends_it():
    assert taken(struct.pack("=IHHII", 0, WANTED, 0, 0, 0)) == ([], False)


def test_an_error_is_raised():
    with pytest.raises(PermissionError):
        taken(message(netlink.NLMSG_ERROR, struct.pack("=i", -1) + b"\0" * 16))


def test_an_error_at_the_end_is_raised():
    with pytest.raises(FileNotFoundError):
        taken(message(WANTED, b"a") + message(netlink.NLMSG_DONE, struct.pack("=i", -2)))


@pytest.mark.parametrize("kind", [netlink.NLMSG_DONE, netlink.NLMSG_ERROR])
def test_no_error_where_none_is_told(kind):
    assert taken(struct.pack("=IHHII", 16, kind, 2, 1, 0) + b"\xff")[0] == [] == taken(message(kind, struct.pack("=i", 0)))[0]


def test_what_the_kernel_does_not_know_is_an_error():
    with pytest.raises(OSError):
        netlink.dump(netlink.ROUTE, 0xFFF0, b"\0" * 8, WANTED)
