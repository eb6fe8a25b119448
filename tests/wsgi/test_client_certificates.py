"""Clients that show a certificate: which user they are."""

from __future__ import annotations

import base64

import pytest

from pycmbs.services.access import files, passwords
from pycmbs.services.access.users import USERS
from pycmbs.wsgi.auth import PEER_CERTIFICATE
from pycmbs.wsgi.client_certificates import subjects
from tests.wsgi.conftest import Front

CI = (("organizationName", "Example"),), (("commonName", "ci"),)
LATER = "Nov 30 12:00:00 2999 GMT"
HASH = passwords.hashed("pass")


def shown(*subject, until=LATER):
    """A certificate as TLS has it."""
    return {"subject": subject, "notAfter": until}


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        (CI, ["CN=ci,O=Example", "O=Example,CN=ci", "CN=ci"]),
        (((("commonName", "ci"),),), ["CN=ci", "CN=ci", "CN=ci"]),
        (((("commonName", "a"),), (("commonName", "b"),)), ["CN=b,CN=a", "CN=a,CN=b"]),
        (((("commonName", "ci,O=Example"),),), ["CN=ci\\,O\\=Example"] * 3),
        (((("commonName", "a\n\x00b"),),), ["CN=a\\0A\\00b"] * 3),
        (((("organizationName", "Example"),),), ["O=Example", "O=Example"]),
        (((("commonName", "a"), ("userId", "7")),), ["CN=a+UID=7", "CN=a+UID=7", "CN=a"]),
        ((), []),
    ],
)
def test_the_names_of_a_subject(subject, names):
    """What one subject may be called, no other may: what separates its parts is marked within them."""
    assert list(subjects(shown(*subject))) == names


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A broker with two users by certificate, one of them with a password too."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    front = Front(home=tmp_path)
    with files.changing(tmp_path / USERS) as replace:
        replace(f"ci:cert:CN=ci:reader\nuser_1:{HASH}:operator\nuser_1:cert:CN=one,O=Example:\n")
    return front


def status(house, certificate, **fields):
    """What a client with this certificate gets."""
    application = house.application

    def with_certificate(environ, start):
        return application({**environ, **({PEER_CERTIFICATE: certificate} if certificate else {})}, start)

    house.application = with_certificate
    try:
        return house.request("GET", "/-/", **fields).status_code
    finally:
        house.application = application


def test_who_is_mapped_is_let_in(house):
    """By all of the subject, or its common name; another is a 401, and so is one that expired meanwhile."""
    assert status(house, shown(*CI)) == 200
    assert status(house, shown((("commonName", "one"),), (("organizationName", "Example"),))) == 200
    assert status(house, shown((("commonName", "one"),))) == 401
    assert status(house, shown((("commonName", "other"),))) == 401
    assert status(house, shown((("commonName", "ci"),), (("commonName", "ci"),))) == 401
    assert status(house, shown()) == 401
    assert status(house, shown(*CI, until="Nov 30 12:00:00 2020 GMT")) == 401
    assert status(house, None) == 401


def test_credentials_say_more_than_a_certificate(house):
    """Wrong ones are not made good by it; and what they say is not remembered for others, who show none."""
    good = base64.b64encode(b"user_1:pass").decode()
    assert status(house, shown((("commonName", "other"),)), Authorization=f"Basic {good}") == 200
    for fields in ({"Authorization": "Basic eDp4"}, {"Authorization": "Other x"}, {"X_Auth_Token": "cmbs_x"}):
        assert status(house, shown(*CI), **fields) == 401
        assert status(house, None, **fields) == 401
