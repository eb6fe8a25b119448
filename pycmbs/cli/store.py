"""The commands ``pycmbs store``, ``pycmbs backup`` and ``pycmbs restore``: look after a store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pycmbs.cli.home import command, group
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

_DRILL = """\
pycmbs backup /var/backups/pycmbs.db
pycmbs restore /var/backups/pycmbs.db      (when the broker is stopped)"""
_STORE = ("home", "store", "store_password_file")
_BACKUP = "the file, which must not be there yet; relative to the working directory"

store = group(
    "store",
    "look after a store. Its broker must be stopped, except for stats, check and backup",
    "pycmbs store copy sqlite: couchdb://user:password@127.0.0.1:5984/pycmbs\n"
    "pycmbs serve --store couchdb://user:password@127.0.0.1:5984/pycmbs",
)
store.epilog = (
    "A relative path in a store's URL is in the home, as with serve; a FILE is relative to the working directory."
)


@command("check", "read everything, and report what is damaged", "pycmbs store check", _STORE, store)
def _check(settings: Settings) -> int:
    with _opened(settings, settings.store_url()) as opened:
        found = tools.survey(opened)
        with _progress("checking", found.documents) as bar:
            faults = list(tools.faults(opened, found, bar.update))
        for fault in faults[:100]:
            print(fault)
        print(f"{opened.url}: {found.documents} documents, {len(faults)} faults")
        return 1 if faults else 0


@command(
    "copy",
    "copy everything to another store; an interrupted copy is resumed",
    "pycmbs store copy sqlite: couchdb://user:password@127.0.0.1:5984/pycmbs",
    into=store,
)
@click.argument("source", metavar="FROM", help="URL of the store that is copied")
@click.argument("target", metavar="TO", help="URL of an empty store, or of an unfinished copy")
def _copy(settings: Settings, source: str, target: str) -> int:
    with _opened(settings, source) as old, _stopped(settings), _opened(settings, target, create=True) as new:
        for one in (old, new):
            _check_unused(settings, one)
        return _copied(old, new)


@command("backup", "copy the store to a new SQLite file; the broker may go on", _DRILL, _STORE)
@click.argument("file", type=click.Path(path_type=Path), help=_BACKUP)
def backup(settings: Settings, file: Path) -> int:
    """See its help."""
    path = file.absolute()
    if path.exists():
        raise ConfigurationError(f"{path} is there already", hint="Name a file that is not.")
    with _opened(settings, settings.store_url()) as source:
        with _progress("copying", 0) as bar:
            documents = tools.back_up(source, path, lambda done, of: _advance(bar, done, of))
        print(f"{documents} documents copied from {source.url} to {path}, and checked")
    return 0


store.add_command(backup)


@command("restore", "replace the store by a backup; the old store is kept beside it", _DRILL, _STORE)
@click.argument(
    "file", type=click.Path(path_type=Path), help="what pycmbs backup made; relative to the working directory"
)
def restore(settings: Settings, file: Path) -> int:
    """See its help."""
    path = file.absolute()
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


@command(
    "compact", "drop the marks of deleted documents, and give back their space", "pycmbs store compact", _STORE, store
)
def _compact(settings: Settings) -> int:
    with _stopped(settings), _opened(settings, settings.store_url()) as opened:
        _check_unused(settings, opened)
        before, gone = opened.size(), opened.compact(keep=0)
        opened.shrink()
        after = opened.size()
        size = f", {_bytes(before)} before, {_bytes(after)} now" if before is not None and after is not None else ""
        print(f"{opened.url}: {gone} marks of deleted documents removed{size}")
    return 0


@command("stats", "count documents and bytes by type", "pycmbs store stats", _STORE, store)
def _stats(settings: Settings) -> int:
    with _opened(settings, settings.store_url()) as opened:
        found, size = tools.survey(opened), opened.size()
        print(f"{opened.url}{'' if size is None else f': {_bytes(size)} on the disk'}")
        with _progress("reading", found.documents) as bar:
            sums = {type: tools.summed(opened, type, bar.update) for type in sorted(found.ids)}
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


def _check_unused(settings: Settings, opened: Store) -> None:
    """Raises ConfigurationError while the broker of another home works with a store."""
    NodeService(opened, this_node(settings)).look()


def _check_replaceable(settings: Settings) -> None:
    """The same for the store that is to be replaced. One that does not exist, or cannot be read, is not in use."""
    with contextlib.ExitStack() as stack:
        there = None
        with contextlib.suppress(ConfigurationError, StoreUnavailable):
            opened = stack.enter_context(_opened(settings, settings.store_url()))
            opened.ready()
            there = opened
        if there is not None:
            _check_unused(settings, there)


@contextlib.contextmanager
def _opened(settings: Settings, url: str, *, create: bool = False) -> Iterator[Store]:
    opened = open_store(url, home=settings.home, runtime=ThreadRuntime(), create=create)
    opened.take_time()
    try:
        if not opened.durable:
            raise ConfigurationError(
                f"the store {opened.url!r} is empty when it is opened", hint="Name a sqlite: or couchdb: one."
            )
        yield opened
    finally:
        opened.close()


def _progress(what: str, documents: int) -> tqdm[None]:
    from tqdm import tqdm  # large, and of no use to a broker that serves

    return tqdm(total=documents, desc=what, unit=" documents", disable=None, leave=False)  # only where a person watches


def _advance(bar: tqdm[None], done: int, of: int) -> None:
    bar.total = of
    bar.update(done - bar.n)


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB"
