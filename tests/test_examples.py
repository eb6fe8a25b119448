"""The examples: each is installed as a package of a third party, found by its entry point, and run by a real broker."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from pycmbs.backends import load_backends
from pycmbs.backends.base import Backend
from pycmbs.errors import ConfigurationError
from pycmbs.occi.entity import Entity
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Query, Store
from tests.backends.contract import BackendContract
from tests.harness import ROOT, Broker, refusal
from tests.services.world import make_broker
from tests.store.contract import StoreContract, create

EXAMPLES = ROOT / "examples"
Start = Callable[..., Broker]

pytestmark = pytest.mark.skipif(
    int(version("setuptools").partition(".")[0]) < 77,
    reason="packages are made with setuptools 77 or newer; .ci/setup-venv test installs it",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the three examples, made without a network."""
    folder = tmp_path_factory.mktemp("site")
    sources = tmp_path_factory.mktemp("sources")
    names = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))
    assert names == ["backend", "handler", "store"]
    for name in names:
        shutil.copytree(EXAMPLES / name, sources / name)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder)]
    done = subprocess.run(
        [*command, *(str(sources / name) for name in names)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def example(site: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the installed examples into this process."""
    monkeypatch.syspath_prepend(str(site))
    return importlib.import_module


class TestLamp(BackendContract):
    """The example of a backend keeps the contract of all."""

    @pytest.fixture
    def backend(self, example: Callable[[str], ModuleType]) -> Backend:
        del example  # the entry point is found where it is installed
        return load_backends(make_broker())["lamp"]

    @pytest.fixture
    def entity(self) -> Entity:
        attributes = {"example.lamp.state": "off"}
        return Entity("1", "http://example.org/devices#lamp", "/lamp/1", attributes=attributes)


@pytest.fixture
def journal(example: Callable[[str], ModuleType], tmp_path: Path) -> Callable[[], Store]:
    """Opens the store of the example, the same each time."""
    del example
    return lambda: open_store("journal:here", home=tmp_path, runtime=ThreadRuntime())


class TestJournal(StoreContract):
    """The example of a store keeps the contract of all."""

    @pytest.fixture
    def store(self, journal: Callable[[], Store]) -> Store:
        return journal()


def test_the_journal_is_shared_and_survives(journal: Callable[[], Store], tmp_path: Path) -> None:
    """Of two openers each sees what the other wrote, neither loses anything, and what a crash left of a line is cut off."""
    one, two = journal(), journal()
    writers = [
        threading.Thread(target=lambda store=store, name=name: [store.write([create(f"{name}{n}")]) for n in range(50)])
        for store, name in ((one, "a"), (two, "b"))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    everything = one.find(Query("thing"))
    assert len(everything) == 100
    assert two.find(Query("thing")) == everything
    one.close()
    two.close()
    with (tmp_path / "here").open("ab") as file:
        file.write(b'[["half a li')
    three = journal()
    assert three.find(Query("thing")) == everything
    three.write([create("last")])
    four = journal()
    assert [document.id for document in four.find(Query("thing"))][-1] == "last"
    three.close()
    four.close()


def test_a_store_that_cannot_be_loaded_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Path
) -> None:
    """The error names the store and where it should be; no one takes the place of the broker's own."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pycmbs.stores]\nbroken = json:loads\nsqlite = json:loads\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"'broken' \(json:loads\) cannot be loaded"):
        open_store("broken:x", home=tmp_path, runtime=ThreadRuntime())
    open_store("sqlite:", home=tmp_path, runtime=ThreadRuntime()).close()
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(ConfigurationError, match="broken:, couchdb:, couchdb\\+https:, journal:, memory:, sqlite:"):
        open_store("mongo:x", home=tmp_path, runtime=ThreadRuntime())


def test_a_broker_runs_all_three(start_broker: Start, site: Path, tmp_path: Path) -> None:
    """With the packages installed a broker keeps everything in a journal, serves lamps, and answers a message by disk-free;
    after a kill all of it is there."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    store = ("--store", f"journal:{tmp_path / 'journal'}")
    broker = start_broker(*store, "--allow", "* disk-free", environ={"PYTHONPATH": path})
    assert f"store journal:{tmp_path / 'journal'}" in broker.line

    broker.ok("POST", "/-/", EXAMPLES / "backend" / "lamp.json")
    broker.ok("PUT", "/-/", EXAMPLES / "backend" / "provider.json")
    lamp = {"kind": "http://example.org/devices#lamp", "attributes": {}}
    where = broker.ok("POST", "/lamp/", {"resources": [lamp]})["Location"][0].removeprefix(broker.url)
    assert broker.get(where)["attributes"] == {"example": {"lamp": {"state": "off"}}}
    assert broker.ok("POST", f"{where}?action=on", {}) == {"state": "on"}
    refusal(broker.request("POST", f"{where}?action=on", {}), 400, "invalid-request", "on", where)

    broker.become("l1", "l2")
    content = {"operation": "disk-free", "target": str(tmp_path)}
    message = broker.message("l1", content, l1_socket_receiver_member=broker.socket("l1"))
    (entry,) = broker.send(message, "l1")["deliveries"]
    assert entry["state"] == "executed", json.dumps(entry)
    assert entry["result"]["free"] <= entry["result"]["total"]

    broker.kill()
    broker.start()
    assert broker.get(where)["attributes"] == {"example": {"lamp": {"state": "on"}}}
    assert broker.attributes(message, "message")["state"] == "executed"
