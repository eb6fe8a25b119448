"""Settings: where each comes from, and the sentence a wrong one gets."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pycmbs.config import FILES, SETTINGS, Settings, render_conf
from pycmbs.config_loading import load_settings
from pycmbs.errors import ConfigurationError
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    # No ./conf of the checkout, and a home of our own for `~`.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def conf(tmp_path, file, text):
    directory = tmp_path / "etc"
    directory.mkdir(exist_ok=True)
    (directory / file).write_text(text, encoding="utf-8")
    return directory


def sentence(config_dir=None, environ=None, flags=None):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config_dir, environ or {}, flags)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_defaults_are_those_of_the_readme(tmp_path):
    """Without a flag, a variable or a file, the broker is on 127.0.0.1:8090 with an embedded store in ~/.pycmbs."""
    settings = load_settings(None, {})
    assert settings == Settings()
    assert settings.home == tmp_path / ".pycmbs"
    assert settings.run_dir == tmp_path / ".pycmbs" / "run"
    assert settings.url == "http://127.0.0.1:8090/"
    assert (settings.workers, settings.max_body, settings.preload, settings.store) == (
        2,
        4 * 1024**2,
        "cmbs",
        "sqlite:",
    )
    assert (settings.delivery_deadline, settings.retry_first, settings.retry_most) == (3600, 0.5, 30)
    assert (settings.neighbor_timeout, settings.window, settings.poll) == (2, 64, 1)
    assert (settings.log_level, settings.log_file) == ("info", "")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    """The nearer to the command a value stands, the more it counts."""
    directory = conf(tmp_path, "occi_server.conf", "[server]\nport = 1\nworkers = 3\nhome = /in/file\n")
    environ = {"PYCMBS_PORT": "2", "PYCMBS_WORKERS": "4"}
    settings = load_settings(directory, environ, {"port": "5", "workers": None})
    assert (settings.port, settings.workers, settings.home) == (5, 4, Path("/in/file"))


def test_an_empty_variable_counts_as_unset():
    """`PYCMBS_PORT=` in a compose file means the default, not a fault."""
    assert load_settings(None, {"PYCMBS_PORT": ""}).port == 8090


def test_every_file_is_read_and_may_be_missing(tmp_path):
    """The three files of the README each set what belongs to them; one that is not there changes nothing."""
    directory = conf(tmp_path, "couchdb_server.conf", "[store]\nstore = sqlite:/x/100%25.db\n")
    conf(tmp_path, "OCCILogging.conf", "[logging]\nlog_level = DEBUG\n")
    settings = load_settings(directory, {})
    assert (settings.store, settings.log_level, settings.port) == ("sqlite:/x/100%25.db", "debug", 8090)


def test_the_directory_comes_from_flag_then_variable_then_conf_here(tmp_path):
    """--config wins over PYCMBS_CONFIG, which wins over ./conf, which counts only with an occi_server.conf in it."""
    (tmp_path / "conf").mkdir()
    assert load_settings(None, {}).port == 8090
    (tmp_path / "conf" / "occi_server.conf").write_text("[server]\nport = 1\n", encoding="utf-8")
    assert load_settings(None, {}).port == 1
    directory = conf(tmp_path, "occi_server.conf", "[server]\nport = 2\n")
    assert load_settings(None, {"PYCMBS_CONFIG": str(directory)}).port == 2
    (tmp_path / "flag").mkdir()
    assert load_settings(tmp_path / "flag", {"PYCMBS_CONFIG": str(directory)}).port == 8090


def test_a_directory_that_is_not_there_is_named(tmp_path):
    """A mistyped --config is refused, not silently replaced by defaults."""
    assert sentence(tmp_path / "nowhere") == f"--config names {tmp_path}/nowhere, which is not a directory"
    assert "PYCMBS_CONFIG" in sentence(environ={"PYCMBS_CONFIG": "/nowhere"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nport = 80x\n", "port in {path} [server] is '80x', but must be a whole number from 0 to 65535"),
        ("[server]\nport =\n", "port in {path} [server] is '', but must be"),
        ("[sever]\nport = 1\n", "{path} sets port in [sever], but it belongs in occi_server.conf [server]"),
        (
            "[sever]\nprot = 1\n",
            "{path} has an unknown section [sever], but there is only [server], [tls], [member], [delivery]",
        ),
        ("[server]\nprot = 1\n", "{path} [server] sets prot, which is unknown; known there: home, host, port"),
        ("[server]\nwindow = 1\n", "{path} sets window in [server], but it belongs in occi_server.conf [delivery]"),
        ("[server]\nstore = x\n", "belongs in couchdb_server.conf [store]"),
        ("[DEFAULT]\nnothing = 1\n", "{path} has an unknown section [DEFAULT]"),
        ("port = 1\n", "{path} cannot be read: line 1 stands before any [section]"),
        ("[server]\nport\n", "{path} cannot be read: line 2 is neither"),
        ("[server]\nport = 1\nport = 2\n", "{path} cannot be read: line 3 sets port a second time"),
        ("[server]\n[server]\n", "{path} cannot be read: line 2 opens [server] a second time"),
        ("[delivery]\nretry_first = nan\n", "must be a number from 0.01 to 3600 (seconds)"),
        ("[delivery]\nretry_first = 60\n", "retry_most is 30 s and retry_first 60 s"),
        ("[server]\npreload = all\n", "must be cmbs or none"),
        ("[server]\nworkers = 0\n", "must be a whole number from 1 to 64 (processes)"),
    ],
)
def test_a_fault_in_a_file_is_one_sentence_that_names_it(tmp_path, text, said):
    """File, section, setting, value and what is allowed are all in the sentence."""
    directory = conf(tmp_path, "occi_server.conf", text)
    assert said.format(path=directory / "occi_server.conf") in sentence(directory)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """Neither a directory in the place of a file nor bytes that are no text pass as an empty file."""
    directory = conf(tmp_path, "OCCILogging.conf", "")
    (directory / "OCCILogging.conf").write_bytes(b"\xff\xfe\x00")
    assert "OCCILogging.conf cannot be read: it is not UTF-8 text" in sentence(directory)
    (directory / "OCCILogging.conf").unlink()
    (directory / "OCCILogging.conf").mkdir()
    assert "OCCILogging.conf cannot be read: Is a directory" in sentence(directory)


def test_a_wrong_flag_or_variable_is_named():
    """The sentence says which flag or variable to change."""
    assert sentence(flags={"max_body": "4M"}).startswith("the flag --max-body is '4M', but must be a whole number")
    assert sentence(environ={"PYCMBS_PORT": "tcp://10.0.0.1:80"}).startswith("the environment variable PYCMBS_PORT is")
    assert "--port" in sentence(flags={"port": "9" * 5000})


@pytest.mark.parametrize("host", ["example.org", "", "127.0.0.1:80", "10.0.0.0/8"])
def test_a_host_is_an_address(host):
    """Names would mean what a name server says."""
    assert sentence(flags={"host": host}).startswith(f"the flag --host is {host!r}, but must be an IP address")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://127.0.0.1:8090/"),
        ("127.0.0.2", "http://127.0.0.2:8090/"),
        ("::1", "http://[::1]:8090/"),
        ("[::1]", "http://[::1]:8090/"),
    ],
)
def test_loopback_addresses_pass_in_every_spelling(host, url):
    """However loopback is written, the URL of the start line can be pasted into curl."""
    assert load_settings(None, {}, {"host": host}).url == url
    assert load_settings(None, {}, {"host": host, "tls_cert": "x"}).url == url.replace("http://", "https://")


def test_settings_survive_the_way_to_a_child():
    """A child gets exactly the settings of its parent."""
    settings = load_settings(None, {}, {"port": "0", "retry_first": "0.25", "log_file": "x.log", "home": "~/é"})
    assert Settings.from_json(settings.to_json()) == settings
    assert dataclasses.replace(settings, port=1).port == 1


@pytest.mark.parametrize("file", FILES)
def test_the_shipped_files_are_those_of_the_table(file):
    """conf/ shows every setting as it is declared; `python -c` with render_conf makes them again."""
    assert (ROOT / "conf" / file).read_text(encoding="utf-8") == render_conf(file)


def test_every_line_of_a_shipped_file_can_be_uncommented(tmp_path):
    """Taking the `# ` away from every setting gives the defaults."""
    for file in FILES:
        lines = render_conf(file).splitlines()
        names = tuple(f"# {setting.name} =" for setting in SETTINGS)
        conf(tmp_path, file, "\n".join(line[2:] if line.startswith(names) else line for line in lines))
    assert load_settings(tmp_path / "etc", {}) == Settings()


@pytest.mark.parametrize("which", ["conf", "conf/occi_server.conf"])
def test_a_conf_that_others_may_write_is_not_read(tmp_path, monkeypatch, caplog, which):
    """Wherever one happens to stand: what someone else may have put there sets nothing, and that is said."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "occi_server.conf").write_text("[server]\nport = 1\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}).port == 1
    (tmp_path / which).chmod(0o777)
    assert load_settings(None, {}).port == 8090
    assert f"others may write {which}" in caplog.text
    assert load_settings(Path("conf"), {}).port == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_conf_of_another_user_is_not_read(tmp_path, monkeypatch, caplog):
    """Nor is one that another user made, or a link that he made to one of root's."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "occi_server.conf").write_text("[server]\nport = 1\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to("own")
    assert load_settings(None, {}).port == 1
    os.chown(tmp_path / "conf", 65534, -1, follow_symlinks=False)
    assert load_settings(None, {}).port == 8090
    assert "belongs to another user" in caplog.text


@pytest.mark.parametrize(
    "url", ["couchdb://user:s3cret\t@h/db", "couchdb//user:s3cret@h", "s3cret@h:5984/db", "http://user:s3cret@h/db",
            "couchdb://user:s3cret@h:99999/db", "couchdb://user:s3cret@h", "sqlite://user:s3cret@h", "couchdb://user:s3cret@[::/x"]
)  # fmt: skip
def test_what_may_be_a_password_is_never_shown(url, tmp_path):
    """Whatever is wrong with a store's URL, the sentence does not repeat it; nor do settings that are printed."""

    def opened():
        settings = load_settings(None, {}, {"store": url})
        assert "s3cret" not in repr(settings)
        open_store(settings.store_url(), home=tmp_path, runtime=ThreadRuntime())

    with pytest.raises(ConfigurationError) as caught:
        opened()
    assert "s3cret" not in caught.value.message + caught.value.hint + repr(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_password_comes_from_a_file(tmp_path):
    """The first line of the file, whatever is in it, is the password of the user in the URL."""
    file = tmp_path / "password"
    file.write_text("p@ss:w/rd%\nand a note\n")
    settings = load_settings(None, {}, {"store": "couchdb+https://me@h/db", "store_password_file": str(file)})
    assert settings.store_url() == "couchdb+https://me:p%40ss%3Aw%2Frd%25@h/db"
    assert "p%40ss" not in repr(settings)
    assert "p@ss" not in json.dumps(settings.to_json())
    assert load_settings(None, {}, {"store": "couchdb://me:x@h/db"}).store_url() == "couchdb://me:x@h/db"


@pytest.mark.parametrize(
    ("store", "content"),
    [("sqlite:", "x"), ("couchdb://h/db", "x"), ("couchdb://me:other@h/db", "x"), ("couchdb://me@h/db", None),
     ("couchdb://me@h/db", ""), ("couchdb://me@h/db", "\nx")],
)  # fmt: skip
def test_a_password_file_that_cannot_be_used_is_said_so(tmp_path, store, content):
    """No user to have it, another password, no file, nothing in it: a sentence."""
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match="store_password_file"):
        load_settings(None, {}, {"store": store, "store_password_file": str(file)}).store_url()


@pytest.mark.parametrize(
    ("url", "file"),
    [("sqlite:", "pycmbs.db"), ("SQLite:x.db", "x.db"), ("sqlite:{}/y.db", "y.db"), ("sqlite://{}/y.db", "y.db")],
)  # fmt: skip
def test_a_path_in_a_url_is_what_it_says(tmp_path, url, file):
    """A relative one is in the home, an absolute one is where it is, with one slash before it or three."""
    open_store(url.format(tmp_path), home=tmp_path, runtime=ThreadRuntime()).close()
    assert [one.name for one in tmp_path.iterdir()] == [file]


def test_a_comment_among_rules_ends_with_its_line():
    """The rules after it count, too."""
    text = "a read member  # the first site\n# all others\nb reboot;\n\n* read message"
    assert load_settings(None, {}, {"allow": text}).allow == "a read member; b reboot; * read message"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_at", "tcp://a:1=tcp://b:2; tcp://a:1=tcp://c:3"),
        ("listen_at", "tcp://a:1"),
        ("listen_at", "tcp://a:1=tcp://*:2"),
        ("neighbor", "tcp://a:1 tcp://b:0"),
        ("listen", "tcp://a:70000"),
        ("allow", "a read member; oops"),
    ],
)
def test_what_other_parts_know_the_grammar_of_is_checked_by_them(name, value):
    """Socket URLs by the transport, rules by the rules of access; the sentence says what would do."""
    assert f"is {value!r}, but must be" in sentence(flags={name: value})
