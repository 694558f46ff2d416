from __future__ import annotations

import os
import socket
import struct
import sys

import pytest

from cjc_agent.tools import netlink, sockets

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: %s:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 100 0 0 10 0\n"


def digits(binary):
    """An address as the kernel of this machine prints it."""
    return "".join("%08X" % word for word in struct.unpack("=%dI" % (len(binary) // 4), binary))


IPV4 = bytes([10, 0, 0, 1])
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
MAPPED = b"\0" * 10 + b"\xff\xff" + IPV4


@pytest.mark.parametrize("printed, meant", [(IPV4, IPV4), (IPV6, IPV6), (MAPPED, IPV4), (b"\0" * 4, b"\0" * 4), (b"\0" * 16, b"\0" * 16)])
def test_addresses(printed, meant):
    assert sockets.parse(HEADER + LINE % (digits(printed), 20816, "0A", 4711)) == [(meant, 20816, 4711)]


def test_the_manuals_own_form():
    if sys.byteorder == "little":
        assert sockets.parse(HEADER + LINE % ("0100007F", 80, "0A", 1))[0][0] == bytes([127, 0, 0, 1])


@pytest.mark.parametrize("state", ["01", "06", "0B", "00"])
def test_only_listeners(state):
    assert sockets.parse(HEADER + LINE % (digits(IPV4), 80, state, 1)) == []


@pytest.mark.parametrize("bad", ["", "x", "  0: 0100007F:0050", "  0: zz:0050 0:0 0A 0 0 0 0 0 7", "  0: 0100007F 0:0 0A 0 0 0 0 0 7",
                                 "  0: 0100007F:0050 0:0 0A 0 0 0 0 0 x", "  0: 0100007F:00:50 0:0 0A 0 0 0 0 0 7",
                                 "  0: FFFFFFFFF0100007F:0050 0:0 0A 0 0 0 0 0"])
def test_garbage_lines_are_left_out(bad):
    text = HEADER + LINE % (digits(IPV4), 80, "0A", 1) + bad + "\n" + LINE % (digits(IPV4), 81, "0A", 2)
    assert [inode for _, _, inode in sockets.parse(text)] == [1, 2]


def test_no_text():
    assert sockets.parse("") == []


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def listener(request):
    channel = socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET)
    try:
        channel.bind((request.param, 0))
    except OSError:
        channel.close()
        pytest.skip("this machine has no %s" % request.param)
    channel.listen()
    yield channel
    channel.close()


@pytest.fixture(params=["sock_diag", "/proc"])
def source(request, monkeypatch):
    """Where the listeners are known from: a kernel without sock_diag answers ENOENT."""
    real, asked = netlink.dump, []

    def dump(*arguments):
        asked.append(arguments)
        if request.param == "/proc":
            raise FileNotFoundError(2, "the kernel refused to list them")
        return real(*arguments)
    monkeypatch.setattr(netlink, "dump", dump)
    if request.param == "sock_diag":
        try:
            real(netlink.SOCK_DIAG, sockets.SOCK_DIAG_BY_FAMILY, struct.pack("=BBBxI48x", sockets.AF_INET, sockets.IPPROTO_TCP, 0, sockets.LISTENING), 20)
        except OSError:
            pytest.skip("this kernel has no sock_diag")
        monkeypatch.setattr(sockets, "_read", lambda port: pytest.fail("looked at /proc all the same"))
    yield
    assert asked


def test_a_real_listener_and_its_owner(listener, sleeper, source):
    address, port = listener.getsockname()[:2]
    found = sockets.listeners(port)
    assert [binary for binary, _ in found] == [socket.inet_pton(listener.family, address)]
    inode = found[0][1]
    assert inode == os.fstat(listener.fileno()).st_ino
    other = sleeper()
    assert sockets.owners([inode], [os.getpid(), other.pid, 1 << 30]) == {inode: {os.getpid()}}
    assert sockets.owners([inode], [other.pid]) == {inode: set()}
    assert sockets.owners([], [os.getpid()]) == {}


def test_without_the_kernels_module_for_tcp_proc_is_read(listener, monkeypatch):
    """sock_diag then ends an empty list with an error: nobody must take it for "nobody listens"."""
    monkeypatch.setattr(sockets, "IPPROTO_TCP", 200)
    with pytest.raises(OSError):
        sockets._asked(sockets.AF_INET, 1)
    address, port = listener.getsockname()[:2]
    assert [binary for binary, _ in sockets.listeners(port)] == [socket.inet_pton(listener.family, address)]


def test_a_torn_answer_is_not_taken_for_nobody_listens(listener, mocker):
    mocker.patch.object(netlink, "dump", return_value=[b"\x02\x0a"])
    address, port = listener.getsockname()[:2]
    assert [binary for binary, _ in sockets.listeners(port)] == [socket.inet_pton(listener.family, address)]


def test_an_ipv4_listener_in_ipv6_s_clothes_is_an_ipv4_listener(source):
    try:
        channel = socket.socket(socket.AF_INET6)
        channel.bind(("::ffff:127.0.0.1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with channel:
        channel.listen()
        assert sockets.listeners(channel.getsockname()[1]) == [(bytes([127, 0, 0, 1]), os.fstat(channel.fileno()).st_ino)]


def test_only_the_port_asked_for_and_all_that_listen_at_it(source):
    with socket.socket() as one, socket.socket() as two, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.2", one.getsockname()[1]))
        other.bind(("127.0.0.1", 0))
        for channel in (one, two, other):
            channel.listen()
        connected = socket.create_connection(one.getsockname())  # no listener, at the same port
        assert sorted(sockets.listeners(one.getsockname()[1])) == [
            (bytes([127, 0, 0, 1]), os.fstat(one.fileno()).st_ino), (bytes([127, 0, 0, 2]), os.fstat(two.fileno()).st_ino)]
        connected.close()


def test_bound_is_not_listening(source):
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        assert sockets.listeners(channel.getsockname()[1]) == []


def test_a_child_that_has_it_open_is_an_owner_too(start):
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        channel.listen()
        child = start(["/bin/sleep", "60"], pass_fds=[channel.fileno()])
        inode = os.fstat(channel.fileno()).st_ino
        assert sockets.owners([inode], [os.getpid(), child.pid]) == {inode: {os.getpid(), child.pid}}
