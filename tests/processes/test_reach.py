"""The rule for addresses: which broker may be reached by others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycmbs.config_loading import load_with_origins
from pycmbs.errors import ConfigurationError
from pycmbs.processes.reach import check_reach

BEYOND = ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "10.0.0.1"]
TLS = {"tls_cert": "/cert", "tls_key": "/key"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that has a user."""
    (tmp_path / "users").write_text("admin:cert:CN=admin:admin\n")
    return tmp_path


def said(home: Path, environ: dict[str, str] | None = None, **flags: str) -> str:
    """The refusal; nothing if there is none."""
    try:
        check_reach(*load_with_origins(Path("/"), environ or {}, {"home": str(home), **flags}))
    except ConfigurationError as exc:
        return exc.message
    return ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_free(tmp_path: Path, host: str) -> None:
    """Without users and without TLS."""
    assert said(tmp_path, host=host) == ""
    assert said(tmp_path, host=host, authentication="off") == ""


@pytest.mark.parametrize("host", BEYOND)
def test_without_users_it_stays_here(tmp_path: Path, host: str) -> None:
    """The sentence has the command that mends it, whatever else is right; a file of users without one is none."""
    sentence = (
        f"the flag --host is {host!r}, which others can reach, and this broker has no users: "
        f"run pycmbs user add admin --role admin --home {tmp_path}, then start it again"
    )
    assert said(tmp_path, host=host) == said(tmp_path, host=host, plain_http="on") == sentence
    (tmp_path / "users").write_text("# nobody yet\n\n")
    assert said(tmp_path, host=host, authentication="on", **TLS) == sentence


@pytest.mark.parametrize("host", BEYOND)
def test_passwords_do_not_travel_readable(home: Path, host: str) -> None:
    """With users it needs TLS, or someone's word that a proxy does it."""
    assert said(home, host=host) == (
        f"the flag --host is {host!r}, and without TLS passwords would travel readable: "
        "give --tls-cert FILE and --tls-key FILE, or --plain-http on where a proxy does TLS"
    )
    assert said(home, host=host, **TLS) == said(home, host=host, plain_http="on") == ""


def test_authentication_cannot_be_off(home: Path) -> None:
    """Elsewhere than on loopback."""
    assert said(home, host="::", authentication="off", **TLS) == (
        "the flag --host is '::', which others can reach, and the flag --authentication is 'off': "
        "leave that out, so that the broker wants to know who asks"
    )


def test_it_names_where_the_host_is_from(tmp_path: Path) -> None:
    """A variable or a file is not taken for a flag; a home with a space in its name is quoted."""
    place = tmp_path / "a home"
    assert said(place, {"PYCMBS_HOST": "0.0.0.0"}).startswith(
        "the environment variable PYCMBS_HOST is '0.0.0.0', which"
    )
    assert f"--home '{place}'," in said(place, {"PYCMBS_HOST": "0.0.0.0"})
