"""A broker that others can reach: what it wants before it starts, and what it is then."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pycmbs.services.access import files, passwords
from pycmbs.services.access.users import USERS, User, line_of
from tests.certificates import Authority
from tests.harness import Broker, wait_until

Start = Callable[..., Broker]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whose certificates are believed here."""
    return Authority(tmp_path / "certificates")


def add_user(home: Path, *users: User) -> None:
    """Have exactly these users."""
    home.mkdir(mode=0o700, exist_ok=True)
    with files.changing(home / USERS) as replace:
        replace("".join(line_of(one) + "\n" for one in users))


def refused(home: Path, *flags: str) -> str:
    """The sentence of a start that must fail before anything is begun."""
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(home), "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


def test_users_and_tls_let_it_out(start_broker: Start, authority: Authority, tmp_path: Path) -> None:
    """Without users, and then without TLS, it is refused with the sentence that says how to go on; with both it serves, at
    every address of the machine, and only those who say who they are."""
    home = tmp_path / "broker-0"
    assert refused(home, "--host", "0.0.0.0") == (
        "pycmbs: the flag --host is '0.0.0.0', which others can reach, and this broker has no users: "
        f"run pycmbs user add admin --role admin --home {home}, then start it again\n"
    )
    assert not home.exists()
    add_user(home, User("admin", passwords.hashed("secret"), roles=("admin",)))
    assert refused(home, "--host", "0.0.0.0") == (
        "pycmbs: the flag --host is '0.0.0.0', and without TLS passwords would travel readable: "
        "give --tls-cert FILE and --tls-key FILE, or --plain-http on where a proxy does TLS\n"
    )
    cert, key = authority.issue("server")
    broker = start_broker("--workers", "1", "--host", "0.0.0.0", "--tls-cert", str(cert), "--tls-key", str(key))
    broker.session.verify = str(authority.cert)
    assert broker.url == f"https://0.0.0.0:{broker.port}"
    broker.url = f"https://localhost:{broker.port}"
    assert broker.request("GET", "/-/").status_code == 401
    assert broker.request("GET", "/-/", auth=("admin", "wrong")).status_code == 401
    answer = broker.request("GET", "/-/", auth=("admin", "secret"))
    assert answer.status_code == 200
    assert broker.request("GET", "/-/", auth=("admin", "secret"), headers={"Host": "evil.example"}).status_code == 421
    add_user(home)
    broker.session.close()
    assert broker.request("GET", "/-/").status_code == 401


def test_a_proxy_may_do_the_tls(start_broker: Start, tmp_path: Path) -> None:
    """With --plain-http on a broker with users serves without TLS."""
    add_user(tmp_path / "broker-0", User("admin", passwords.hashed("secret"), roles=("admin",)))
    broker = start_broker("--workers", "1", "--host", "::", "--plain-http", "on")
    broker.url = f"http://127.0.0.1:{broker.port}"
    assert broker.request("GET", "/-/").status_code == 401
    assert broker.request("GET", "/-/", auth=("admin", "secret")).status_code == 200


def test_a_certificate_is_a_login(start_broker: Start, authority: Authority, tmp_path: Path) -> None:
    """One that is mapped is let in, with its role's rights only; one that is not, none, and an end of the mapping are a
    401, on a connection that is open as well; a stranger's makes no connection."""
    home = tmp_path / "broker-0"
    add_user(home, User("ci", certificate="CN=ci", roles=("reader",)))
    cert, key = authority.issue("server")
    broker = start_broker(
        "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(authority.cert)
    )  # fmt: skip
    broker.session.verify = str(authority.cert)
    mapped = [str(one) for one in authority.issue("ci", "CN=ci", client=True)]
    unmapped = [str(one) for one in authority.issue("other", "CN=other", client=True)]
    url = f"{broker.url}/-/"

    def curl(*flags: str) -> str:
        """The status, as curl sees it."""
        command = ["curl", "--silent", "--noproxy", "*", "--cacert", str(authority.cert), "-o", "/dev/null"]
        done = subprocess.run(
            [*command, "-w", "%{http_code}", *flags, url], capture_output=True, text=True, check=False
        )
        return done.stdout

    if shutil.which("curl"):
        assert curl("--cert", mapped[0], "--key", mapped[1]) == "200"
        assert curl("--cert", unmapped[0], "--key", unmapped[1]) == "401"
        assert curl() == "401"
        stranger = Authority(tmp_path / "others", "Others").issue("ci", "CN=ci", client=True)
        assert curl("--cert", str(stranger[0]), "--key", str(stranger[1])) == "000"
    broker.session.cert = tuple(mapped)
    assert broker.request("GET", "/-/").status_code == 200
    assert broker.request("POST", "/cmbs/message/", {"resources": []}).status_code == 403
    assert broker.request("GET", "/-/", auth=("ci", "wrong")).status_code == 401
    assert broker.request("GET", "/-/").status_code == 200
    add_user(home, User("somebody", certificate="CN=somebody", roles=("reader",)))
    wait_until(lambda: broker.request("GET", "/-/").status_code == 401, what="the end of the mapping")


def test_a_broker_without_the_extra_says_so(tmp_path: Path) -> None:
    """An issuer without the library, or with settings missing, is one sentence."""
    assert "jwt_keys and no jwt_roles" in refused(tmp_path / "h", "--jwt-issuer", "x", "--jwt-audience", "y")
