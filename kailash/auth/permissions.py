"""Roles: names for sets of permissions, which may build on one another."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..errors import AuthorizationError
from .entries import check_options, read_permissions

__all__ = ["ADMIN", "PermissionManager", "has_permissions"]

ADMIN = "admin"
"""The permission that implies every other."""

_ROLE_KEYS = ("permissions", "inherits")


def has_permissions(granted: Iterable[str], required: Iterable[str]) -> bool:
    """Tell whether all of `required` are granted; `admin` implies them all."""
    held = frozenset(granted)
    return ADMIN in held or held.issuperset(required)


class PermissionManager:
    """Roles and the permissions they stand for.

    Whoever holds a role holds its permissions and those of the roles it inherits from; whoever holds `admin`, itself or
    by a role, may do everything.

    Args:
        roles: each role's permissions, or `{"permissions": [...], "inherits": [...]}`.

    Raises:
        TypeError: an unknown option, or something that is no list of strings.
        ValueError: a role inherits from one that does not exist, or in the end from itself.
    """

    def __init__(self, roles: Mapping[str, Any] | None = None) -> None:
        self._own: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._all: dict[str, frozenset[str]] = {}
        for name, given in (roles or {}).items():
            self._read(name, given)
        self._resolve()

    def __repr__(self) -> str:
        return f"PermissionManager({', '.join(sorted(self._own))})"

    def _read(self, name: Any, given: Any) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError("the name of a role is a string that is not empty")
        what = f"role {name!r}"
        options = given if isinstance(given, Mapping) else {"permissions": given}
        check_options(options, _ROLE_KEYS, what)
        self._own[name] = read_permissions(options.get("permissions", ()), what)
        self._parents[name] = read_permissions(options.get("inherits", ()), f"{what}: inherits")

    def _resolve(self) -> None:
        """Work out what each role comes to, parents first."""
        for name, parents in self._parents.items():
            for parent in parents:
                if parent not in self._own:
                    raise ValueError(f"role {name!r} inherits from {parent!r}, which is no role")
        try:
            order = list(TopologicalSorter(self._parents).static_order())
        except CycleError as error:
            raise ValueError(f"roles inherit in a circle: {' → '.join(error.args[1])}") from None
        resolved: dict[str, frozenset[str]] = {}
        for name in order:
            resolved[name] = frozenset(self._own[name]).union(*[resolved[parent] for parent in self._parents[name]])
        self._all = resolved

    def add_role(self, name: str, permissions: Iterable[str] = (), *, inherits: Iterable[str] = ()) -> None:
        """Add a role or replace one; what is raised is said at the class, and then nothing has changed."""
        before = dict(self._own), dict(self._parents)
        try:
            self._read(name, {"permissions": permissions, "inherits": inherits})
            self._resolve()
        except (TypeError, ValueError):
            self._own, self._parents = before
            raise

    @property
    def roles(self) -> dict[str, frozenset[str]]:
        """Each role with all its permissions, the inherited ones among them."""
        return dict(self._all)

    def expand(self, names: Iterable[str]) -> frozenset[str]:
        """Return permissions together with those that the roles among them stand for."""
        held = frozenset(names)
        return held.union(*[self._all[name] for name in held if name in self._all])

    def has_permission(self, identity: Mapping[str, Any], *required: str) -> bool:
        """Tell whether somebody, as a provider found them, may do all of this."""
        return has_permissions(self.expand(identity.get("permissions", ())), required)

    def require(self, identity: Mapping[str, Any], *required: str) -> None:
        """Raise unless somebody may do all of this.

        Raises:
            AuthorizationError: its data names what is missing.
        """
        held = self.expand(identity.get("permissions", ()))
        if not has_permissions(held, required):
            missing = sorted(set(required) - held)
            raise AuthorizationError(f"missing permission: {', '.join(missing)}", data={"missing": missing})
