"""Loads the settings: from flags, environment, files and defaults, in this order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pycmbs.config import CONFIG_VARIABLE, FILES, SERVER_FILE, SETTINGS, Settings
from pycmbs.config_files import read_file
from pycmbs.config_values import Setting
from pycmbs.errors import ConfigurationError, InvalidAddress
from pycmbs.services.access.rules import parse as parse_rules
from pycmbs.transport.address import parse_address, parse_listen_at
from pycmbs.trust import why_untrusted

_log = logging.getLogger(__name__)

GRAMMARS: Mapping[str, Callable[[str], object]] = {
    "listen_at": parse_listen_at,
    "rules": parse_rules,
    "sockets": lambda text: [parse_address(url) for url in text.split()],
}
"""The grammars that belong to other parts of the broker. Each raises InvalidAddress or ConfigurationError."""
_BY_NAME = {setting.name: setting for setting in SETTINGS}


def load_settings(
    config_dir: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None
) -> Settings:
    """The settings in force: the first of what :func:`load_with_origins` returns."""
    return load_with_origins(config_dir, environ, flags)[0]


def load_with_origins(
    config_dir: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None
) -> tuple[Settings, Mapping[str, str]]:
    """The settings in force, from flags, environment, files and defaults; and by name, as a sentence begins with it, where
    each is from that is not its default.

    ``config_dir`` is what ``--config`` said (None: PYCMBS_CONFIG, else ``./conf`` where that holds an
    ``occi_server.conf``, else no files); ``flags`` maps names of settings to text, None where not given.
    An empty environment variable counts as unset. Raises ConfigurationError with one sentence that names the culprit.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    directory = _config_dir(config_dir, environ)
    in_files = _read_files(directory) if directory else {}
    for setting in SETTINGS:
        name = setting.name
        flag = (flags or {}).get(name)
        if flag is not None:
            text, origin = flag, f"the flag {setting.flag}"
        elif environ.get(setting.variable):
            text, origin = environ[setting.variable], f"the environment variable {setting.variable}"
        elif name in in_files:
            path, text = in_files[name]
            origin = f"{name} in {path} [{setting.section}]"
        else:
            values[name] = _parse_default(setting)
            continue
        values[name], origins[name] = _parse(setting, text, origin), origin
    settings = Settings(**values)
    if settings.retry_most < settings.retry_first:
        raise ConfigurationError(
            f"retry_most is {settings.retry_most:g} s and retry_first {settings.retry_first:g} s, "
            "but the longest pause must be at least the first"
        )
    return settings, origins


def _parse(setting: Setting, text: str, origin: str) -> Any:
    try:
        value = setting.value.parse(text)
        if setting.value.grammar:
            GRAMMARS[setting.value.grammar](value)
        return value
    except (ValueError, InvalidAddress, ConfigurationError):
        unit = f" ({setting.unit})" if setting.unit else ""
        shown = (
            "not what it must be (it is not shown, as it may hold a password)" if setting.value.secret else repr(text)
        )
        raise ConfigurationError(f"{origin} is {shown}, but must be {setting.value.allowed}{unit}") from None


def _parse_default(setting: Setting) -> Any:
    try:
        return setting.value.parse(setting.default)
    except ValueError:  # the surroundings lack what it stands on
        raise ConfigurationError(
            f"{setting.name} is {setting.default} by default, and this user has no home directory: "
            f"name another with {setting.flag}"
        ) from None


def _config_dir(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    origin = "--config"
    if given is None and environ.get(CONFIG_VARIABLE):
        given, origin = Path(environ[CONFIG_VARIABLE]), CONFIG_VARIABLE
    if given is None:
        return _own_conf()
    if not given.is_dir():
        raise ConfigurationError(f"{origin} names {given}, which is not a directory")
    return given


def _own_conf() -> Path | None:
    """``./conf``, if it is one, and no other user can have put it there."""
    here = Path("conf")
    if not (here / SERVER_FILE).exists():
        return None
    for path in (here, *(here / name for name in FILES if (here / name).exists())):
        if why := why_untrusted(path):
            _log.warning("pycmbs: ./conf is not read, as %s; say --config conf if it is to be", why)
            return None
    return here


def _read_files(directory: Path) -> dict[str, tuple[Path, str]]:
    """The settings that the files in ``directory`` make: name to file and text. A file may be missing."""
    found: dict[str, tuple[Path, str]] = {}
    for file in FILES:
        path = directory / file
        parser = read_file(path)
        for section in parser.sections():
            for name, text in parser.items(section):
                _check_place(path, section, name)
                found[name] = (path, text)
    return found


def _check_place(path: Path, section: str, name: str) -> None:
    here = [setting for setting in SETTINGS if setting.file == path.name]
    setting = _BY_NAME.get(name)
    if setting in here and setting is not None and setting.section == section:
        return
    if setting is not None:
        raise ConfigurationError(
            f"{path} sets {name} in [{section}], but it belongs in {setting.file} [{setting.section}]"
        )
    sections = list(dict.fromkeys(item.section for item in here))
    if section not in sections:
        allowed = ", ".join(f"[{item}]" for item in sections)
        raise ConfigurationError(f"{path} has an unknown section [{section}], but there is only {allowed}")
    names = ", ".join(item.name for item in here if item.section == section)
    raise ConfigurationError(f"{path} [{section}] sets {name}, which is unknown; known there: {names}")
