"""The command ``pycmbs rule``: who may do what."""

from __future__ import annotations

import argparse
import contextlib

from pycmbs.cli.home import AddFlags, Commands, done, file_of, group, verb
from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError, NotFound
from pycmbs.handlers import load
from pycmbs.services.access.rulebook import RULES
from pycmbs.services.access.rules import ROLES as SHIPPED
from pycmbs.services.access.rules import Rule, check, parse


def add_parser(commands: Commands, add_flags: AddFlags) -> None:
    """Add ``rule`` and its commands. ``add_flags(parser, names)`` adds the flags of settings."""
    rule = group(commands, "rule", "add, list and remove rules: who may do what")
    parser = verb(rule, "add", "add a rule", _add_rule, add_flags)
    parser.add_argument(
        "rule", metavar="RULE", nargs="+", help="SUBJECT OPERATION KIND, and conditions: doc/security.md"
    )
    parser = verb(rule, "list", "list the rules of this broker", _list_rules, add_flags)
    parser.add_argument("--all", action="store_true", help="those that come with the roles, too")
    parser = verb(rule, "remove", "remove a rule", _remove_rule, add_flags)
    parser.add_argument("rule", metavar="RULE", nargs="+", help="the rule, or its number in the list")


def _add_rule(settings: Settings, options: argparse.Namespace) -> int:
    added = parse(" ".join(options.rule), "the command")
    check(added, load(settings.handlers.split()), "the command")
    with file_of(settings, RULES) as (text, replace):
        ending = "" if text.endswith("\n") or not text else "\n"
        replace(text + ending + "".join(f"{one}\n" for one in added))
    return done(settings, "rule add", "; ".join(map(str, added)), *map(str, added))


def _list_rules(settings: Settings, options: argparse.Namespace) -> int:
    for rule in parse(SHIPPED, "pycmbs") if options.all else ():
        print(f"-\t{rule}")
    for rule in parse(settings.allow):
        print(f"allow\t{rule}")
    with file_of(settings, RULES) as (text, _replace):
        for number, rule in enumerate(rules_in(text), 1):
            print(f"{number}\t{rule}")
    return 0


def _remove_rule(settings: Settings, options: argparse.Namespace) -> int:
    wanted = " ".join(options.rule)
    with file_of(settings, RULES) as (text, replace):
        rules = rules_in(text)
        if wanted.isdigit():
            going = rules[int(wanted) - 1 : int(wanted)] if int(wanted) else []
        else:
            going = [one for one in rules if one in parse(wanted, "the command")]
        if not going:
            raise NotFound(f"there is no rule {wanted!r}", hint="pycmbs rule list shows them, with numbers.")
        replace("".join(_without(line, going) for line in text.splitlines(keepends=True)))
    return done(settings, "rule remove", "; ".join(map(str, going)), *(f"removed: {one}" for one in going))


def rules_in(text: str) -> list[Rule]:
    """The rules in a text; invalid lines are left out."""
    found: list[Rule] = []
    for line in text.splitlines():
        with contextlib.suppress(ConfigurationError):
            found += parse(line)
    return found


def _without(line: str, going: list[Rule]) -> str:
    try:
        rules = parse(line)
    except ConfigurationError:
        return line
    if not any(one in going for one in rules):
        return line
    return "".join(f"{one}\n" for one in rules if one not in going)
