"""Bearer tokens that are JWTs (RFC 7519), signed by an OpenID provider or another issuer (ADR 45)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any, TypeGuard

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import Runtime
from pycmbs.services.access import passwords
from pycmbs.services.access.principal import Principal
from pycmbs.wsgi.auth import Environ, bearer, refusal
from pycmbs.wsgi.jwt_keys import ALGORITHMS, Keys

_AHEAD_SECONDS = 60.0
"""How far the issuer's clock may be ahead."""
_NAME = re.compile(r"[!-~]{1,128}")
"""What a subject must be to be a user's name in rules and in the audit log."""


class WebTokens:
    """An :class:`~pycmbs.wsgi.auth.Authenticator` by the JWTs of one issuer."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, claim: str, roles: Mapping[str, str]) -> None:
        """``claim`` has values of which ``roles`` says which role they are; values that it does not know are none."""
        from joserfc.errors import BadSignatureError, JoseError  # an extra
        from joserfc.jws import deserialize_compact, extract_compact

        self._bad_signature, self._bad = BadSignatureError, JoseError
        self._check, self._extract = deserialize_compact, extract_compact
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._claim, self._roles = claim, roles

    @classmethod
    def of(cls, runtime: Runtime, *, issuer: str, audience: str, keys: str, claim: str, roles: str) -> WebTokens | None:
        """By the settings ``jwt_issuer`` and so on; None where there are none. Raises ConfigurationError."""
        needed = {"jwt_issuer": issuer, "jwt_audience": audience, "jwt_keys": keys, "jwt_roles": roles}
        if not any(needed.values()):
            return None
        if missing := [name for name, value in needed.items() if not value]:
            raise ConfigurationError(f"{', '.join(needed)} go together, and there is no {' and no '.join(missing)}")
        pairs = (one.rpartition("=") for one in roles.split("; "))
        try:
            return cls(
                Keys(keys, runtime),
                issuer=issuer,
                audience=audience,
                claim=claim,
                roles={value: role for value, _, role in pairs},
            )
        except ImportError:
            raise ConfigurationError("jwt_issuer needs a library: run pip install 'pycmbs[jwt]'") from None

    def authenticate(self, environ: Environ) -> Principal | None:
        """See :class:`~pycmbs.wsgi.auth.Authenticator`."""
        text = bearer(environ)
        if text is None or text.startswith(passwords.TOKEN):
            return None
        claims = self._claims(text)
        now = time.time()
        audience = claims.get("aud")
        until, since, name = claims.get("exp"), claims.get("nbf", 0), claims.get("sub")
        if claims.get("iss") != self._issuer:
            raise refusal("the token is of another issuer")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise refusal("the token is for another audience")
        if not _is_number(until) or until <= now:
            raise refusal("the token has expired, or does not say when it does")
        if not _is_number(since) or since > now + _AHEAD_SECONDS:
            raise refusal("the token is not valid yet")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise refusal("the token has no subject that could be a user's name")
        return Principal(name, self._roles_in(claims), "jwt", float(until))

    def _claims(self, text: str) -> dict[str, Any]:
        """What the token says, once it is certain that the issuer says it. Raises Unauthenticated, Unavailable."""
        try:
            header = self._extract(text.encode("latin-1")).protected
            algorithm, id = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS or not (id is None or isinstance(id, str)):
                raise refusal(f"the token is not signed by {', '.join(ALGORITHMS)}")
            for key in self._keys.find(algorithm, id):
                try:
                    claims = json.loads(self._check(text, key, algorithms=[algorithm]).payload)
                except self._bad_signature:
                    continue
                if isinstance(claims, dict):
                    return claims
        except (self._bad, ValueError, TypeError, AttributeError, RecursionError) as exc:
            raise refusal("the token is not known here, and is not a JWT") from exc
        raise refusal("the token is not signed by a key of the issuer")

    def _roles_in(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        found: Any = claims.get(self._claim)
        if found is None:  # Keycloak's are in an object: realm_access.roles
            found = claims
            for part in self._claim.split("."):
                found = found.get(part) if isinstance(found, dict) else None
        values = found if isinstance(found, list) else str(found or "").split()
        return tuple(dict.fromkeys(self._roles[one] for one in values if isinstance(one, str) and one in self._roles))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e15  # noqa: PLR0124 - NaN
