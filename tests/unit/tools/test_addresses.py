from __future__ import annotations

import socket
import struct

import pytest

from cjc_agent.tools import addresses, netlink
from cjc_agent.tools.addresses import DUPLICATE, LINK_DOWN, TENTATIVE, USABLE

LO = socket.if_nametoindex("lo")


@pytest.mark.parametrize("text, binary", [
    ("127.0.0.1", b"\x7f\0\0\1"), ("255.255.255.255", b"\xff" * 4), ("::1", b"\0" * 15 + b"\1"), ("::", b"\0" * 16),
    ("2001:DB8:0:0::1", b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\1"),
])
def test_packed_and_back(text, binary):
    assert addresses.packed(text) == binary
    assert addresses.packed(addresses.text_of(binary)) == binary


def test_text_is_in_one_form():
    assert addresses.text_of(addresses.packed("2001:0DB8:0000::0001")) == "2001:db8::1"


@pytest.mark.parametrize("bad", ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4/24", "host", ":", ":::", "fe80::1%lo", "1.2.3.4 ", "１.2.3.4",
                                 "::1\0", "1.2.3.4\0", "\udce9", "g::1"])
def test_packed_refuses(bad):
    with pytest.raises(ValueError, match="is not an IPv4 or IPv6 address"):
        addresses.packed(bad)


def test_local_knows_the_loopback():
    found = addresses.local()
    assert addresses.worth(found[addresses.packed("127.0.0.1")]) == (USABLE, "lo")
    assert addresses.packed("203.0.113.77") not in found and addresses.worth([]) == ("", "")


def test_local_knows_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as channel:
            channel.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert addresses.worth(addresses.local()[addresses.packed("::1")]) == (USABLE, "lo")


# -- crafted rtnetlink answers -----------------------------------------------------------------------------------------------------------


def attribute(kind, data):
    padded = data + b"\0" * (-len(data) % 4)
    return struct.pack("=HH", 4 + len(data), kind) + padded


def message(kind, body, flags=2):
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body + b"\0" * (-len(body) % 4)


def address(text, flags=0x80, wide=None, index=LO, local=None, header=2):
    binary = addresses.packed(text)
    body = struct.pack("=BBBBI", socket.AF_INET6 if len(binary) == 16 else socket.AF_INET, 24, flags, 0, index)
    body += attribute(addresses.IFA_ADDRESS, binary)
    if local:
        body += attribute(addresses.IFA_LOCAL, addresses.packed(local))
    body += attribute(3, b"lo\0")  # IFA_LABEL: an odd length, padded
    if wide is not None:
        body += attribute(addresses.IFA_FLAGS, struct.pack("=I", wide))
    return message(addresses.RTM_NEWADDR, body, header)


DONE = message(netlink.NLMSG_DONE, b"\0\0\0\0")


def taken(*messages):
    bodies = []
    more = netlink._take(b"".join(messages), addresses.RTM_NEWADDR, bodies)
    return {addresses.text_of(binary): addresses.worth(places)[0] for binary, places in addresses._places(bodies).items()}, more


@pytest.mark.parametrize("flags, wide, worth", [
    (0x80, None, USABLE), (0x00, None, USABLE), (0x80, 0x80, USABLE), (0x20, None, USABLE), (0x40, None, TENTATIVE), (0x44, None, USABLE),
    (0x08, None, DUPLICATE), (0x48, None, DUPLICATE), (0x80, 0x48, DUPLICATE), (0x80, 0x240, TENTATIVE), (0x40, 0x80, USABLE),
])
def test_flags(flags, wide, worth):
    assert taken(address("2001:db8::1", flags, wide), DONE) == ({"2001:db8::1": worth}, False)


def test_on_a_point_to_point_link_the_local_address_counts():
    assert taken(address("10.0.0.2", local="10.0.0.1"), DONE)[0] == {"10.0.0.1": USABLE}


def test_the_bits_of_an_address_s_network_are_told():
    bodies = []
    netlink._take(address("10.0.0.1"), addresses.RTM_NEWADDR, bodies)
    assert [place[1:] for place in addresses._places(bodies)[addresses.packed("10.0.0.1")]] == [(LO, 24)]
    assert 8 in [place[2] for place in addresses.local()[addresses.packed("127.0.0.1")]]


@pytest.mark.parametrize("one, other, bits, same", [
    ("10.0.0.1", "10.0.0.254", 24, True), ("10.0.0.1", "10.0.1.1", 24, False), ("10.0.0.1", "10.0.1.1", 23, True), ("10.0.0.1", "10.0.0.1", 32, True),
    ("10.0.0.1", "10.0.0.2", 32, False), ("10.0.0.1", "192.168.0.1", 0, True), ("fd00::1", "fd00::ffff", 64, True), ("fd00::1", "fd00:0:0:1::1", 64, False),
    ("10.0.0.1", "fd00::1", 0, False), ("10.0.0.1", "10.0.0.2", 200, False),
])
def test_same_network(one, other, bits, same):
    assert addresses.same_network(addresses.packed(one), addresses.packed(other), bits) is same


def test_an_interface_that_is_gone_is_down():
    assert taken(address("10.0.0.1", index=2 ** 31 - 1))[0] == {"10.0.0.1": LINK_DOWN}


def test_an_interface_that_is_down(mocker):
    mocker.patch.object(addresses, "_is_up", return_value=False)
    assert taken(address("10.0.0.1"))[0] == {"10.0.0.1": LINK_DOWN}


@pytest.mark.parametrize("order", [1, -1])
def test_the_better_of_two_counts(order):
    both = [address("10.0.0.1", 0x40), address("10.0.0.1", 0x80)][::order]
    assert taken(*both)[0] == {"10.0.0.1": USABLE}


@pytest.mark.parametrize("body", [b"", b"\x02\x18\x80\0", address("10.0.0.1")[16:] + attribute(addresses.IFA_FLAGS, b"\xff")], ids=["empty", "short", "flags"])
def test_a_torn_list_is_an_error(mocker, body):
    mocker.patch.object(netlink, "dump", return_value=[body])
    with pytest.raises(OSError, match="torn"):
        addresses.local()


def test_an_interface_s_name_may_be_no_utf_8():
    """dev_valid_name in the kernel refuses white space, / and : alone."""
    assert addresses._is_up("\udcff") is False


def test_several_messages_and_the_end():
    assert taken(address("10.0.0.1"), address("10.0.0.2")) == ({"10.0.0.1": USABLE, "10.0.0.2": USABLE}, True)
    assert taken(address("10.0.0.1"), DONE, address("10.0.0.2")) == ({"10.0.0.1": USABLE}, False)
    assert taken(message(24, b"\0" * 20), address("10.0.0.1")) == ({"10.0.0.1": USABLE}, True), "other kinds are passed over"


INTERRUPTED = 0x12  # NLM_F_DUMP_INTR with NLM_F_MULTI


@pytest.mark.parametrize("torn", [
    [address("10.0.0.1"), message(netlink.NLMSG_DONE, b"\0\0\0\0", INTERRUPTED)], [message(netlink.NLMSG_DONE, b"\0\0\0\0", INTERRUPTED)],
    # the kernel marks the first message after the change (nl_dump_check_consistent)
    [address("10.0.0.1"), address("10.0.0.3", header=INTERRUPTED) + address("10.0.0.4"), DONE],
    [address("10.0.0.1", header=INTERRUPTED), address("10.0.0.3"), DONE],
])
def test_an_interrupted_list_is_asked_for_again_once_it_is_read_to_its_end(mocker, torn):
    """An address that came or went meanwhile may hide another one: the VIP would seem to be gone."""
    answers, pending = [torn, [address("10.0.0.2"), DONE]], []

    def send(request):
        assert pending == [], "the rest of the first list would be taken for the second"
        pending.extend(answers.pop(0))
    kernel = mocker.Mock(send=send, recv=lambda size: pending.pop(0))
    mocker.patch.object(netlink.socket, "socket", return_value=kernel)
    assert list(addresses.local()) == [addresses.packed("10.0.0.2")] and answers == pending == []


def test_a_list_that_is_always_interrupted_is_taken_as_it_is_in_the_end(mocker):
    asked, pending = [], []

    def send(request):
        assert pending == []
        asked.append(request)
        pending.extend([address("10.0.0.%d" % len(asked), header=INTERRUPTED), DONE])
    mocker.patch.object(netlink.socket, "socket", return_value=mocker.Mock(send=send, recv=lambda size: pending.pop(0)))
    assert list(addresses.local()) == [addresses.packed("10.0.0.%d" % netlink.MOST_TRIES)] and len(asked) == netlink.MOST_TRIES == 5


# -- connect -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request):
    channel = socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET)
    try:
        channel.bind((request.param, 0))
    except OSError:
        channel.close()
        pytest.skip("this machine has no %s" % request.param)
    yield channel
    channel.close()


def test_connect(listener):
    address, port = listener.getsockname()[:2]
    assert addresses.connect(address, port, 2) == "Connection refused", "bound, but nobody listens"
    listener.listen()
    assert addresses.connect(address, port, 2) == ""


def test_connect_from_an_address(listener):
    address, port = listener.getsockname()[:2]
    listener.listen()
    assert addresses.connect(address, port, 2, address) == "" and listener.accept()[1][0] == address
    assert addresses.connect(address, port, 2, "2001:db8::1" if ":" in address else "203.0.113.1") == "Cannot assign requested address"


def test_connect_is_bounded(listener):
    address, port = listener.getsockname()[:2]
    listener.listen(0)
    queue = []  # fill the accept queue: the kernel then drops what comes
    try:
        complaint = ""
        for _ in range(20):
            channel = socket.socket(listener.family)
            channel.setblocking(False)
            channel.connect_ex((address, port))
            queue.append(channel)
        complaint = addresses.connect(address, port, 0.2)
    finally:
        for channel in queue:
            channel.close()
    assert "timed out" in complaint
