"""A broker behind a real nginx, configured by ``conf/nginx.conf`` as it is but for name, ports and files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pycmbs.services.access import files, passwords
from pycmbs.services.access.users import USERS, User, line_of
from tests.certificates import Authority
from tests.harness import JSON, ROOT, Broker, free_port, refusal, wait_until

UNPACKED = ROOT / ".venv" / "nginx" / "usr" / "sbin" / "nginx"
NGINX = shutil.which("nginx") or (str(UNPACKED) if UNPACKED.exists() else None)

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx here: apt-get install nginx")
ADMIN = ("admin", "secret")
MAIN = """daemon off; pid nginx.pid; error_log error.log; {user}
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include site.conf;
}}
"""


class Site:
    """The broker behind its proxy, as clients reach it."""

    def __init__(self, broker: Broker, url: str, ca: Path) -> None:
        self.broker, self.url = broker, url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca)

    def request(self, method: str, path: str, body: object = None, **options: object) -> requests.Response:
        """A request through the proxy, of the admin unless it says whose."""
        headers = {**JSON, **options.pop("headers", {})}
        data = json.dumps(body) if body is not None else None
        given = {"auth": ADMIN, **options}
        return self.session.request(method, self.url + path, data=data, headers=headers, timeout=30, **given)

    def audit(self) -> list[dict[str, object]]:
        """The lines of the audit log, which is there once something was written."""
        log = self.broker.home / "audit.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, start_shared: Callable[..., Broker]) -> Iterator[Site]:
    """Broker and proxy, which is on 127.0.0.1 and listens there."""
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder / "certificates")
    cert, key = authority.issue("server")
    port, broker_port = free_port(), free_port()
    url = f"https://localhost:{port}"
    broker = start_shared(
        "--workers", "1", "--port", str(broker_port), "--public-url", url, "--proxies", "127.0.0.1", "--authentication", "on"
    )  # fmt: skip
    with files.changing(broker.home / USERS) as replace:
        replace(line_of(User("admin", passwords.hashed("secret"), roles=("admin",))) + "\n")
    text = (ROOT / "conf" / "nginx.conf").read_text()
    for old, new in {
        "server 127.0.0.1:8090;": f"server 127.0.0.1:{broker.port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "server_name cmbs.example.org;": "server_name localhost;",
        "/etc/pycmbs/cert.pem": str(cert),
        "/etc/pycmbs/key.pem": str(key),
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(user="user root;" if os.geteuid() == 0 else ""))
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Site(broker, url, authority.cert)

        def answers() -> bool:
            assert process.poll() is None, (folder / "error.log").read_text()
            try:
                return found.request("GET", "/-/").status_code == 200
            except requests.ConnectionError:
                return False

        wait_until(answers, 30, "an answer through nginx")
        yield found
    finally:
        process.terminate()
        process.wait(20)


def made(site: Site, **options: object) -> requests.Response:
    """A message that someone makes."""
    return site.request(
        "POST", "/cmbs/message/", {"resources": [{"kind": "http://houssem.org/cmbs#message"}]}, **options
    )


def test_urls_begin_with_where_the_proxy_is(site: Site) -> None:
    """They lead through it, for whoever asks; what a client says of the host counts for nothing."""
    answer = made(site, headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"})
    assert answer.status_code == 201
    (url,) = answer.json()["Location"]
    assert url.startswith(f"{site.url}/cmbs/message/")
    assert site.request("GET", url.removeprefix(site.url)).status_code == 200
    refusal(site.request("GET", "/", headers={"Host": "evil.example"}), 421, "unknown-host")


def test_a_page_of_the_proxys_origin_is_the_brokers_own(site: Site) -> None:
    """A page of another is not, nor one of the broker's own address behind it."""
    assert made(site, headers={"Origin": site.url, "Sec-Fetch-Site": "same-origin"}).status_code == 201
    refusal(made(site, headers={"Origin": "https://evil.example"}), 403, "cross-origin")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_audit_log_has_the_clients_address(site: Site) -> None:
    """And not the proxy's, nor what the client says that it is."""
    curl = ["curl", "--silent", "--noproxy", "*", "--cacert", str(site.session.verify), "-i", "--user", "admin:secret"]
    for own in ("127.0.0.7", "127.0.0.8"):
        flags = ["--interface", own, "-X", "DELETE", "-H", "X-Forwarded-For: 192.0.2.1"]
        done = subprocess.run([*curl, *flags, f"{site.url}/nowhere"], capture_output=True, text=True, check=True)
        request = next(one.split(": ")[1] for one in done.stdout.splitlines() if one.lower().startswith("x-request-id"))

        def noted(request: str = request) -> list[dict[str, object]]:
            return [one for one in site.audit() if one["request"] == request]

        (found,) = wait_until(noted, what="the line")
        assert (found["address"], found["subject"], found["status"]) == (own, "user:admin", 404)


def test_who_does_not_say_who_he_is_is_asked(site: Site) -> None:
    """The challenge comes through."""
    answer = site.request("GET", "/-/", auth=None)
    refusal(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="pyCMBS"'


def test_large_headers_and_bodies_come_through(site: Site) -> None:
    """As large as the broker takes and gives them."""
    answer = site.request("GET", "/-/", headers={"Accept": "text/occi"})
    assert answer.status_code == 200
    assert len(answer.headers["Category"]) > 4000
    content = {
        "kind": "http://houssem.org/cmbs#message",
        "attributes": {"cmbs": {"message": {"message_content": "x" * 900_000}}},
    }
    assert site.request("POST", "/cmbs/message/", {"resources": [content]}).status_code == 201
    assert site.request("POST", "/cmbs/message/", {"x": "x" * 5_000_000}).status_code == 413
