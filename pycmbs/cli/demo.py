"""``demo``: runs three brokers for a few seconds, or until interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

_HELP = """Start three brokers on loopback, let them find each other, send on every layer, kill one and start it again.
Takes a few seconds and leaves nothing behind.

\b
example:
  pycmbs demo
  pycmbs demo --keep
  pycmbs demo --secure"""
_PREFIX = "demo-"
"""How the names of their contexts begin."""


@click.command("demo", help=_HELP)
@click.option("--keep", is_flag=True, help="Leave three sites that know each other, with contexts, until Ctrl-C.")
@click.option("--secure", is_flag=True, help="Show what keys do: an invitation, a stranger, a revocation.")
def demo(keep: bool, secure: bool) -> int:
    """Show it."""
    from pycmbs.demo import run  # no other command needs it

    try:
        return run(_kept if keep else None, secure=secure)
    except KeyboardInterrupt:
        return 130


def _kept(urls: Mapping[str, str]) -> None:
    """Say where they are, until Ctrl-C; that ends it."""
    from pycmbs.cli import contexts

    named = {_PREFIX + name: {"url": f"{url}/"} for name, url in urls.items()}
    contexts.keep(named)
    try:
        for name, said in named.items():
            click.echo(f"{name:<12} {said['url']}")
        first, *_ = named
        click.echo(
            f"try: pycmbs members --context {first}\n"
            f'     pycmbs pub network.link \'{{"event": "link-down"}}\' --wait 5 --context {first}\n'
            "Ctrl-C stops and removes them"
        )
        while True:
            time.sleep(3600)
    finally:
        contexts.forget(list(named))
