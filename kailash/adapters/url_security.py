"""Where a client may connect to: names are resolved once, their addresses judged, and only these connected to.

A URL of one's own configuration may lead into one's own network; one that somebody else had a hand in must not
(`allow_localhost=False`), in none of the spellings of an address. Where clouds keep their secrets, nobody serves MCP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .fetch import Resolve, is_public, read_address, resolve_host
from .http_url import HTTPURL

__all__ = ["AddressRefused", "TransportSecurity"]

_METADATA = frozenset({"100.100.100.200", "fd00:ec2::254"})
"""Where clouds keep their secrets that is not link-local."""


class AddressRefused(ConnectionError):
    """A URL leads where it must not lead; the text does not say to which address, which would tell of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSecurity:
    """Judges the URLs of a client."""

    allow_localhost: bool = True
    """This machine and private networks too; without, every address must be one that all the world can reach."""
    is_skipped: bool = False
    """Judge nothing: for tests alone."""
    resolve: Resolve = resolve_host
    """Finds the addresses of a host."""

    def allows(self, address: str) -> bool:
        """Tell whether an address may be connected to.

        Raises:
            ValueError: it is no address.
        """
        if not self.allow_localhost:
            return is_public(address)
        found = read_address(address)
        return not (found.is_link_local or found.is_multicast or str(found) in _METADATA)

    async def addresses(self, url: HTTPURL) -> Sequence[str]:
        """Return the addresses to connect to; none: whatever the host has, for nothing was judged.

        Raises:
            AddressRefused: one of the host's addresses is not allowed.
            OSError: it has none.
        """
        if self.is_skipped:
            return ()
        found = await self.resolve(url.host, url.port)
        try:
            are_allowed = bool(found) and all(map(self.allows, found))
        except ValueError:
            are_allowed = False
        if not are_allowed:
            why = "a link-local or metadata address" if self.allow_localhost else "not on the public network"
            more = "" if self.allow_localhost else " (allow_localhost=True allows that)"
            raise AddressRefused(f"the host of the URL is {why}{more}")
        return found
