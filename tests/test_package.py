"""What is packaged: the source distribution, and what an index shows of it."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked() -> list[str]:
    """The files of the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode or not (ROOT / ".git").exists():
        pytest.skip("this is no repository")
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_the_source_distribution_has_everything():
    """Who packages pyCMBS from it has the documents, the settings, the examples and all tests: MANIFEST.in names each file."""
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()]
    grafted = tuple(f"{name}/" for verb, *names in filter(None, lines) if verb == "graft" for name in names)
    single = [name for verb, *names in filter(None, lines) if verb == "include" for name in names]
    by_itself = {"MANIFEST.in", "pyproject.toml", "setup.py"}
    missing = [
        name
        for name in tracked()
        if not name.startswith(grafted)
        and name not in by_itself
        and not any(fnmatch.fnmatch(name, one) for one in single)
    ]
    assert missing == []


def test_the_description_leads_nowhere():
    """An index shows it without the files beside it, so it has no link to one."""
    text = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution, unpacked, and the wheel that is made of it, unpacked: no installer and no network is needed."""
    folder = tmp_path_factory.mktemp("built")
    for name in tracked():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    (made,) = _made("sdist", folder / "source", folder)
    shutil.unpack_archive(folder / made, folder)
    source = folder / made.removesuffix(".tar.gz")
    (wheel,) = _made("wheel", source, folder)
    shutil.unpack_archive(folder / wheel, folder / "wheel", "zip")
    return source, folder / "wheel"


def _made(what, source, folder):
    script = f"from setuptools import build_meta; print(build_meta.build_{what}({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1:]


def _run(where, *words, cwd):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYCMBS_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**environ, "PYTHONPATH": str(where)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_source_distribution_can_be_tested(built):
    """Its tests run where it was unpacked, and find all that they read."""
    source, _ = built
    assert {"doc", "conf", "json_examples", "examples", "packaging", "tests", "Makefile"} <= {
        path.name for path in source.iterdir()
    }
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_config.py")
    assert " passed" in _run(source, *words, cwd=source)


def test_the_wheel_works_anywhere(built, tmp_path):
    """It has all that a broker needs, and what shells, man and service managers look for; the demo runs without the rest."""
    _, wheel = built
    (data,) = wheel.glob("*.data/data/share")
    found = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    assert found == {
        "man/man1/pycmbs.1",
        "bash-completion/completions/pycmbs",
        "zsh/site-functions/_pycmbs",
        "fish/vendor_completions.d/pycmbs.fish",
        *(f"pycmbs/{name}" for name in ("pycmbs.service", "alerts.yml", "grafana.json")),
    }
    (entries,) = wheel.glob("*.dist-info/entry_points.txt")
    assert "pycmbs = pycmbs.cli:main" in entries.read_text()
    where = _run(wheel, "-P", "-c", "import pycmbs; print(pycmbs.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(wheel)
    assert "paris" in _run(wheel, "-P", "-m", "pycmbs", "demo", cwd=tmp_path)


def test_the_unit_is_one(built, tmp_path):
    """There is nothing that systemd has to say about it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    text = (ROOT / "packaging" / "pycmbs.service").read_text(encoding="utf-8")
    unit = tmp_path / "pycmbs.service"
    unit.write_text(
        re.sub(
            r"^(Documentation=.*|ExecStart=\S+)",
            lambda found: "ExecStart=/bin/true" * ("Exec" in found[0]),
            text,
            flags=re.MULTILINE,
        )
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
