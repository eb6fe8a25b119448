"""The commands ``pycmbs store``, ``pycmbs backup`` and ``pycmbs restore``: look after a store."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError, StoreUnavailable
from pycmbs.processes.identity import this_node
from pycmbs.processes.locks import lock_home, release_home
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.records.node import NodeService
from pycmbs.store import open_store, tools
from pycmbs.store.base import Store

if TYPE_CHECKING:
    from tqdm import tqdm

_COMMANDS = {
    "check": "read everything, and report what is damaged",
    "copy": "copy everything to another store; an interrupted copy is resumed",
    "backup": "copy everything to a new SQLite file, also while the broker runs",
    "compact": "drop the marks of deleted documents, and give back their space",
    "stats": "count documents and bytes by type",
}

_EXAMPLE = """\
example: from the embedded store to CouchDB
  pycmbs store copy sqlite: couchdb://user:password@127.0.0.1:5984/pycmbs
  pycmbs serve --store couchdb://user:password@127.0.0.1:5984/pycmbs

A relative path in a store's URL is in the home, as with serve; a FILE is relative to the working directory.
"""

_DRILL = """\
example: a backup while the broker runs, and back
  pycmbs backup /var/backups/pycmbs.db
  pycmbs restore /var/backups/pycmbs.db      (when the broker is stopped)
"""

_STORE = ("home", "store", "store_password_file")

AddFlags = Callable[..., None]


def add_parser(commands: argparse._SubParsersAction[Any], add_flags: AddFlags) -> None:
    """Add ``store`` and its commands. ``add_flags(parser, names)`` adds the flags of settings."""
    store = commands.add_parser(
        "store",
        help="check, copy, back up or compact a store",
        description="Look after a store. Its broker must be stopped, except for stats, check and backup.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = store.add_subparsers(metavar="COMMAND", required=True)
    for name, help in _COMMANDS.items():
        parser = verbs.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False)
        parser.set_defaults(run=_run, verb=name)
        add_flags(parser, ("home",) if name == "copy" else _STORE)
        if name == "copy":
            parser.add_argument("source", metavar="FROM", help="URL of the store that is copied")
            parser.add_argument("target", metavar="TO", help="URL of an empty store, or of an unfinished copy")
        if name == "backup":
            _add_file(parser, "the file, which must not be there yet")


def add_backup(commands: argparse._SubParsersAction[Any], add_flags: AddFlags) -> None:
    """Add ``backup`` and ``restore``."""
    for name, help, file in (
        (
            "backup",
            "copy the store to a new SQLite file; the broker may go on",
            "the file, which must not be there yet",
        ),
        ("restore", "replace the store by a backup; the old store is kept beside it", "what pycmbs backup made"),
    ):
        parser = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=_DRILL,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(run=_run, verb=name)
        add_flags(parser, _STORE)
        _add_file(parser, file)


def _add_file(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help=f"{help}; relative to the working directory")


def _run(settings: Settings, options: argparse.Namespace) -> int:
    verbs = {
        "check": _check, "copy": _copy, "backup": _backup, "restore": _restore, "compact": _compact, "stats": _stats,
    }  # fmt: skip
    return verbs[options.verb](settings, options)


def _check(settings: Settings, options: argparse.Namespace) -> int:
    del options
    with _opened(settings, settings.store_url()) as store:
        found = tools.survey(store)
        with _progress("checking", found.documents) as bar:
            faults = list(tools.faults(store, found, bar.update))
        for fault in faults[:100]:
            print(fault)
        print(f"{store.url}: {found.documents} documents, {len(faults)} faults")
        return 1 if faults else 0


def _copy(settings: Settings, options: argparse.Namespace) -> int:
    with (
        _opened(settings, options.source) as source,
        _stopped(settings),
        _opened(settings, options.target, create=True) as target,
    ):
        for one in (source, target):
            _check_unused(settings, one)
        return _copied(source, target)


def _backup(settings: Settings, options: argparse.Namespace) -> int:
    path = options.file.absolute()
    if path.exists():
        raise ConfigurationError(f"{path} is there already", hint="Name a file that is not.")
    with _opened(settings, settings.store_url()) as source:
        with _progress("copying", 0) as bar:
            documents = tools.back_up(source, path, lambda done, of: _advance(bar, done, of))
        print(f"{documents} documents copied from {source.url} to {path}, and checked")
    return 0


def _restore(settings: Settings, options: argparse.Namespace) -> int:
    path = options.file.absolute()
    if not path.is_file():
        raise ConfigurationError(f"there is no backup {path}", hint="Name a file that pycmbs backup made.")
    with _stopped(settings, make_home=True), _progress("copying", 0) as bar:
        _check_replaceable(settings)
        restored = tools.restore(path, settings.store_url(), home=settings.home, advance=bar.update)
    print(f"{restored.documents} documents restored from {path} to {restored.url}, and checked")
    if restored.kept is not None:
        print(f"what was there is kept as {restored.kept}")
    return 0


def _copied(source: Store, target: Store) -> int:
    found = tools.survey(source)
    with _progress("copying", found.documents) as bar:
        tools.copy(source, target, found, bar.update)
    wrong = 0
    with _progress("comparing", 2 * found.documents) as bar:
        for type in sorted(found.ids):
            there, here = tools.summed(source, type, bar.update), tools.summed(target, type, bar.update)
            if there != here:
                wrong += 1
                print(f"{type}: {there.documents} documents became {here.documents}, or they differ")
    if wrong:
        print(f"{target.url} is not a copy of {source.url}: was it written to meanwhile?")
        return 1
    tools.finish_copy(target)
    print(f"{found.documents} documents copied from {source.url} to {target.url}, and compared")
    return 0


def _compact(settings: Settings, options: argparse.Namespace) -> int:
    del options
    with _stopped(settings), _opened(settings, settings.store_url()) as store:
        _check_unused(settings, store)
        before, gone = store.size(), store.compact(keep=0)
        store.shrink()
        after = store.size()
        size = f", {_bytes(before)} before, {_bytes(after)} now" if before is not None and after is not None else ""
        print(f"{store.url}: {gone} marks of deleted documents removed{size}")
    return 0


def _stats(settings: Settings, options: argparse.Namespace) -> int:
    del options
    with _opened(settings, settings.store_url()) as store:
        found, size = tools.survey(store), store.size()
        print(f"{store.url}{'' if size is None else f': {_bytes(size)} on the disk'}")
        with _progress("reading", found.documents) as bar:
            sums = {type: tools.summed(store, type, bar.update) for type in sorted(found.ids)}
        for type, total in sums.items():
            print(f"{type:12} {total.documents:10} documents {_bytes(total.bytes):>12}")
        print(f"{'deleted':12} {found.deleted:10} marks")
    return 0


@contextlib.contextmanager
def _stopped(settings: Settings, *, make_home: bool = False) -> Iterator[None]:
    """While no broker of this home runs. Raises ConfigurationError if one does."""
    if not (make_home or settings.home.exists()):
        yield  # there is no broker to lock out
        return
    lock = lock_home(settings)
    try:
        yield
    finally:
        release_home(lock)


def _check_unused(settings: Settings, store: Store) -> None:
    """Raises ConfigurationError while the broker of another home works with a store."""
    NodeService(store, this_node(settings)).look()


def _check_replaceable(settings: Settings) -> None:
    """The same of the store that is to be replaced. What is not there, or cannot be read, is not in use."""
    with contextlib.ExitStack() as stack:
        there = None
        with contextlib.suppress(ConfigurationError, StoreUnavailable):
            store = stack.enter_context(_opened(settings, settings.store_url()))
            store.ready()
            there = store
        if there is not None:
            _check_unused(settings, there)


@contextlib.contextmanager
def _opened(settings: Settings, url: str, *, create: bool = False) -> Iterator[Store]:
    store = open_store(url, home=settings.home, runtime=ThreadRuntime(), create=create)
    store.take_time()
    try:
        if not store.durable:
            raise ConfigurationError(
                f"the store {store.url!r} is empty when it is opened", hint="Name a sqlite: or couchdb: one."
            )
        yield store
    finally:
        store.close()


def _progress(what: str, documents: int) -> tqdm[None]:
    from tqdm import tqdm  # large, and a broker that serves has no use for it

    return tqdm(total=documents, desc=what, unit=" documents", disable=None, leave=False)  # only where a person looks


def _advance(bar: tqdm[None], done: int, of: int) -> None:
    bar.total = of
    bar.update(done - bar.n)


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB"
