"""Remembers departed members for a week, so that old news does not bring them back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from pycmbs import clock
from pycmbs.errors import ClaimedId, Departed, RevisionConflict
from pycmbs.ids import canonical_id
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.federation import versions
from pycmbs.services.federation.health import ALIVE, HealthService
from pycmbs.services.federation.roster import INSTANCE, VERSION, Roster, is_local, version_of
from pycmbs.services.records.entities import entity_delete
from pycmbs.services.records.retrying import retried
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Document, Query, Store, Write

LEFT = "left"
"""The type of the documents that remember who left."""
_KEEP_LEFT = 7 * 86400.0
"""Seconds that it is remembered who left: longer than a member may be away that still knows the departed one."""
_LOCAL, _FAREWELL = "local", "farewell"


def left_document(id: str) -> str:
    """The document that remembers that a member left."""
    return f"{LEFT}:{id}"


def left_write(
    id: str,
    version: int,
    instance: str,
    before: Document | None,
    *,
    local: bool,
    farewell: Mapping[str, str] | None = None,
) -> Write:
    """The write that remembers that a member left, or with ``local`` that it was only forgotten here. ``farewell``: what it
    signed."""
    body = {VERSION: version, INSTANCE: instance, _LOCAL: local, **({_FAREWELL: farewell} if farewell else {})}
    expires = sort_key_of_time(clock.now() + _KEEP_LEFT)
    return Write(left_document(id), LEFT, body, {"expires": (expires,)}, before.revision if before else None)


class Departures:
    """What is known of those that left, and whose word counts for it."""

    def __init__(self, store: Store, roster: Callable[[], Roster], health: HealthService, *, most: int) -> None:
        """``roster``: who there is now. ``most``: how many departures are told."""
        self._store = store
        self._roster = roster
        self._health = health
        self._most = most
        self._known: tuple[str | None, Mapping[str, Document]] = None, {}

    def known(self) -> Mapping[str, Document]:
        """The records of those that left, or were only forgotten here, by id: read again when one changed."""
        token = self._store.change_token(LEFT)  # before they are read: what changes meanwhile counts as newer
        if self._known[0] != token:
            self._known = token, {one.id.removeprefix(f"{LEFT}:"): one for one in self._store.find(Query(LEFT))}
        return self._known[1]

    def versions(self) -> dict[str, int]:
        """In which version each of them left, or was forgotten, by id."""
        return {id: one.body[VERSION] for id, one in self.known().items()}

    def told(self) -> dict[str, dict[str, Any]]:
        """What others are told of those that left, the last ones first: their versions, and which instances they were."""
        gone = [(id, one.body) for id, one in self.known().items() if not one.body[_LOCAL]]
        gone = sorted(gone, key=lambda one: -one[1][VERSION])[: self._most]
        return {
            "left": {id: body[VERSION] for id, body in gone},
            "left_instances": {id: body.get(INSTANCE, "") for id, body in gone},
        }

    def farewells(self, known: Mapping[str, int]) -> list[dict[str, str]]:
        """What those said that have left, of those that another one still knows."""
        gone = ((id, self.known().get(id)) for id in known)
        found = [
            one.body[_FAREWELL]
            for id, one in gone
            if one is not None and _FAREWELL in one.body and not versions.newer(known[id], one.body[VERSION])
        ]
        return found[: self._most]

    def keep(self, id: str, farewell: Mapping[str, str]) -> None:
        """Keep what the own member, which is gone, said of that."""
        left = self._store.get(left_document(id))
        if left is not None:
            again = Write(left.id, LEFT, {**left.body, _FAREWELL: farewell}, dict(left.keys), left.revision)
            with contextlib.suppress(RevisionConflict):
                self._store.write([again])

    def hear(
        self, left: Mapping[str, int], instances: Any, farewells: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Others say who left, in which version and instance: of a conflict they say it again with the next greeting."""
        known = self._roster().by_id
        said = {canonical_id(id): one for id, one in instances.items()} if isinstance(instances, dict) else {}
        batches = {}
        for id in left.keys() & known.keys():
            instance = said.get(id)
            instance = instance if isinstance(instance, str) else ""
            writes = self._writes(id, left[id], instance, direct=False, farewell=(farewells or {}).get(id))
            if writes:
                batches[id] = writes
        results = self._store.write_batches(list(batches.values())) if batches else []
        for id, result in zip(batches, results, strict=True):
            if not isinstance(result, RevisionConflict):
                self._health.forget(id)

    def leave(self, id: str, version: Any, instance: str, farewell: Mapping[str, str] | None = None) -> bool:
        """A member says that it has left, as it was in this version of this instance; tells whether it was known here. A newer
        one stays. Raises InvalidRequest for no version, ClaimedId when another instance is known, Conflict."""
        as_of = versions.checked(version, "a member that leaves")

        def attempt() -> bool:
            writes = self._writes(id, as_of, instance, direct=True, farewell=farewell)
            if writes:
                self._store.write(writes)
                self._health.forget(id)
            return bool(writes)

        return retried(cmbs.MEMBER_LOCATION + id, attempt)

    def _writes(
        self, id: str, version: int, instance: str, *, direct: bool, farewell: Mapping[str, str] | None = None
    ) -> list[Write]:
        """What is to be written of a member's departure: nothing unless it is known here, and no newer. ``direct``: it says so
        itself. Raises ClaimedId when it does, and is not the one that is known."""
        member = self._roster().by_id.get(id)
        if member is None or is_local(member) or versions.newer(version_of(member), version):
            return []
        known = str(member.private.get(INSTANCE, ""))
        if known and instance != known:
            if direct:
                raise ClaimedId(f"another member with the id {id} is known here", id=id)
            health = self._health.of(id)
            if instance or (health is not None and health.state == ALIVE):
                return []  # hearsay of an earlier release does not say which one left: not one that answers
        left = self._store.get(left_document(id))
        return [left_write(id, version, known, left, local=False, farewell=farewell), entity_delete(member)]

    def drop(self, member: Entity) -> None:
        """Another broker's member is no longer known here; it comes back if it is believed again."""

        def attempt() -> None:
            known = self._roster().by_id.get(member.id)
            if known is not None and not is_local(known):
                left = self._store.get(left_document(member.id))
                instance = str(known.private.get(INSTANCE, ""))
                self._store.write(
                    [left_write(member.id, version_of(known), instance, left, local=True), entity_delete(known)]
                )

        retried(member.path, attempt)
        self._health.forget(member.id)

    def undone(self, id: str, version: int, *, direct: bool) -> list[Write]:
        """The write that lets a member come back that had left or was forgotten, if it had; ``direct``: it speaks itself.
        Raises Departed for old news of it."""
        left = self.known().get(id)
        if left is None:
            return []
        gone = left.body[VERSION]
        if not versions.newer(version, gone) and not (direct and left.body[_LOCAL]):
            raise Departed(f"the member {id} has left", hint="Create it again to bring it back.", id=id, version=gone)
        return [Write(left.id, LEFT, revision=left.revision, delete=True)]

    def has_left(self, id: str) -> bool:
        """Whether a member is known to have left."""
        return self._store.get(left_document(id)) is not None

    def forget(self) -> int:
        """Delete what is remembered of those that left long ago; returns of how many."""
        gone = self._store.lowest_by_key(LEFT, "expires", sort_key_of_time(clock.now()), 500)
        if gone:
            self._store.write_batches([[Write(one.id, LEFT, revision=one.revision, delete=True)] for one in gone])
        return len(gone)
