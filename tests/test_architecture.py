"""The architecture: which way imports point, and what every module owes its reader."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pycmbs"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
EVENTLET = {"pycmbs.wsgi.server", "pycmbs.processes.front"}
LONGEST = 400
SHORTEST = 15


def imports(path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module
            # `from pycmbs.occi import naming` imports pycmbs.occi.naming
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in MODULES
            )


def below(module, prefixes):
    """Whether a module is one of ``prefixes`` or inside one."""
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def offenders(package, allowed):
    """Imports of pycmbs modules by ``package`` that are not ``allowed``."""
    return sorted(
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if below(name, [package])
        for target in set(imports(path))
        if below(target, ["pycmbs"]) and target not in ("pycmbs", package) and not below(target, [package, *allowed])
    )


def importers(library):
    """The modules that import a library."""
    return {name for name, path in MODULES.items() if any(below(target, [library]) for target in imports(path))}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("pycmbs.sentences", []),
        ("pycmbs.errors", ["pycmbs.sentences"]),
        ("pycmbs.workers", []),
        ("pycmbs.seams", ["pycmbs.errors"]),
        ("pycmbs.scope", []),
        ("pycmbs.runtime", ["pycmbs.workers", "pycmbs.scope"]),
        ("pycmbs.descriptors", []),
        ("pycmbs.queues", []),
        ("pycmbs.seldom", []),
        ("pycmbs.clock", []),
        ("pycmbs.codec", []),
        ("pycmbs.metrics", []),
        ("pycmbs.tracing", []),
        ("pycmbs.ids", []),
        ("pycmbs.handlers", ["pycmbs.errors"]),
        ("pycmbs.occi", ["pycmbs.errors", "pycmbs.ids", "pycmbs.depth", "pycmbs.codec", "pycmbs.scope"]),
        ("pycmbs.store", ["pycmbs.errors", "pycmbs.seams", "pycmbs.runtime", "pycmbs.codec", "pycmbs.metrics"]),
        (
            "pycmbs.transport",
            ["pycmbs.errors", "pycmbs.seams", "pycmbs.workers", "pycmbs.ids", "pycmbs.depth", "pycmbs.codec",
             "pycmbs.descriptors", "pycmbs.queues", "pycmbs.seldom"],
        ),
        ("pycmbs.backends", ["pycmbs.errors", "pycmbs.seams", "pycmbs.occi", "pycmbs.store.base"]),
        (
            "pycmbs.services",
            ["pycmbs.errors", "pycmbs.sentences", "pycmbs.clock", "pycmbs.seldom", "pycmbs.ids", "pycmbs.occi",
             "pycmbs.runtime", "pycmbs.backends", "pycmbs.handlers", "pycmbs.store.base", "pycmbs.codec", "pycmbs.depth",
             "pycmbs.transport.address", "pycmbs.transport.envelope", "pycmbs.transport.base", "pycmbs.metrics",
             "pycmbs.scope", "pycmbs.tracing"],
        ),
        ("pycmbs.services.access", ["pycmbs.errors", "pycmbs.occi", "pycmbs.scope"]),
        ("pycmbs.control", ["pycmbs.errors", "pycmbs.runtime", "pycmbs.workers", "pycmbs.codec", "pycmbs.seldom"]),
        ("pycmbs.client", ["pycmbs.errors"]),
        (
            "pycmbs.processes",
            ["pycmbs.broker", "pycmbs.preparation", "pycmbs.config", "pycmbs.config_values", "pycmbs.engine.engine",
             "pycmbs.errors",
             "pycmbs.runtime", "pycmbs.workers", "pycmbs.clock", "pycmbs.codec", "pycmbs.logs", "pycmbs.wsgi",
             "pycmbs.services.records.node", "pycmbs.services.access.users"],
        ),
        ("pycmbs.config_files", ["pycmbs.errors"]),
        ("pycmbs.config_values", []),
        ("pycmbs.config", ["pycmbs.config_values", "pycmbs.trust"]),
        (
            "pycmbs.config_loading",
            ["pycmbs.config", "pycmbs.config_files", "pycmbs.config_values", "pycmbs.errors", "pycmbs.trust",
             "pycmbs.services.access.rules", "pycmbs.transport.address"],
        ),
        ("pycmbs.gateways", ["pycmbs.errors", "pycmbs.seams", "pycmbs.occi", "pycmbs.services"]),
        (
            "pycmbs.wsgi",
            ["pycmbs.errors", "pycmbs.codec", "pycmbs.occi", "pycmbs.services", "pycmbs.runtime", "pycmbs.workers",
             "pycmbs.descriptors", "pycmbs.queues", "pycmbs.scope", "pycmbs.seldom", "pycmbs.metrics", "pycmbs.tracing"],
        ),
        (
            "pycmbs.engine",
            ["pycmbs.errors", "pycmbs.occi", "pycmbs.services", "pycmbs.control", "pycmbs.handlers", "pycmbs.runtime",
             "pycmbs.workers", "pycmbs.config",
             "pycmbs.clock", "pycmbs.codec", "pycmbs.queues", "pycmbs.seldom", "pycmbs.store.base", "pycmbs.transport.base",
             "pycmbs.transport.envelope", "pycmbs.transport.transports", "pycmbs.metrics"],
        ),
    ],
)  # fmt: skip
def test_imports_point_one_way(package, allowed):
    """Each package imports what it may, and nothing else of the broker."""
    assert offenders(package, allowed) == []


WINGS = {
    "records": (),
    "access": ("records",),
    "entities": ("records", "access"),
    "federation": ("records", "access", "entities", "engine_link"),
    "execution": ("records", "access", "entities"),
    "delivery": ("records", "access", "entities", "federation", "execution", "engine_link"),
    "engine_link": (),
}
"""The rooms of services/, from the lowest floor to the highest, and into which each may look."""


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_looks_down_only(wing):
    """Delivery stands on execution and federation, both on entities, that on records."""
    beside = [f"pycmbs.services.{one}" for one in WINGS[wing]]
    found = offenders(
        f"pycmbs.services.{wing}", [*beside, *(one for one in MODULES if not below(one, ["pycmbs.services"]))]
    )
    assert found == []


def test_services_has_no_module_of_its_own_but_the_link():
    """Who adds one finds a wing for it."""
    assert {path.name for path in (PACKAGE / "services").glob("*.py")} == {"__init__.py", "engine_link.py"}
    assert {path.name for path in (PACKAGE / "services").iterdir() if (path / "__init__.py").exists()} <= WINGS.keys()


@pytest.mark.parametrize("package", ["pycmbs.services", "pycmbs.backends", "pycmbs.occi", "pycmbs.gateways"])
def test_the_core_knows_no_library_of_the_edges(package):
    """Services and what they stand on know neither HTTP nor sockets nor SQL."""
    edges = ("webob", "eventlet", "zmq", "sqlite3", "couchdb", "socket", "http", "requests")
    found = {f"{name} imports {edge}" for edge in edges for name in importers(edge) if below(name, [package])}
    assert found == set()


def test_who_asks_a_broker_is_no_part_of_it():
    """The client library has users, and none of them is the broker: what it does is done without HTTP to itself."""
    users = importers("pycmbs.client")
    assert {name for name in users if not below(name, ["pycmbs.client", "pycmbs.cli", "pycmbs.demo"])} == set()
    assert {name for name in importers("click") if not below(name, ["pycmbs.cli"])} == set()


def test_eventlet_stays_behind_two_modules():
    """The day eventlet must go, two files change."""
    assert importers("eventlet") == EVENTLET


def test_zeromq_stays_behind_its_transport():
    """Nothing above the seam may assume ZeroMQ."""
    assert {name for name in importers("zmq") if not name.startswith("pycmbs.transport.zeromq")} == set()


def test_webob_stays_in_the_front():
    """Only handlers know requests and responses."""
    assert {name for name in importers("webob") if not below(name, ["pycmbs.wsgi"])} == set()


def test_sql_stays_in_its_store():
    """Only the SQLite store speaks SQL."""
    assert {name for name in importers("sqlite3") if not name.startswith("pycmbs.store.sqlite")} == set()


def test_threads_have_one_keeper():
    """What goes wrong in a thread or a pool is logged by its name: whoever needs one has it from there. The demo is a client,
    and imports nothing of the broker."""
    makers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in (
            "threading.Thread",
            "Thread",
            "threading.Timer",
            "Timer",
            "ThreadPoolExecutor",
            "futures.ThreadPoolExecutor",
        )
    }
    assert makers - {"pycmbs.demo"} == {"pycmbs.workers"}


@pytest.mark.parametrize(
    ("seam", "implementations"),
    [("store", ("memory", "sqlite", "couchdb")), ("transport", ("memory", "zeromq")), ("gateways", ("memory",)),
     ("backends", ("dummy", "infrastructure")), ("services", ("federation.backend", "delivery.backend"))],
)  # fmt: skip
def test_nobody_imports_an_implementation(seam, implementations):
    """Implementations are named by the composition root and by their seam's table, which imports when asked."""
    concrete = tuple(f"pycmbs.{seam}.{name}" for name in implementations)
    found = {
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if name != "pycmbs.broker" and not name.startswith(concrete)
        for target in imports(path)
        if target.startswith(concrete)
    }
    assert found == set()


def test_importing_patches_nothing():
    """Nothing in pycmbs patches at import; only a front process does, when it starts."""
    names = [name for name in MODULES if not name.endswith("__main__")]
    script = (
        "import importlib, socket, threading, time, queue, os, select\n"
        "before = [socket.socket, threading.Thread, threading.Lock, time.sleep, queue.Queue, os.read, select.select]\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "after = [socket.socket, threading.Thread, threading.Lock, time.sleep, queue.Queue, os.read, select.select]\n"
        "assert before == after\n"
        "import sys\n"
        "patcher = sys.modules.get('eventlet.patcher')\n"
        "assert patcher is None or not patcher.already_patched, patcher.already_patched\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is(name):
    """Every module, package and public class or function has a docstring; private ones and overloads need none."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or name == "pycmbs.__main__", name
    definitions = ast.FunctionDef | ast.ClassDef
    public = [one for one in tree.body if isinstance(one, definitions) and not one.name.startswith("_")]
    inside = [
        one for cls in public if isinstance(cls, ast.ClassDef) for one in cls.body if isinstance(one, definitions)
    ]
    silent = [one.name for one in (*public, *inside) if not one.name.startswith("_") and not ast.get_docstring(one)]
    assert silent == []


@pytest.mark.parametrize("name", [one for one in MODULES if not MODULES[one].name.startswith("__")])
def test_a_module_is_no_shard(name):
    """What is shorter than this belongs to a neighbour."""
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) >= SHORTEST


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short(name):
    """A module that grows past a few screens wants to be two."""
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) < LONGEST


def test_a_test_says_what_it_promises():
    """Every test of these packages has a docstring of one sentence or more."""
    folders = ("occi", "services", "backends", "engine", "wsgi", "gateways")
    files = [
        *ROOT.glob("tests/test_architecture.py"),
        *(path for one in folders for path in ROOT.glob(f"tests/{one}/**/*.py")),
    ]
    silent = [
        f"{path.name}: {node.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_the_first_line_of_a_module_is_a_sentence(path: Path) -> None:
    """An index, an editor's hover and ``head`` show no more: by tree and first lines one finds the place of a rule."""
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    assert first.endswith(".")
