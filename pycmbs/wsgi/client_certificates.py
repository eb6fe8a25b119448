"""Authentication by a client's certificate, whose subject says which user it is (ADR 44)."""

from __future__ import annotations

import functools
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pycmbs.services.access.principal import Principal
from pycmbs.services.access.users import Users
from pycmbs.wsgi.auth import PEER_CERTIFICATE, Environ, refusal

_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""RFC 4514 3; what is not here has the name that OpenSSL has for it."""
_SPECIAL = re.compile(r'[,+"\\<>;=]|^[# ]| $')
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ClientCertificates:
    """An :class:`~pycmbs.wsgi.auth.Authenticator` by ``NAME:cert:SUBJECT:ROLES`` of the users' file.

    Credentials in the request's fields say more than its connection: where there are any, no certificate counts."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def authenticate(self, environ: Environ) -> Principal | None:
        """See :class:`~pycmbs.wsgi.auth.Authenticator`."""
        certificate = environ.get(PEER_CERTIFICATE)
        if certificate is None or "HTTP_AUTHORIZATION" in environ or "HTTP_X_AUTH_TOKEN" in environ:
            return None
        if _end(certificate["notAfter"]) <= time.time():
            raise refusal("the client's certificate has expired since it was shown")
        directory = self._users.directory
        for subject in subjects(certificate):
            user = directory.certificates.get(subject)
            if user is not None:
                named = directory.users.get(user.name)
                return Principal(user.name, user.roles or (named.roles if named else ()), "certificate")
        raise refusal(f"no user has the certificate of {next(subjects(certificate), 'no subject')}")


def subjects(certificate: Mapping[str, Any]) -> Iterator[str]:
    """How the users' file may name the subject: as RFC 4514 writes it, the most special first (``CN=ci,O=Example``); the other
    way round; and, where it has one common name, by that alone (``CN=ci``)."""
    parts = [
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in part)
        for part in certificate["subject"]
    ]
    if parts:
        yield ",".join(reversed(parts))
        yield ",".join(parts)
    names = [value for part in certificate["subject"] for name, value in part if name == "commonName"]
    if len(names) == 1:
        yield f"CN={_escaped(names[0])}"


def _escaped(value: str) -> str:
    marked = _SPECIAL.sub(lambda found: f"\\{found[0]}", value)
    return _UNPRINTED.sub(lambda found: "".join(f"\\{byte:02X}" for byte in found[0].encode()), marked)


@functools.lru_cache(maxsize=1024)
def _end(text: str) -> float:
    return float(ssl.cert_time_to_seconds(text))
