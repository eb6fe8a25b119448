"""Topics: one rule for what messages are about and for what members subscribe to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import InvalidRequest
from pycmbs.occi.topics import LONGEST, check_subscription, check_topic, is_subscription, matches

NAME = "cmbs.message.topics"
TOPICS = [
    "net",
    "net.link",
    "a.b.c.d",
    "c++",
    "c#",
    "n\u00e9t.\u65e5\u672c",
    "e\u0301",
    "1.2.3",
    "a-b_c/d:e@f",
    "x" * LONGEST,
]
NEVER = ["", ".", "a.", ".a", "a..b", "a b", "net.link ", " net", "a\tb", "a\nb", "a\u00a0b", "a.\x00", "a.\x7f", "#", "net.#",
         "net.+", "li*", "*li", "a.>b", "a>", "**", ">>", "x" * (LONGEST + 1), "a." * 5000, None, 5, True, [], {}]  # fmt: skip
WILD = ["*", ">", "a.*", "*.b", "a.*.c", "a.>", "*.*", "*.>"]
NOT_LAST = [">.link", "a.>.b", ">.>", ">.*"]


@pytest.mark.parametrize("topic", TOPICS)
def test_words_with_dots_between_are_a_topic(topic):
    """Any printable words, for a message as for a subscriber; each subscription without wildcards matches itself."""
    check_topic(topic, NAME)
    check_subscription(topic, NAME)
    assert matches(topic, topic)


@pytest.mark.parametrize("topic", NEVER + NOT_LAST)
def test_what_can_never_match_is_no_topic(topic):
    """Neither side has blanks, empty words, half wildcards or those of other protocols; the error names the topic."""
    for check in (check_topic, check_subscription):
        with pytest.raises(InvalidRequest) as caught:
            check(topic, NAME)
        assert caught.value.data["attribute"] == NAME
        assert caught.value.data["topic"] == str(topic)[:300]
        assert len(caught.value.message) < 400


@pytest.mark.parametrize("topic", WILD)
def test_wildcards_are_for_subscribers(topic):
    """A message is about one topic; a member is interested in many."""
    check_subscription(topic, NAME)
    with pytest.raises(InvalidRequest):
        check_topic(topic, NAME)


WORDS = st.sampled_from(["a", "b", "*", ">", "#", "", "a b", "a*", "c"])


@given(st.lists(WORDS, max_size=5).map(".".join))
def test_a_subscription_is_one_that_something_matches(text):
    """What is taken from a subscriber matches a topic that a message can have: that with a word for each wildcard."""
    if is_subscription(text):
        topic = ".".join("w" if word in ("*", ">") else word for word in text.split("."))
        check_topic(topic, NAME)
        assert matches(text, topic)


def test_nothing_is_normalised():
    """A letter in one code point and the same in two are two topics, as are the two cases of one."""
    assert not matches("\u00e9", "e\u0301")
    assert not matches("net", "Net")


def test_an_empty_word_is_no_word():
    """What a broker of another version sends: a..b has no word between the dots."""
    assert not matches("a.*.b", "a..b")
