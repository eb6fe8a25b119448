"""What clients see of a store in trouble: for each fault the right code, and when it is over nothing is lost or half there."""

from __future__ import annotations

import pytest

from tests.services.world import OWN, add_member, add_own
from tests.store.faulty import Fault, FaultyStore
from tests.wsgi.conftest import Front

KIND = "http://houssem.org/cmbs#message"
L2 = ["http://houssem.org/cmbs#l2"]
MESSAGE = {"kind": KIND, "id": "new", "mixins": L2, "attributes": {"cmbs.message.message_content": "x"}}
UNSENT = "/cmbs/message/unsent"
REQUESTS = {
    "create": ("POST", "/cmbs/message/", {"resources": [MESSAGE]}),
    "put": ("PUT", "/cmbs/message/new", MESSAGE),
    "update": ("POST", UNSENT, {"attributes": {"cmbs.message.message_content": "changed"}}),
    "delete": ("DELETE", UNSENT),
    "delete all": ("DELETE", "/cmbs/message/"),
    "send": ("POST", f"{UNSENT}?action=send_l2", {}),
    "register": ("POST", "/-/", {"mixins": [{"term": "tag", "scheme": "http://example.org/t#", "location": "/tag/"}]}),
    "read": ("GET", UNSENT),
    "list": ("GET", "/cmbs/message/"),
    "filter": ("GET", "/cmbs/message/?attribute=cmbs.message.origin&value=" + OWN),
    "categories": ("GET", "/-/"),
}
READS = {"read", "list", "filter", "categories"}


@pytest.fixture
def front() -> Front:
    """A broker whose store can fail in every way; it knows two members, and has a message to send to them."""
    front = Front(store=FaultyStore(atomic=False))
    add_own(front.broker)
    add_member(front.broker, "a", 1)
    add_member(front.broker, "b", 2)
    document = {"kind": KIND, "mixins": L2, "attributes": {"cmbs.message.message_content": "first"}}
    assert front.request("PUT", UNSENT, document).status_code == 201
    return front


def snapshot(front: Front) -> list[tuple[str, object]]:
    """Everything that clients can see."""
    paths = ["/-/", "/cmbs/member/", "/cmbs/message/"]
    seen = [(path, front.request("GET", path).json) for path in paths]
    listed = [url.partition("8090")[2] or url.partition("localhost")[2] for url in seen[2][1]["X-OCCI-Location"]]
    return seen + [(path, front.request("GET", path).json) for path in listed]


def strikes(fault: Fault, name: str) -> bool:
    """Whether the fault keeps this request from being answered as usual."""
    if fault is Fault.SLOW:
        return False
    return fault is Fault.UNAVAILABLE or (fault is Fault.CORRUPT) or name not in READS


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(
    "fault", [one for one in Fault if one not in (Fault.CONFLICT, Fault.NOT_DURABLE, Fault.PARTIAL)]
)
def test_what_a_store_in_trouble_is_answered_with(front: Front, fault: Fault, name: str) -> None:
    """503 with Retry-After and a sentence, or the usual answer where the fault is not in the way; after a refusal all is as it
    was before, and the same request passes."""
    before = snapshot(front)
    front.store.arm(fault, seconds=0.005)
    answer = front.request(*REQUESTS[name])
    struck = front.store.failures
    front.store.disarm()
    if not strikes(fault, name):
        assert answer.status_code < 300
        return
    assert struck
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "store-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json["error"]["message"]
    assert snapshot(front) == before
    assert front.request(*REQUESTS[name]).status_code < 300


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in READS])
def test_others_that_are_always_faster(front: Front, name: str) -> None:
    """A change that never gets its turn is a 409 that says to try again, and changes nothing."""
    before = snapshot(front)
    front.store.arm(Fault.CONFLICT)
    answer = front.request(*REQUESTS[name])
    front.store.disarm()
    assert answer.status_code == 409
    assert answer.json["error"]["message"]
    assert snapshot(front) == before
    assert front.request(*REQUESTS[name]).status_code < 300


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in READS])
@pytest.mark.parametrize("fault", [Fault.NOT_DURABLE, Fault.PARTIAL])
def test_what_may_be_there_in_part(front: Front, fault: Fault, name: str) -> None:
    """A write of which the store is not sure, or of which it took a part, is a 503; what clients see afterwards is all of it
    or nothing, and the same request ends where it would have without the fault."""
    before = ledger_free(snapshot(front))
    front.store.arm(fault, times=1)
    answer = front.request(*REQUESTS[name])
    front.store.disarm()
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "store-unavailable")
    meanwhile = ledger_free(snapshot(front))
    again = front.request(*REQUESTS[name])
    assert again.status_code < 300 or (again.status_code in (404, 409) and meanwhile != before)
    final = ledger_free(snapshot(front))
    assert meanwhile in (before, final)


def ledger_free(seen: list[tuple[str, object]]) -> list[tuple[str, object]]:
    """What was seen, without times."""
    return [(path, strip(document)) for path, document in seen]


def strip(value: object) -> object:
    """A document without what differs from one moment to the next."""
    if isinstance(value, dict):
        return {name: strip(one) for name, one in value.items() if name not in ("accepted", "deadline", "updated")}
    return [strip(one) for one in value] if isinstance(value, list) else value
