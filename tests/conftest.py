"""Fixtures of all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.couchdb_server import CouchServer, running_server
from tests.harness import COUCHDB_VARIABLE, Broker, databases


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: one for each processor. Each test has brokers of several processes; with more at a time, what must happen
    within a second does not always."""
    return max(2, len(os.sched_getaffinity(0)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``--dist loadgroup``: a test may run in any process, but those that share something of their module run in one."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if isinstance(item, pytest.Function) and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged or printed is encodable: xdist ends with all its workers over a report with half a surrogate pair."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl
def pytest_sessionfinish() -> None:
    """Delete the databases that brokers were given on the server of PYCMBS_TEST_COUCHDB_URL."""
    if databases:
        server = CouchServer(os.environ[COUCHDB_VARIABLE])
        for name in databases:
            server.request("DELETE", f"/{name}")
        server.session.close()


def _shares(item: pytest.Function) -> bool:
    found = item._fixtureinfo.name2fixturedefs.values()
    return any(one.scope in ("class", "module", "package") for definitions in found for one in definitions)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for homes further below: pytest's own path, with the names of a process and of a test in it, may be too long
    for the sockets in them."""
    with tempfile.TemporaryDirectory(prefix="cmbs-") as path:
        yield Path(path)


def brokers(folder: Path, store: Callable[[], tuple[str, ...]] = tuple) -> Iterator[Callable[..., Broker]]:
    """What starts brokers, each with a home in ``folder``; ``store`` makes the flags that give one a store."""
    started: list[Broker] = []

    def start(*flags: str, **options: object) -> Broker:
        broker = Broker(folder / f"broker-{len(started)}", *store(), *flags, **options)
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        if broker.process is not None and broker.process.poll() is None:
            broker.kill()
    for broker in started:
        assert "Traceback" not in broker.log(), broker.log()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts real brokers, each in a home of its own, and stops them after the test; none may have logged a traceback."""
    yield from brokers(tmp_path)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """The same for brokers that the tests of a module share."""
    yield from brokers(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Broker]) -> Broker:
    """One running broker for the tests of a module, with one front process and no member yet."""
    return start_shared("--workers", "1")


@pytest.fixture
def broker(start_broker: Callable[..., Broker]) -> Broker:
    """One running broker, with one front process and no member yet."""
    return start_broker("--workers", "1")


@pytest.fixture(scope="session")
def couchdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CouchServer]:
    """A CouchDB server: the one of PYCMBS_TEST_COUCHDB_URL, or a stand-in that is started here."""
    with running_server(tmp_path_factory.mktemp("couchdb")) as server:
        yield server


@pytest.fixture
def couchdb_url(couchdb_server: CouchServer) -> Iterator[str]:
    """The store URL of a database that is this test's own; it is not made yet."""
    with couchdb_server.database() as url:
        yield url
