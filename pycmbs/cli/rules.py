"""The command ``pycmbs rule``: who may do what."""

from __future__ import annotations

import contextlib

import click

from pycmbs.cli.home import command, done, file_of, group, reported
from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError, NotFound
from pycmbs.handlers import load
from pycmbs.services.access.rulebook import RULES
from pycmbs.services.access.rules import ROLES as SHIPPED
from pycmbs.services.access.rules import Rule, check, parse

rule = group(
    "rule",
    "add, list and remove rules: who may do what; a broker that runs follows at once",
    "pycmbs rule add 'user:ci send message topic=network.>'\npycmbs rule list",
)


@command("add", "add a rule", "pycmbs rule add 'user:ci send message topic=network.>'", into=rule)
@click.argument(
    "words", metavar="RULE...", nargs=-1, required=True, help="SUBJECT OPERATION KIND, and conditions: doc/security.md"
)
@reported
def _add_rule(settings: Settings, words: tuple[str, ...]) -> int:
    added = parse(" ".join(words), "the command")
    check(added, load(settings.handlers.split()), "the command")
    with file_of(settings, RULES) as (text, replace):
        ending = "" if text.endswith("\n") or not text else "\n"
        replace(text + ending + "".join(f"{one}\n" for one in added))
    return done(settings, "rule add", "; ".join(map(str, added)), *map(str, added))


@command("list", "list the rules of this broker", "pycmbs rule list --all", into=rule)
@click.option("--all", "shipped", is_flag=True, help="those that come with the roles, too")
@reported
def _list_rules(settings: Settings, *, shipped: bool) -> int:
    for one in parse(SHIPPED, "pycmbs") if shipped else ():
        print(f"-\t{one}")
    for one in parse(settings.allow):
        print(f"allow\t{one}")
    with file_of(settings, RULES) as (text, _replace):
        for number, one in enumerate(rules_in(text), 1):
            print(f"{number}\t{one}")
    return 0


@command("remove", "remove a rule", "pycmbs rule remove 3", into=rule)
@click.argument("words", metavar="RULE...", nargs=-1, required=True, help="the rule, or its number in the list")
@reported
def _remove_rule(settings: Settings, words: tuple[str, ...]) -> int:
    wanted = " ".join(words)
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
