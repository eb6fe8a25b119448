"""Errors about entities, categories and the store that keeps them. The whole tree is drawn in :mod:`pycmbs.errors`."""

from __future__ import annotations

from pycmbs.errors.families import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable


class InvalidAttribute(InvalidRequest):
    """One attribute is unknown, mistyped, missing or out of range."""

    code = "invalid-attribute"


class InvalidCategory(InvalidRequest):
    """A category definition contradicts itself or the standard."""

    code = "invalid-category"


class InvalidAddress(InvalidRequest):
    """A socket URL that is not one."""

    code = "invalid-address"


class UnknownEntity(NotFound):
    """No entity at this path."""

    code = "unknown-entity"


class UnknownCategory(NotFound):
    """No kind, mixin or action with this identifier."""

    code = "unknown-category"


class UnknownLocation(NotFound):
    """Nothing is bound to this path."""

    code = "unknown-location"


class ImmutableAttribute(Forbidden):
    """A client may not change this attribute."""

    code = "immutable-attribute"


class DuplicateId(Conflict):
    """An entity with this id exists."""

    code = "duplicate-id"


class KeyReused(Conflict):
    """The Idempotency-Key of one request comes with another."""

    code = "key-reused"


class RevisionConflict(Conflict):
    """Someone else changed the document first."""

    code = "revision-conflict"


class CategoryConflict(Conflict):
    """A definition contradicts the registered one, or is still in use."""

    code = "category-conflict"


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "store-unavailable"
