"""Members: the broker's own, and those it knows."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pycmbs.backends.base import Report
from pycmbs.errors import CmbsError, Conflict, EngineUnavailable, InvalidRequest, SecondLocalMember, Unavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import LAYERS
from pycmbs.occi.topics import check_subscription
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.entities.service import EntityService
from pycmbs.services.federation.credentials import Credentials
from pycmbs.services.federation.departures import LEFT, left_document, left_write
from pycmbs.services.federation.health import HealthService
from pycmbs.services.federation.roster import (
    INSTANCE,
    OWN_MEMBER,
    OWN_MEMBER_ID,
    VERSION,
    Roster,
    Rosters,
    describe,
    is_local,
    socket_of,
    version_of,
)
from pycmbs.services.federation.versions import credible, following, newer
from pycmbs.store.base import Store, Write
from pycmbs.transport.address import check_networked

log = logging.getLogger(__name__)

_WANTED = "wanted"
"""The member's private record of the layers it was told to listen on; ``listening`` says on which it does."""
_BIND_SECONDS = 5.0
_LEAVE_SECONDS = 5.0
_DISCOVERY_SECONDS = 60.0


class MemberService:
    """Everything the broker does with members."""

    def __init__(
        self,
        store: Store,
        entities: EntityService,
        health: HealthService,
        engine: EngineLink,
        check_address: Callable[[str], None],
        *,
        most: int,
        fingerprint: Callable[[], str] = str,
        credentials: Callable[[Roster, str], Credentials | None] = lambda _roster, _id: None,
    ) -> None:
        """``check_address`` raises for a socket URL that is invalid here. ``most``: other members that may be known.
        ``fingerprint``: of this broker's identity; empty while it has none. ``credentials``: by what another member is trusted,
        as of a roster; None where members are not asked for keys."""
        self._credentials = credentials
        self._fingerprint, self._mark = fingerprint, ""
        self._most = most
        self._store = store
        self._rosters = Rosters(store)
        self._health = health
        self._entities = entities
        self._engine = engine
        self._check_address = check_address

    # The known members

    def now(self) -> Roster:
        """The known members as they are now, to be asked more than one thing."""
        return self._rosters.now()

    def local(self) -> Entity | None:
        """The broker's own member, or None while there is none."""
        return self.now().own

    def local_id(self) -> str:
        """The id of the broker's own member, empty while there is none."""
        return self._rosters.own_id()

    def all(self) -> Sequence[Entity]:
        """Every known member, the own one included, in order of creation."""
        return self.now().members

    def by_id(self, id: str) -> Entity | None:
        """The member with this id, or None."""
        return self.now().by_id.get(id)

    # What the backend asks

    def check_new(self, member: Entity) -> Sequence[Write]:
        """Check a member that is to be added; returns writes to go along. Raises SecondLocalMember, InvalidAddress,
        InvalidRequest."""
        member.attributes.setdefault(cmbs.LOCAL, "true")  # the kind may not declare it
        self.check_sockets(member)
        if not is_local(member):
            self.check_room(len(self.now().others))
        left = self._store.get(left_document(member.id))
        back = [Write(left.id, LEFT, revision=left.revision, delete=True)] if left else []
        if not is_local(member):
            return back  # where others listen is theirs to know
        member.attributes[cmbs.LISTENING] = []
        # Others may remember it from an earlier life, in which this clock was ahead.
        member.private |= {VERSION: following(left.body["version"] if left else 0), INSTANCE: uuid.uuid4().hex}
        own = self.local()
        if own is not None and own.path != member.path:
            raise SecondLocalMember(
                f"this broker is the member {own.path} already",
                hint='Say "local": "false" for a member that another broker is, or DELETE the first.',
                location=own.path,
            )
        # Two requests that both see no local member both write this document, and one of them loses.
        mark = self._store.get(OWN_MEMBER_ID)
        return [
            *back,
            Write(OWN_MEMBER_ID, OWN_MEMBER, {"member": member.path}, revision=mark.revision if mark else None),
        ]

    def check_update(self, old: Entity, new: Entity) -> None:
        """Check what a member is to be changed into. Raises InvalidAddress, SocketUnavailable, InvalidRequest."""
        self.check_sockets(new)
        moved = {
            layer: socket_of(new, layer)
            for layer in old.private.get(_WANTED, [])
            if socket_of(new, layer) != socket_of(old, layer)
        }
        if moved:
            self._engine.call("try", {"sockets": list(moved.values())}, seconds=_BIND_SECONDS)
        if is_local(new) and describe(new) != describe(old):
            new.private[VERSION] = following(version_of(old))

    def check_room(self, others: int) -> None:
        """Raises Conflict when no more members may be known than so many others."""
        if others >= self._most:
            raise Conflict(
                f"{others} other members are known here, and no more are accepted",
                hint="The setting most_members says how many may be.",
            )

    def check_sockets(self, member: Entity, *, told: bool = False) -> None:
        """Raise for an invalid socket URL or topic: InvalidAddress, InvalidRequest. ``told``: the member is described by
        others, who have no say in what this machine does within itself."""
        for layer in LAYERS:
            name = cmbs.socket_attribute(layer)
            if url := member.attributes.get(name):
                self._check(url, name)
                if told:
                    check_networked(url)
        for url in cmbs.items(member.attributes, cmbs.CURVE_SOCKETS):
            self._check(url, cmbs.CURVE_SOCKETS)
            if told:
                check_networked(url)
        for url in cmbs.items(member.attributes, cmbs.NEIGHBORS):
            self._check(url, cmbs.NEIGHBORS)
        for topic in cmbs.items(member.attributes, cmbs.MEMBER_TOPICS):
            check_subscription(topic, cmbs.MEMBER_TOPICS)

    def _check(self, url: Any, attribute: str) -> None:
        if not isinstance(url, str):
            raise InvalidRequest(f"{attribute} must hold socket URLs, not {url!r:.80}", attribute=attribute)
        try:
            self._check_address(url)
        except CmbsError as exc:
            exc.data["attribute"] = attribute
            raise

    def is_networked(self, url: str) -> bool:
        """Whether others may be looked for at an address that a member tells."""
        try:
            self._check_address(url)
            check_networked(url)
        except CmbsError:
            return False
        return True

    def apply_sockets(self, member: Entity) -> None:
        """Make the engine's sockets agree with the stored member, if it is the own one."""
        if is_local(member) and member.private.get(_WANTED):
            try:
                self._engine.call("apply_sockets", {}, seconds=_BIND_SECONDS)
            except EngineUnavailable as exc:  # the change is stored, and an engine binds them when it starts
                log.warning("the engine will bind the sockets of %s when it is back: %s", member.path, exc)

    def release(self, member: Entity) -> Sequence[Write]:
        """The writes that go along with the deletion of a member."""
        left = self._store.get(left_document(member.id))
        instance = str(member.private.get(INSTANCE, ""))
        gone = left_write(member.id, version_of(member), instance, left, local=not is_local(member))
        if not is_local(member):
            return [gone]
        mark = self._store.get(OWN_MEMBER_ID)
        return [gone, *([Write(OWN_MEMBER_ID, OWN_MEMBER, revision=mark.revision, delete=True)] if mark else [])]

    def leave(self, member: Entity) -> None:
        """Tell the others that the member was deleted. Its layers end now that it is deleted, and not before: the store
        could still have failed. Those that cannot be told learn it from the others, or by probes."""
        self._health.forget(member.id)
        if is_local(member):
            parameters = {"member": member.id} | {name: member.private.get(name) for name in (VERSION, INSTANCE)}
            try:
                self._engine.call("leave", parameters, seconds=_LEAVE_SECONDS)
            except Unavailable as exc:
                log.warning("the other members could not be told that %s left: %s", member.path, exc)

    def met_at(self, url: str) -> str:
        """The id of the member with this L1 socket, or where it is met by its key; empty when there is none."""
        roster = self.now()
        keyed = (one.id for one in roster.members if url in (one.attributes.get(cmbs.CURVE_SOCKETS) or ()))
        return next((one.id for one in roster.at("l1", url)), "") or next(keyed, "")

    def curve_sockets(self, id: str) -> Sequence[str]:
        """Where a member is reached by those that know its key, if that is not where others reach it."""
        member = self.now().by_id.get(id)
        return member.attributes.get(cmbs.CURVE_SOCKETS) or () if member is not None else ()

    def identified(self, member: Entity) -> dict[str, Any]:
        """By which identity a member is known, and, for another broker's, by what it is trusted. What is not known is left
        out."""
        if is_local(member):
            self._mark = self._mark or self._fingerprint()  # it stays what it is
            return {cmbs.FINGERPRINT: self._mark} if self._mark else {}
        found = self._credentials(self.now(), member.id)
        if found is None:
            return {}
        trust = {"state": found.state, **({"by": found.by} if found.by else {})}
        return {cmbs.TRUST: trust, **({cmbs.FINGERPRINT: found.fingerprint} if found.fingerprint else {})}

    def health(self, member: Entity) -> dict[str, Any]:
        """How another broker's member is doing; empty while that is not known."""
        return {} if is_local(member) else self._health.described(member.id)

    def dead(self) -> Mapping[str, str]:
        """Since when members have been dead, by id: those that are."""
        return self._health.dead()

    def start(self, member: Entity, layers: Sequence[str] = ()) -> Report:
        """Listen on layers, or on all for which the member has a socket: all or none, now and after every restart. Idempotent.

        Raises InvalidRequest (not the own member, or no socket), SocketUnavailable, EngineUnavailable."""
        self._require_own(member)
        wanted = layers or [layer for layer in LAYERS if socket_of(member, layer)]
        if not wanted:
            raise InvalidRequest(
                f"{member.path} has no socket for any layer",
                hint=f"Give it some with a POST, such as {cmbs.socket_attribute('l1')}; all layers may share one.",
                attribute=cmbs.socket_attribute("l1"),
            )
        return self._engine.call("start", {"layers": list(wanted)}, seconds=_BIND_SECONDS)

    def stop(self, member: Entity, layers: Sequence[str] = ()) -> Report:
        """Stop listening on layers, or on all, at once. Idempotent. Raises as :meth:`start`."""
        self._require_own(member)
        return self._engine.call("stop", {"layers": list(layers or LAYERS)}, seconds=_BIND_SECONDS)

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

    def wanted_keyed(self) -> set[str]:
        """Where it is to listen for members that have its key, while it listens at all."""
        own = self.local()
        return set(own.attributes.get(cmbs.CURVE_SOCKETS) or ()) if own is not None and self.wanted() else set()

    def want(self, layers: Collection[str], *, listen: bool) -> None:
        """Record that the own member is to listen on layers, or no more."""
        own = self.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")

        def change(member: Entity) -> bool:
            before = list(member.private.get(_WANTED, []))
            member.private[_WANTED] = [one for one in LAYERS if (listen if one in layers else one in before)]
            return self._says_state(member) or bool(member.private[_WANTED] != before)

        self._entities.modify(own.path, change)

    def _says_state(self, member: Entity) -> bool:
        """Have the own member say that it is ``active`` while it listens, and ``inactive`` when it does not, unless a client
        said that it is something else. Tells whether that is news."""
        before, after = ("inactive", "active") if member.private[_WANTED] else ("active", "inactive")
        if member.attributes.get(cmbs.MEMBER_STATE) != before:
            return False
        member.attributes[cmbs.MEMBER_STATE] = after
        member.private[VERSION] = following(version_of(member))
        return True

    def renew(self, version: int) -> None:
        """Have the own member's description count as newer than ``version``; one of before there were any gets its own, and so
        does one that was made while the clock was ahead, which is not credible."""
        own = self.local()
        if own is not None and (
            not newer(version_of(own), version) or not credible(version_of(own)) or not own.private.get(INSTANCE)
        ):

            def change(member: Entity) -> bool:
                member.private[VERSION] = following(version, version_of(member))
                member.private.setdefault(INSTANCE, uuid.uuid4().hex)
                return True

            self._entities.modify(own.path, change)

    def record_listening(self, layers: Sequence[str]) -> None:
        """Have the own member's ``listening`` say what is bound."""
        own = self.local()
        if own is not None and own.attributes.get(cmbs.LISTENING) != list(layers):

            def change(member: Entity) -> bool:
                member.attributes[cmbs.LISTENING] = list(layers)
                member.private[VERSION] = following(version_of(member))  # others are told
                return True

            self._entities.modify(own.path, change)
