"""The rule for addresses: HTTP leaves this machine only when there are users, and passwords travel unreadable."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pycmbs.config import Settings
from pycmbs.config_values import is_loopback
from pycmbs.errors import ConfigurationError
from pycmbs.services.access.users import Users


def check_reach(settings: Settings, origins: Mapping[str, str]) -> None:
    """Raises ConfigurationError where others could reach a broker and must not. ``origins``: where settings are from."""
    if is_loopback(settings.host):
        return
    host = f"{origins.get('host', 'host')} is {settings.host!r}"
    if settings.authentication == "off":
        raise ConfigurationError(
            f"{host}, which others can reach, and {origins.get('authentication', 'authentication')} is 'off': "
            "leave that out, so that the broker wants to know who asks"
        )
    if not Users(settings.home).directory.lines and not settings.jwt_issuer:
        home = shlex.quote(str(settings.home))
        raise ConfigurationError(
            f"{host}, which others can reach, and this broker has no users: "
            f"run pycmbs user add admin --role admin --home {home}, then start it again"
        )
    if not settings.tls_cert and settings.plain_http == "off":
        raise ConfigurationError(
            f"{host}, and without TLS passwords would travel readable: "
            "give --tls-cert FILE and --tls-key FILE, or --plain-http on where a proxy does TLS"
        )
