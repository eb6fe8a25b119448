"""Reads settings files: sections, names and raw values."""

from __future__ import annotations

import configparser
from pathlib import Path

from pycmbs.errors import ConfigurationError


def read_file(path: Path) -> configparser.ConfigParser:
    """What a file of settings says; nothing if it is not there. Raises ConfigurationError with where it is wrong."""
    # No section may act on the others ([DEFAULT]) and `%` means itself: passwords contain it.
    parser = configparser.ConfigParser(interpolation=None, default_section="\n")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            parser.read_file(stream)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None
    except configparser.Error as error:
        raise ConfigurationError(f"{path} cannot be read: {_what_is_wrong(error)}") from None
    return parser


def _what_is_wrong(error: configparser.Error) -> str:
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} is neither `name = value` nor a [section] nor a # comment"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno} sets {error.option} a second time"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno} opens [{error.section}] a second time"
    return " ".join(str(error).split())
