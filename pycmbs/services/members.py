"""Members: the broker's own, those it knows, and how it comes to know them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from pycmbs.backends.base import Report
from pycmbs.errors import CmbsError, Conflict, EngineUnavailable, InvalidRequest, RevisionConflict, SecondLocalMember
from pycmbs.occi import cmbs, naming
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.naming import LAYERS
from pycmbs.occi.rendering.json_2012 import entity_document
from pycmbs.services.categories import CategoryService
from pycmbs.services.documents import ENTITY, document_id, entity_from, entity_write
from pycmbs.services.entities import EntityService
from pycmbs.services.link import EngineLink
from pycmbs.store.base import Query, Store, Write

log = logging.getLogger(__name__)

_LOCAL_CLAIM = "claim:local-member"
_WANTED = "wanted"
"""The member's private record of the layers it was told to listen on; ``listening`` says on which it does."""
_BIND_SECONDS = 5.0
_DISCOVERY_SECONDS = 60.0
_SHARED = ("state", *(f"{layer}_socket" for layer in LAYERS), "neighbors_socket", "topics")


class MemberService:
    """Everything the broker does with members."""

    def __init__(
        self,
        store: Store,
        categories: CategoryService,
        entities: EntityService,
        engine: EngineLink,
        check_address: Callable[[str], None],
    ) -> None:
        self._store = store
        self._categories = categories
        self._entities = entities
        self._engine = engine
        self._check_address = check_address

    # Who there is

    def local(self) -> Entity | None:
        """The broker's own member, or None while there is none."""
        claim = self._store.get(_LOCAL_CLAIM)
        found = self._store.get(document_id(claim.body["member"])) if claim else None
        return entity_from(found) if found else None

    def local_id(self) -> str:
        """The id of the broker's own member, empty while there is none."""
        claim = self._store.get(_LOCAL_CLAIM)
        return str(claim.body["member"]).rpartition("/")[2] if claim else ""

    def all(self) -> list[Entity]:
        """Every known member, the own one included, in order of creation."""
        return [entity_from(one) for one in self._store.find(Query(ENTITY, {"kind": cmbs.MEMBER}))]

    def at(self, layer: str, socket: str) -> list[Entity]:
        """The members with this socket of a layer, in order of creation: one, unless two claim it."""
        equals = {"kind": cmbs.MEMBER, cmbs.socket_attribute(layer): socket}
        return [entity_from(one) for one in self._store.find(Query(ENTITY, equals))]

    def by_id(self, id: str) -> Entity | None:
        """The member with this id, or None."""
        found = self._store.get(document_id(cmbs.MEMBER_LOCATION + id))
        return entity_from(found) if found is not None and found.body["kind"] == cmbs.MEMBER else None

    # What the backend asks

    def check_new(self, member: Entity) -> Sequence[Write]:
        """See :class:`~pycmbs.backends.base.Members`. Raises SecondLocalMember, InvalidAddress, InvalidRequest."""
        member.attributes.setdefault(cmbs.LOCAL, "true")  # the kind may not declare it
        self._check_sockets(member)
        if not is_local(member):
            return ()  # where others listen is theirs to know
        member.attributes[cmbs.LISTENING] = []
        own = self.local()
        if own is not None and own.path != member.path:
            raise SecondLocalMember(
                f"this broker is the member {own.path} already",
                hint='Say "local": "false" for a member that another broker is, or DELETE the first.',
                location=own.path,
            )
        # Two requests that both see no local member both write this document, and one of them loses.
        claim = self._store.get(_LOCAL_CLAIM)
        return [Write(_LOCAL_CLAIM, "claim", {"member": member.path}, revision=claim.revision if claim else None)]

    def check_update(self, old: Entity, new: Entity) -> None:
        """See :class:`~pycmbs.backends.base.Members`. Raises InvalidAddress, SocketUnavailable, InvalidRequest."""
        self._check_sockets(new)
        moved = {
            layer: socket_of(new, layer)
            for layer in old.private.get(_WANTED, [])
            if socket_of(new, layer) != socket_of(old, layer)
        }
        if moved:
            self._engine.call("try", {"sockets": list(moved.values())}, seconds=_BIND_SECONDS)

    def _check_sockets(self, member: Entity) -> None:
        for layer in LAYERS:
            name = cmbs.socket_attribute(layer)
            if url := member.attributes.get(name):
                self._check(url, name)
        for url in member.attributes.get(cmbs.NEIGHBORS) or []:
            self._check(url, cmbs.NEIGHBORS)
        for topic in member.attributes.get(cmbs.MEMBER_TOPICS) or []:
            if not isinstance(topic, str) or not topic or any(char.isspace() for char in topic):
                raise InvalidRequest(f"{topic!r} is not a topic", attribute=cmbs.MEMBER_TOPICS)

    def _check(self, url: Any, attribute: str) -> None:
        if not isinstance(url, str):
            raise InvalidRequest(f"{attribute} must hold socket URLs, not {url!r:.80}", attribute=attribute)
        try:
            self._check_address(url)
        except CmbsError as exc:
            exc.data["attribute"] = attribute
            raise

    def settle(self, member: Entity) -> None:
        """See :class:`~pycmbs.backends.base.Members`."""
        if is_local(member) and member.private.get(_WANTED):
            try:
                self._engine.call("settle", {}, seconds=_BIND_SECONDS)
            except EngineUnavailable as exc:  # the change is stored, and an engine that starts settles by itself
                log.warning("the engine will bind the sockets of %s when it is back: %s", member.path, exc)

    def release(self, member: Entity) -> Sequence[Write]:
        """See :class:`~pycmbs.backends.base.Members`."""
        if not is_local(member):
            return ()
        for layer in list(member.private.get(_WANTED, [])):
            self.stop(member, layer)
        member.revision = self._entities.stored(member.path).revision
        claim = self._store.get(_LOCAL_CLAIM)
        return [Write(_LOCAL_CLAIM, "claim", revision=claim.revision, delete=True)] if claim else ()

    def start(self, member: Entity, layer: str) -> Report:
        """Listen on a layer, now and after every restart. Idempotent.

        Raises InvalidRequest (not the own member), SocketUnavailable, EngineUnavailable."""
        self._require_own(member)
        return self._engine.call("start", {"layer": layer}, seconds=_BIND_SECONDS)

    def stop(self, member: Entity, layer: str) -> Report:
        """Stop listening on a layer at once. Idempotent. Raises as :meth:`start`."""
        self._require_own(member)
        return self._engine.call("stop", {"layer": layer}, seconds=_BIND_SECONDS)

    def check_neighbors(self, member: Entity) -> Report:
        """Walk from the neighbours' sockets through the whole federation; tells whom it found and whom not."""
        self._require_own(member)
        return self._engine.call("discover", {}, seconds=_DISCOVERY_SECONDS)

    def _require_own(self, member: Entity) -> None:
        if not is_local(member):
            own = self.local()
            raise InvalidRequest(
                f"{member.path} is another broker's member",
                hint=f"This broker's is {own.path}." if own else "This broker has no member of its own yet.",
                location=member.path,
            )

    # What the engine asks

    def wanted(self) -> dict[str, str]:
        """Where the own member was told to listen: socket URL by layer."""
        own = self.local()
        if own is None:
            return {}
        return {layer: socket_of(own, layer) for layer in own.private.get(_WANTED, []) if socket_of(own, layer)}

    def want(self, layer: str, *, listen: bool) -> None:
        """Record that the own member is to listen on a layer, or no more."""
        own = self.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")

        def change(member: Entity) -> bool:
            before = list(member.private.get(_WANTED, []))
            member.private[_WANTED] = [one for one in LAYERS if (listen if one == layer else one in before)]
            return bool(member.private[_WANTED] != before)

        self._entities.modify(own.path, change)

    def record_listening(self, layers: Sequence[str]) -> None:
        """Have the own member's ``listening`` say what is bound."""
        own = self.local()
        if own is not None and own.attributes.get(cmbs.LISTENING) != list(layers):

            def change(member: Entity) -> bool:
                member.attributes[cmbs.LISTENING] = list(layers)
                return True

            self._entities.modify(own.path, change)

    def description(self) -> dict[str, Any] | None:
        """The own member as it is told to others; None while there is none."""
        own = self.local()
        return describe(own) if own is not None else None

    def sockets_l1(self) -> list[str]:
        """The L1 sockets of all known members, the own one first."""
        members = sorted(self.all(), key=lambda one: not is_local(one))
        return list(dict.fromkeys(url for member in members if (url := socket_of(member, "l1"))))

    def learn(self, description: Any) -> tuple[Entity, bool]:
        """Take in another member as it describes itself; returns it, and whether it was unknown.

        Raises InvalidRequest for a description that is none, Conflict when it claims the own member's id.
        """
        draft = _described(description)
        own = self.local()
        if own is not None and draft.id == own.id:
            theirs = self._attributes(draft).get(cmbs.socket_attribute("l1"))
            if theirs != socket_of(own, "l1"):
                raise Conflict(f"two members claim the id {own.id}", hint="Give one of them another id.", id=own.id)
            return own, False
        for _ in range(20):
            try:
                return self._learned(draft)
            except RevisionConflict:
                continue
        raise Conflict(f"the member {draft.id} keeps changing")

    def _learned(self, draft: Draft) -> tuple[Entity, bool]:
        attributes = {**self._attributes(draft), cmbs.LOCAL: "false"}
        id = draft.id or ""
        known = self.by_id(id)
        member = Entity(
            id, cmbs.MEMBER, cmbs.MEMBER_LOCATION + id, (), attributes, draft.title or "", draft.summary or ""
        )
        self._check_sockets(member)
        if known is not None:
            member.private = known.private
            if (known.attributes, known.title, known.summary) == (member.attributes, member.title, member.summary):
                return known, False
        self._store.write([entity_write(member, revision=known.revision if known else None)])
        return member, known is None

    def _attributes(self, draft: Draft) -> dict[str, Any]:
        """What of a description the member kind here has; a newer broker may send more."""
        registry = self._categories.registry()
        schema = registry.schema(registry.kind(cmbs.MEMBER), ())
        wanted = {name: schema.definitions[name] for name in schema.definitions if name.startswith("cmbs.member.")}
        given = draft.attributes or {}
        inside = given.get("cmbs", {})
        nested = inside.get("member", {}) if isinstance(inside, dict) else {}
        flat = {f"cmbs.member.{key}": value for key, value in (nested.items() if isinstance(nested, dict) else ())}
        found = {}
        for name, value in {**given, **flat}.items():
            known = wanted.get(naming.canonical(name))
            if known is not None and not known.internal and known.name != cmbs.LOCAL:
                found[known.name] = known.check(value)
        return found


def describe(own: Entity) -> dict[str, Any]:
    """The own member as it is told to others, ``local`` being false there."""
    shared = own.copy()
    names = {f"cmbs.member.{name}" for name in _SHARED}
    shared.attributes = {name: value for name, value in own.attributes.items() if name in names}
    shared.attributes[cmbs.LOCAL] = "false"
    return entity_document(shared)


def _described(description: Any) -> Draft:
    attributes = description.get("attributes") if isinstance(description, dict) else None
    if attributes is None or description.get("kind") != cmbs.MEMBER or not isinstance(attributes, dict):
        raise InvalidRequest("this is no description of a member")
    title, summary = (str(description.get(name) or "") for name in ("title", "summary"))
    return Draft(cmbs.MEMBER, naming.bare_id(description.get("id")), (), attributes, title, summary)


def is_local(member: Entity) -> bool:
    """Whether it is the broker's own member."""
    return bool(member.attributes.get(cmbs.LOCAL) == "true")


def socket_of(member: Entity, layer: str) -> str:
    """The member's socket URL of a layer, empty if it has none."""
    return str(member.attributes.get(cmbs.socket_attribute(layer)) or "")
