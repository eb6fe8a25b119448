"""Where a broker is, and who asks it."""

import json

import pytest

from pycmbs.client.places import Place, find
from pycmbs.errors import ConfigurationError, Unavailable


@pytest.fixture
def person(tmp_path):
    """A person with two contexts, of which the first is in use, and a home in which a broker runs."""
    folder = tmp_path / "config" / "pycmbs"
    folder.mkdir(parents=True)
    (folder / "contexts.toml").write_text(
        'current = "x"\n[contexts.x]\nurl = "http://x.example/"\ntoken = "t"\n'
        '[contexts.y]\nurl = "https://y.example"\nca = "/ca.pem"\n'
    )
    run = tmp_path / "home" / "run"
    run.mkdir(parents=True)
    (run / "broker.json").write_text(json.dumps({"url": "http://127.0.0.1:7"}))
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PYCMBS_HOME": str(tmp_path / "home")}


def test_the_nearest_word_counts(person):
    """An argument before the environment, that before the context in use, and that before a home."""
    home = person["PYCMBS_HOME"]
    assert find("http://u:1", context="y", home=home, environ=person).url == "http://u:1"
    assert find(context="y", home=home, environ=person) == Place("https://y.example", ca="/ca.pem")
    assert find(home=home, environ={**person, "PYCMBS_URL": "http://e:1"}).url == "http://127.0.0.1:7"
    named = {**person, "PYCMBS_CONTEXT": "y"}
    assert find(environ={**named, "PYCMBS_URL": "http://e:1/"}).url == "http://e:1"
    assert find(environ=named).url == "https://y.example"
    assert find(environ=person) == Place("http://x.example", token="t")
    assert find(environ={**person, "XDG_CONFIG_HOME": home}).url == "http://127.0.0.1:7"
    assert find(environ={"XDG_CONFIG_HOME": home, "PYCMBS_HOME": home + "/no"}).url == "http://127.0.0.1:8090"


def test_who_asks_is_in_the_environment_or_in_the_context(person):
    """A token of the environment counts wherever the broker is; a context's goes nowhere else."""
    assert find("http://u:1", environ=person).token == ""
    assert find("http://u:1", environ={**person, "PYCMBS_TOKEN": "other"}).token == "other"
    user = find(environ={**person, "PYCMBS_USER": "me:a:b"})
    assert (user.user, user.password, user.token) == ("me", "a:b", "")
    assert "a:b" not in repr(user)


@pytest.mark.parametrize("url", ["127.0.0.1:8090", "ftp://a/", "http://me:secret@a/", "http://a/?b", "http:///"])
def test_what_is_no_url_of_a_broker_is_refused(url):
    """In a sentence that does not repeat a password."""
    with pytest.raises(ConfigurationError) as caught:
        find(url, environ={})
    assert "secret" not in str(caught.value)


def test_what_is_not_there_is_named(person, tmp_path):
    """A context that no one added, a home in which nothing runs, a file that is not a TOML."""
    with pytest.raises(ConfigurationError, match="'z'") as caught:
        find(context="z", environ=person)
    assert "x, y" in caught.value.hint
    with pytest.raises(Unavailable, match="no broker runs"):
        find(home=tmp_path, environ=person)
    (tmp_path / "config" / "pycmbs" / "contexts.toml").write_text("current = ")
    with pytest.raises(ConfigurationError, match=r"contexts\.toml"):
        find(environ=person)
