"""Whose requests are let in: the broker's own hosts, and no changes that pages of others ask a browser for (ADR 28)."""

import pytest

from pycmbs.errors import UnknownHost
from pycmbs.wsgi.guard import Guard
from tests.wsgi.conftest import Front

PATH = "/cmbs/message/x"
CHROMIUM = {
    "Content_Type": "text/plain;charset=UTF-8",
    "Accept": "*/*",
    "User_Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
}
"""What Chromium sends besides with ``fetch(url, {method: "POST", mode: "no-cors", body: text})``."""
MESSAGE = b'Category: message; scheme="http://houssem.org/cmbs#"; class="kind"\n'


def there(front):
    """The paths of all entities."""
    return [url.partition("localhost")[2] for url in front.request("GET", "/").json["X-OCCI-Location"]]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8090",
        "LocalHost:1",
        "localhost.",
        "127.0.0.1:8090",
        "127.255.0.1",
        "[::1]:8090",
        "[::1]",
    ],
)
def test_loopback_is_always_the_broker(front, host):
    """Any loopback literal and localhost, with any port, are names of a broker on loopback."""
    assert front.request("GET", "/", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8090", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0",
        "a b", "a@localhost", "localhost/x", "localhost:x", "localhost, evil.example", "[::2]", "[localhost]", "",
        "::1", "x" * 5000, "<script>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"])
def test_a_foreign_host_is_misdirected(front, host, method):
    """RFC 9110 15.5.20: a request for a host that this broker is not is a 421, whatever it asks; it gets no URLs."""
    answer = front.request(method, PATH, {"title": "x"} if method in ("POST", "PUT") else None, Host=host)
    assert answer.status_code == 421
    if method != "HEAD":
        assert answer.json["error"]["code"] == "unknown-host"
        assert "http://" not in answer.text
    assert there(front) == []


def test_a_name_is_given(front):
    """--names has the hosts that the broker is besides, in any case and with any port; the refusal says how to name one."""
    assert "--names evil.example" in front.request("GET", "/", Host="Evil.Example:1").json["error"]["hint"]
    named = Front(names="evil.example other.example 10.0.0.1")
    for host in ("evil.example", "EVIL.example:99", "other.example.", "10.0.0.1:8090", "localhost"):
        assert named.request("GET", "/", Host=host).status_code == 200
    assert named.request("GET", "/", Host="third.example").status_code == 421


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:8091"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "same-origin,cross-site"},
        {"Origin": "http://localhost", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "none"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/cmbs/message/"),
        ("POST", f"{PATH}?action=send_l2"),
        ("POST", f"{PATH}?action=execute"),
        ("PUT", PATH),
        ("DELETE", "/"),
        ("POST", "/-/"),
        ("PATCH", PATH),
    ],
)
def test_a_page_of_another_origin_changes_nothing(front, method, path, said):
    """What a browser sends for a page of someone else is a 403, though it needed no preflight."""
    before = there(front)
    answer = front.request(method, path, MESSAGE, **CHROMIUM, **said)
    assert answer.status_code == 403
    assert "cross-origin" in answer.text
    assert there(front) == before


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ],
)
def test_the_own_page_and_who_has_none_may(front, said):
    """curl, requests and rOCCI say no origin; a page of the broker's own says its own."""
    assert front.request("POST", "/cmbs/message/", MESSAGE, **CHROMIUM, **said).status_code == 201


def test_reading_is_free(front):
    """A browser shows a page of another origin none of it; the links of a page may lead here."""
    answer = front.request("GET", "/-/", Origin="https://evil.example", Sec_Fetch_Site="cross-site")
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_origin_that_is_named_may_use_the_broker():
    """--origins: its pages may ask (preflights), change and read; no other's; and caches keep them apart."""
    front = Front(origins="https://console.example.org")
    console = {"Origin": "https://console.example.org", "Sec_Fetch_Site": "cross-site"}
    asked = {"Access_Control_Request_Method": "DELETE", "Access_Control_Request_Headers": "x-occi-attribute"}
    preflight = front.request("OPTIONS", PATH, **console, **asked)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://console.example.org"
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
    assert "X-OCCI-Attribute" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    made = front.request("POST", "/cmbs/message/", MESSAGE, **CHROMIUM, **console)
    assert (made.status_code, made.headers["Access-Control-Allow-Origin"]) == (201, "https://console.example.org")
    assert "Location" in made.headers["Access-Control-Expose-Headers"]
    assert "Origin" in made.headers["Vary"].split(", ")
    other = front.request("OPTIONS", PATH, Origin="https://evil.example", **asked)
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Origin" in other.headers["Vary"].split(", ")
    assert front.request("DELETE", "/", Origin="https://evil.example").status_code == 403


# Behind a proxy

LOCATION = {"proxies": "10.0.0.0/8 ::1/128"}


def located(front, address="10.1.2.3", **headers):
    """Where a creation says that the entity is, for a request that came from an address."""
    answer = front.request("PUT", PATH, {"title": "x"}, address=address, **headers)
    assert answer.status_code in (200, 201), answer.text
    front.request("DELETE", PATH)
    return answer.headers["Location"].removesuffix(PATH)


def test_urls_are_the_public_ones():
    """--public-url is what URLs begin with, whatever the proxy makes of the request; its host is a name of the broker's."""
    front = Front(public_url="https://cmbs.example.org")
    for host in ("localhost:8090", "cmbs.example.org"):
        assert located(front, Host=host) == "https://cmbs.example.org"
    page = {"Origin": "https://cmbs.example.org", "Sec_Fetch_Site": "same-origin"}
    assert located(front, **page) == "https://cmbs.example.org"


def test_the_ends_of_links_are_found_by_either_url():
    """A client may name an entity here by its public URL, or by the one that it used itself."""
    front = Front(public_url="https://cmbs.example.org")
    front.request("PUT", PATH, {"title": "x"})
    for number, base in enumerate(("https://cmbs.example.org", "http://localhost")):
        link = {"kind": "http://schemas.ogf.org/occi/core#link", "source": PATH, "target": base + PATH}
        assert front.request("PUT", f"/link/{number}", link).status_code == 201
        ends = front.request("GET", f"/link/{number}").json["attributes"]["occi"]["core"]
        assert ends["target"] == PATH


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X_Forwarded_Proto": "https"}, "https://localhost"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "cmbs.example.org"}, "https://cmbs.example.org"),
        ({"X_Forwarded_Host": "localhost:81, cmbs.example.org:444"}, "http://cmbs.example.org:444"),
        ({"X_Forwarded_Proto": "http, HTTPS"}, "https://localhost"),
        ({"X_Forwarded_Proto": "gopher"}, "http://localhost"),
    ],
)
def test_a_trusted_proxy_says_what_it_was_asked_for(headers, base):
    """The last values of X-Forwarded-Proto and X-Forwarded-Host are those of the proxy that is trusted."""
    front = Front(names="cmbs.example.org", **LOCATION)
    assert located(front, **headers) == base
    assert located(front, address="::1", **headers) == base
    assert located(front, address="::ffff:10.9.9.9", **headers) == base
    assert located(front, address="127.0.0.1", **headers) == "http://localhost"
    assert located(Front(names="cmbs.example.org"), **headers) == "http://localhost"


def test_a_proxy_does_not_vouch_for_a_host():
    """What is forwarded must be a name of the broker's as well, and so must the Host header: a page behind a name that was
    made to mean this machine can send what a proxy would."""
    front = Front(names="cmbs.example.org", **LOCATION)
    for headers in ({"X_Forwarded_Host": "evil.example"}, {"Host": "evil.example", "X_Forwarded_Host": "localhost"}):
        answer = front.request("GET", "/", address="10.1.2.3", **headers)
        assert (answer.status_code, answer.json["error"]["code"]) == (421, "unknown-host")


def test_a_page_behind_the_proxy_is_the_own_one():
    """The origin of a page that a proxy serves is compared with what the proxy was asked for."""
    front = Front(names="cmbs.example.org", **LOCATION)
    forwarded = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "cmbs.example.org"}
    assert located(front, Origin="https://cmbs.example.org", **forwarded) == "https://cmbs.example.org"
    answer = front.request("PUT", PATH, {}, address="10.1.2.3", Origin="http://cmbs.example.org", **forwarded)
    assert answer.status_code == 403


# What every answer has


@pytest.mark.parametrize("path", ["/", "/nowhere", "/-/"])
def test_a_browser_does_not_guess(front, path):
    """No content of a message becomes a page or a script."""
    assert front.request("GET", path).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accept", ["application/occi+json", "text/plain", "text/occi"])
def test_a_version_that_is_too_new_is_refused_in_the_clients_form(front, accept):
    """GFD.223 5.7: 501 for OCCI/1.3, in the rendering that the client accepts."""
    answer = front.request("GET", "/-/", Accept=accept, User_Agent="someone OCCI/1.3")
    assert (answer.status_code, answer.content_type) == (501, accept)
    assert "unsupported-version" in answer.headers["X-OCCI-Error"]


PROXIES = "10.0.0.0/8 2001:db8:1::/48 192.0.2.1"


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:192.0.2.1", "198.51.100.1", "198.51.100.1"),
        ("192.0.2.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),  # the client wrote the first
        ("192.0.2.1", "198.51.100.1,10.1.2.3 , 10.9.9.9", "198.51.100.1"),
        ("192.0.2.1", "127.0.0.1, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("192.0.2.1", "10.1.1.1, 10.1.2.3", "10.1.1.1"),  # the client is among the proxies
        ("192.0.2.1", "198.51.100.1:4711", "198.51.100.1"),
        ("192.0.2.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("192.0.2.1", "2001:db8::7", "2001:db8::7"),
        ("2001:db8:1::1", "2001:db8::7, 2001:db8:1::2", "2001:db8::7"),
        ("192.0.2.1", "unknown", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1, unknown", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1, _hidden, 10.1.2.3", "10.1.2.3"),
        ("192.0.2.1", '198.51.100.1\t"<script>', "192.0.2.1"),
        ("192.0.2.1", ",,,", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1" + ", 10.0.0.1" * 5000, "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_has(peer, said, client):
    """X-Forwarded-For counts from a proxy of ``proxies`` only, and from the right: left of the first stranger anybody
    may have written."""
    environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "REMOTE_ADDR": peer}
    if said is not None:
        environ["HTTP_X_FORWARDED_FOR"] = said
    Guard("http://localhost:8090", proxies=PROXIES).admit(environ)
    assert environ["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    ("addresses", "proto", "host", "base"),
    [
        ("198.51.100.1", "https", "b.example", "https://b.example"),
        ("198.51.100.1", "http, https", "evil.example, b.example", "https://b.example"),  # the client wrote the first
        (
            "198.51.100.1, 10.1.2.3",
            "https, http",
            "b.example, c.example",
            "https://b.example",
        ),  # each proxy added its own
        ("198.51.100.1, 10.1.2.3", "http, https, http", "evil.example, b.example, c.example", "https://b.example"),
        ("198.51.100.1, 10.1.2.3", "https", "b.example", "https://b.example"),  # the nearer one left it alone
        ("198.51.100.1", "gopher", "b.example", "http://b.example"),
    ],
)
def test_scheme_and_host_are_what_the_first_proxy_was_asked_for(addresses, proto, host, base):
    """That is the one next to the client; what the client says itself stands before it."""
    environ = {
        "REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": addresses,
        "HTTP_X_FORWARDED_PROTO": proto, "HTTP_X_FORWARDED_HOST": host,
    }  # fmt: skip
    guard = Guard("http://localhost:8090", names="b.example c.example", proxies=PROXIES)
    assert guard.admit(environ).base == base


@pytest.mark.parametrize(
    ("host", "address", "is_it"),
    [
        ("192.0.2.7:8090", "192.0.2.7", True),
        ("[2001:DB8::7]", "2001:db8::7", True),
        ("192.0.2.8", "192.0.2.7", False),
        ("evil.example", "192.0.2.7", False),
        ("192.0.2.7.evil.example", "192.0.2.7", False),
    ],
)
def test_the_address_that_was_connected_to_is_a_name(host, address, is_it):
    """Where a broker listens at all addresses: no name can be made to be an address."""
    environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": host, "REMOTE_ADDR": "192.0.2.1", "SERVER_NAME": address}
    guard = Guard("https://0.0.0.0:8090")
    if is_it:
        assert guard.admit(environ).base == f"http://{host}"
    else:
        with pytest.raises(UnknownHost):
            guard.admit(environ)


@pytest.mark.parametrize("path", ["/", "/-/", "/cmbs/message/", "/cmbs/message/x", "/nowhere/"])
def test_a_preflight_is_answered_whoever_asks(tmp_path, path):
    """A browser says no name before it knows that it may; for another origin, or without its question, it is a 401."""
    front = Front(home=tmp_path, authentication="on", origins="https://page.example")
    asked = {"Origin": "https://page.example", "Access_Control_Request_Method": "POST"}
    answer = front.request("OPTIONS", path, **asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]
    assert "Allow" not in answer.headers
    other = front.request("OPTIONS", path, **{**asked, "Origin": "https://other.example"})
    assert other.status_code == 401
    assert not [name for name in other.headers if name.startswith("Access-Control")]
    assert front.request("OPTIONS", path, Origin="https://page.example").status_code == 401
    assert front.request("GET", path, **asked).status_code == 401
