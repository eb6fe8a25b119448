"""The command ``serve``, with a flag for every setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pycmbs.cli.home import config_option, described, option, run_with
from pycmbs.config import SETTINGS, Settings

_USUAL = ("home", "host", "port", "store", "workers", "log_level", "member", "listen", "neighbor", "topics")
_EXAMPLE = """\
# two brokers on one machine, two sites of a federation
pycmbs serve --member paris --listen 5010 --topics 'network.>'
pycmbs serve --home ~/.pycmbs-2 --port 8091 --member rome --listen 5110 --neighbor 127.0.0.1:5010
curl http://127.0.0.1:8090/-/"""
_EPILOG = """Every flag is also an environment variable (--log-level: PYCMBS_LOG_LEVEL) and a setting in a file of --config;
the flag wins over the variable, the variable over the file."""


class _Serve(click.Command):
    """Its flags in two groups: what everyone uses comes first."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_usage`."""
        formatter.write_usage(ctx.command_path, "[flags]", prefix="usage: ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_options`."""
        further = {one.name for one in SETTINGS} - set(_USUAL)
        for title, wanted in (("Usual flags", False), ("Further flags", True)):
            with formatter.section(title):
                records = (one.get_help_record(ctx) for one in self.get_params(ctx) if (one.name in further) == wanted)
                formatter.write_dl([one for one in records if one is not None])


def _run(**given: Any) -> int:
    return run_with(_serve, given, [one.name for one in SETTINGS])


def _serve(settings: Settings, origins: Mapping[str, str]) -> int:
    from pycmbs.processes import supervisor  # not needed to print help

    return supervisor.serve(settings, origins)


serve = _Serve(
    "serve",
    callback=_run,
    params=[config_option(), *(option(one) for one in SETTINGS)],
    help=described("start a broker, and run it until Ctrl-C or SIGTERM. It prints one line once it serves", _EXAMPLE),
    epilog=_EPILOG,
)
