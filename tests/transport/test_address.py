"""Which socket URLs are addresses."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import InvalidAddress
from pycmbs.transport.address import (
    MAX_IPC_PATH,
    check_address,
    parse_address,
    parse_bound,
    parse_listen_at,
    scheme_of,
)


@pytest.mark.parametrize(
    "url",
    [
        "tcp://127.0.0.1:5010",
        "tcp://localhost:1",
        "tcp://broker-1.example.org:65535",
        "tcp://my_service:5555",
        "tcp://[::1]:5555",
        "tcp://[2001:db8::7]:5555",
        "ipc:///run/cmbs/l1.sock",
        "ipc:///" + "x" * (MAX_IPC_PATH - 1),
        "inproc://l1",
        "inproc://site/member:1",
        "memory:a",
        "memory://a",
    ],
)
def test_what_is_an_address(url):
    """Each of these can be reached by others, so it passes."""
    check_address(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no scheme"),
        ("localhost:5555", "scheme"),
        ("127.0.0.1:5555", "no scheme"),
        ("http://localhost:5555", "ipc, memory, tcp"),
        ("TCP://localhost:5555", "no scheme"),
        ("pgm://eth0;239.1.1.1:5555", "no transport serves"),
        ("tcp:localhost:5555", "two slashes"),
        ("tcp://localhost", "tcp://host:port"),
        ("tcp://:5555", "tcp://host:port"),
        ("tcp://localhost:", "port"),
        ("tcp://localhost:0", "port"),
        ("tcp://localhost:65536", "port"),
        ("tcp://localhost:*", "port"),
        ("tcp://localhost:05555", "port"),
        ("tcp://localhost:+5555", "port"),
        ("tcp://localhost:5٣", "port"),
        ("tcp://localhost:5555/", "port"),
        ("tcp://localhost:5555/path", "port"),
        ("tcp://*:5555", "others can reach"),
        ("tcp://0.0.0.0:5555", "others can reach"),
        ("tcp://[::]:5555", "others can reach"),
        ("tcp://224.0.0.1:5555", "others can reach"),
        ("tcp://127.1:5555", "not an IP address"),
        ("tcp://1.2.3.256:5555", "not an IP address"),
        ("tcp://01.2.3.4:5555", "not an IP address"),
        ("tcp://[::1:5555", "brackets"),
        ("tcp://::1:5555", "brackets"),
        ("tcp://[fe80::1%eth0]:5555", "not an IP address"),
        ("tcp://[127.0.0.1]:5555", "not an IP address"),
        ("tcp://-a:5555", "host name"),
        ("tcp://a..b:5555", "host name"),
        ("tcp://bücher.example:5555", "host name"),
        ("tcp://eth0;host:5555", "host name"),
        ("tcp://" + "a" * 64 + ":5555", "host name"),
        ("tcp://" + "a." * 127 + "b:5555", "host name"),
        ("tcp://me:secret@localhost:5555", "credentials"),
        ("tcp://localhost:5555?x=1", "query"),
        ("tcp://localhost:5555#x", "fragment"),
        ("tcp://local host:5555", "whitespace"),
        ("tcp://localhost:5555\n", "whitespace"),
        ("tcp://localhost\0:5555", "control"),
        ("tcp://local\u00a0host:5555", "whitespace"),
        ("tcp://" + "x" * 600, "characters long"),
        ("ipc://", "absolute path"),
        ("ipc://relative", "absolute path"),
        ("ipc://*", "absolute path"),
        ("ipc://@abstract", "absolute path"),
        ("ipc:///run/", "absolute path"),
        ("ipc:///" + "x" * MAX_IPC_PATH, "107 bytes"),
        ("ipc:///" + "ü" * 54, "107 bytes"),
        ("inproc://", "name"),
        ("inproc:name", "two slashes"),
        ("inproc://" + "x" * 129, "name"),
        ("memory:", "name"),
        ("memory://", "name"),
        ("memory:a@b", "name"),
    ],
)
def test_what_is_no_address(url, says):
    """Each of these is refused with a sentence that names the rule and shows the URL."""
    with pytest.raises(InvalidAddress, match=says) as caught:
        check_address(url)
    assert caught.value.data["url"] == url[:512] + "…" * (len(url) > 512)


@given(st.text(max_size=60) | st.builds("{}{}".format, st.sampled_from(["tcp://", "ipc:///", "memory:"]), st.text()))
def test_any_text_is_an_address_or_refused(url):
    """No text raises anything but InvalidAddress, and what passes holds nothing that breaks a line of a log."""
    try:
        check_address(url)
    except InvalidAddress as error:
        assert error.message.isprintable()  # noqa: PT017 - not raising is fine too
    else:
        assert url.isprintable()
        assert " " not in url


def test_an_address_is_taken_apart():
    """Host, port and name are told apart, and whether the host need be looked up."""
    named = parse_address("tcp://example.org:5010")
    assert (named.host, named.port, named.literal) == ("example.org", 5010, False)
    literal = parse_address("tcp://[0::1]:5010")
    assert (literal.host, literal.port, literal.literal) == ("::1", 5010, True)
    assert parse_address("ipc:///run/x").name == "/run/x"
    assert parse_address("memory:a").name == parse_address("memory://a").name == "a"


def test_the_known_schemes_are_named():
    """An unknown scheme is answered with those that are known."""
    with pytest.raises(InvalidAddress, match="known: ipc, tcp"):
        scheme_of("memory:a", {"tcp", "ipc"})


def test_checking_loads_no_zeromq():
    """A process that only validates addresses doesn't import pyzmq."""
    code = "import sys, pycmbs.transport.address as a; a.check_address('tcp://x:1'); sys.exit('zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", {}),
        (" ; ", {}),
        ("tcp://b.example.org:5010=tcp://0.0.0.0:5011", {"tcp://b.example.org:5010": "tcp://0.0.0.0:5011"}),
        (
            "tcp://b.example.org:1 = tcp://[::]:1; ipc:///run/a=ipc:///run/b;",
            {"tcp://b.example.org:1": "tcp://[::]:1", "ipc:///run/a": "ipc:///run/b"},
        ),
    ],
)
def test_where_to_bind_is_said_in_pairs(text, places):
    """Advertised and bound addresses, of which only the bound one may be a wildcard."""
    assert parse_listen_at(text) == places


@pytest.mark.parametrize(
    "text",
    [
        "tcp://a:1",
        "tcp://0.0.0.0:1=tcp://a:1",
        "tcp://a:1=tcp://0.0.0.0:0",
        "tcp://a:1=tcp://*:1",
        "tcp://a:1=memory:x",
        "tcp://a:1=tcp://b:1;tcp://a:1=tcp://c:1",
        "tcp://a:1=",
    ],
)
def test_where_to_bind_is_checked(text):
    """A pair that is invalid, names an address twice, or binds what cannot be bound is refused."""
    with pytest.raises(InvalidAddress):
        parse_listen_at(text)


def test_every_interface_can_be_bound():
    """A wildcard is an address to bind, and has a port like any other."""
    found = [parse_bound(f"tcp://{host}:5010") for host in ("0.0.0.0", "[::]")]
    assert [(one.url, one.name, one.host, one.port) for one in found] == [
        ("tcp://0.0.0.0:5010", "0.0.0.0:5010", "0.0.0.0", 5010),
        ("tcp://[::]:5010", "[::]:5010", "::", 5010),
    ]
