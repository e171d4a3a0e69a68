"""How much may go on at once: places that are taken and left, counted in total and for each principal."""

from msgspec import Struct

__all__ = ["Seat", "Seats"]


class Seats:
    """A bounded number of places.

    Args:
        total: how many there are; `None` for no limit.
        each: how many of them one principal may take; callers that nobody verified are not told apart, so only the
            total holds for them.
    """

    __slots__ = ("_each", "_taken", "_total", "taken")

    def __init__(self, total: int | None, each: int | None) -> None:
        self._total = total
        self._each = each
        self._taken: dict[str, int] = {}
        self.taken = 0
        """How many places are taken."""

    def take(self, principal: str | None) -> "Seat | None":
        """Return a place, `None` if there is none left."""
        if self._total is not None and self.taken >= self._total:
            return None
        if principal is not None:
            own = self._taken.get(principal, 0)
            if self._each is not None and own >= self._each:
                return None
            self._taken[principal] = own + 1
        self.taken += 1
        return Seat(self, principal)

    def give_back(self, principal: str | None) -> None:
        """Take back a place."""
        self.taken -= 1
        if principal is not None:
            own = self._taken[principal] - 1
            if own:
                self._taken[principal] = own
            else:
                del self._taken[principal]


class Seat(Struct, eq=False):
    """One place, until it is left."""

    _seats: Seats | None
    _principal: str | None

    def leave(self) -> None:
        """Give the place back; once is enough."""
        seats = self._seats
        if seats is not None:
            self._seats = None
            seats.give_back(self._principal)
