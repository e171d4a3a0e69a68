"""One connection to Redis: kept up by itself, shared by every caller of a loop, commands and news on the same one.

A task of its own connects, subscribes and listens; when the connection is lost it pauses and does that again. While it
pauses, calls fail at once. It speaks RESP3, where what was published comes between the answers.
"""

import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
from coredis.connection import (
    BaseConnection,
    TCPConnection,
    TCPLocation,
    UnixDomainSocketConnection,
    UnixDomainSocketLocation,
)
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import NoScriptError, RedisError

from ..adapters.owner import Owner, spawn_owner
from .base import Receive, StoreError
from .redis_url import RedisAddress
from .scripts import Script

__all__ = ["Link"]

logger = logging.getLogger("kailash.stores")

CONNECT_TIMEOUT = 2.0
COMMAND_TIMEOUT = 2.0
PING_EVERY = 5.0
_PAUSES = (0.1, 2.0)
"""The first pause after a failure, and the longest."""

_BROKEN = (OSError, TimeoutError, RedisConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError)

Subscriber = tuple[Receive, Callable[[], object] | None]


class Link:
    """A connection that comes back.

    Args:
        address: of the server.
        is_quiet: returns whether a failure was logged less than a minute ago, and takes note of this one.
    """

    def __init__(self, address: RedisAddress, is_quiet: Callable[[], bool]) -> None:
        self._address = address
        self._is_quiet = is_quiet
        self._connection: BaseConnection | None = None
        self._subscribers: dict[bytes, list[Subscriber]] = {}
        self._acknowledged: dict[bytes, anyio.Event] = {}
        self._turn = anyio.Event()
        """Set when the first attempt to connect has ended, well or not."""
        self._is_trying = True
        """The first attempt is under way, the only one that calls wait for."""
        self._lost: BaseConnection | None = None
        self._was_up = False
        self._why = "it does not answer"
        self._owner: Owner = spawn_owner(self._run, name="kailash redis")

    @property
    def is_over(self) -> bool:
        """Tell whether its loop has ended it."""
        return self._owner.done

    async def aclose(self) -> None:
        """Disconnect, and connect no more."""
        self._owner.cancel()
        await self._owner.wait()

    # Commands

    async def execute(self, command: bytes, *arguments: bytes | str | int | float) -> Any:
        """Send a command and return the answer.

        Raises:
            StoreError: the server cannot be reached, does not answer in time, or refuses.
        """
        try:
            return await self._send(command, *arguments)
        except RedisError as error:
            raise StoreError(f"the store at {self._address.shown} refuses: {error}") from None

    async def run(self, script: Script, keys: list[bytes], *arguments: bytes | str | int | float) -> Any:
        """Run a script, in one round trip once the server knows it.

        Raises:
            StoreError: as of `execute`.
        """
        try:
            try:
                return await self._send(b"EVALSHA", script.name, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._send(b"EVAL", script.text, len(keys), *keys, *arguments)
        except RedisError as error:
            raise StoreError(f"the store at {self._address.shown} refuses: {error}") from None

    async def _send(self, command: bytes, *arguments: bytes | str | int | float) -> Any:
        connection = self._connection
        if connection is None:
            if self._is_trying:
                await self._turn.wait()
            connection = self._connection
            if connection is None:
                raise StoreError(f"the store at {self._address.shown} cannot be reached: {self._why}")
        try:
            return await connection.create_request(command, *arguments)
        except TimeoutError:
            # Whoever asks next shall not wait as long; and answers that come late must not be taken for theirs.
            connection.invalidate()
            self._lose(connection, f"no answer within {COMMAND_TIMEOUT:g} s")
            raise StoreError(f"the store at {self._address.shown} cannot be reached: {self._why}") from None
        except _BROKEN:
            raise StoreError(f"the store at {self._address.shown} cannot be reached: the connection was lost") from None

    # News

    async def subscribe(
        self, channel: bytes, receive: Receive, missed: Callable[[], object] | None
    ) -> Callable[[], None]:
        """Hear a channel, now or as soon as the server is there again."""
        subscriber = (receive, missed)
        subscribers = self._subscribers.setdefault(channel, [])
        subscribers.append(subscriber)
        try:
            if self._connection is None and self._is_trying:
                await self._turn.wait()
            connection = self._connection
            if connection is not None:
                if len(subscribers) == 1 and channel not in self._acknowledged:
                    self._acknowledged[channel] = anyio.Event()
                    connection.send_command(b"SUBSCRIBE", channel)
                acknowledged = self._acknowledged.get(channel)
                if acknowledged is not None:
                    with anyio.move_on_after(COMMAND_TIMEOUT):
                        await acknowledged.wait()
        except _BROKEN:
            pass  # it is subscribed to with the next connection

        def leave() -> None:
            if subscriber in subscribers:
                subscribers.remove(subscriber)
            if not subscribers and self._subscribers.get(channel) is subscribers:
                del self._subscribers[channel]
                self._acknowledged.pop(channel, None)
                if self._connection is not None and self._connection.usable:
                    self._connection.send_command(b"UNSUBSCRIBE", channel)

        return leave

    def _take(self, message: list[Any]) -> None:
        kind, channel = message[0], bytes(message[1])
        if kind == b"message":
            payload = bytes(message[2])
            for receive, _ in list(self._subscribers.get(channel, ())):
                try:
                    receive(payload)
                except Exception:
                    # Anybody who can write to the server can send anything; the connection is everybody's.
                    logger.exception("! what was published could not be taken")
        elif kind == b"subscribe" and channel in self._acknowledged:
            self._acknowledged[channel].set()

    # The connection

    async def _run(self) -> None:
        pause = _PAUSES[0]
        while True:
            if await self._serve():
                pause = _PAUSES[0]
            await anyio.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    async def _serve(self) -> bool:
        """Connect, and listen until the connection is lost; returns whether it was there at all."""
        connection = self._make()
        is_up = False
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    with anyio.fail_after(CONNECT_TIMEOUT + COMMAND_TIMEOUT):
                        await tasks.start(connection.run)
                    is_up = True
                    self._rise(connection)
                    tasks.start_soon(self._ping, connection)
                    async for message in connection.push_messages:
                        self._take(message)
                except (*_BROKEN, RedisError) as error:
                    self._lose(connection, _reason(error))
                    tasks.cancel_scope.cancel()
        except* (*_BROKEN, RedisError) as errors:
            # What an attempt fails with comes out of its task once more.
            self._lose(connection, _reason(errors.exceptions[0]))
        finally:
            _discard(connection)
        return is_up

    def _make(self) -> BaseConnection:
        address = self._address
        more: dict[str, Any] = {
            "stream_timeout": COMMAND_TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
            "username": address.username,
            "password": address.password,
            "db": address.db,
        }
        if address.path is not None:
            return UnixDomainSocketConnection(UnixDomainSocketLocation(address.path), **more)
        assert address.host is not None
        return TCPConnection(TCPLocation(address.host, address.port), ssl_context=address.tls, **more)

    def _rise(self, connection: BaseConnection) -> None:
        self._acknowledged = {channel: anyio.Event() for channel in self._subscribers}
        if self._subscribers:
            connection.send_command(b"SUBSCRIBE", *self._subscribers)
        self._connection = connection
        self._end_turn()
        if self._was_up:
            logger.info("= the store at %s is there again", self._address.shown)
            for subscribers in list(self._subscribers.values()):
                for _, missed in list(subscribers):
                    if missed is not None:
                        missed()
        self._was_up = True

    def _lose(self, connection: BaseConnection, why: str) -> None:
        if connection is self._lost:
            return  # whoever noticed it first has said so
        self._lost = connection
        self._connection = None
        self._why = why
        for acknowledged in self._acknowledged.values():
            acknowledged.set()
        self._acknowledged = {}
        self._end_turn()
        if not self._is_quiet():
            logger.warning("! the store at %s cannot be reached: %s; it is tried again", self._address.shown, why)

    def _end_turn(self) -> None:
        self._is_trying = False
        turn, self._turn = self._turn, anyio.Event()
        turn.set()

    async def _ping(self, connection: BaseConnection) -> None:
        """Notice a server that is gone without a word, although nobody asks it anything."""
        while connection.usable:
            await anyio.sleep(PING_EVERY)
            try:
                await connection.create_request(b"PING")
            except (*_BROKEN, RedisError) as error:
                self._lose(connection, _reason(error))
                connection.invalidate()
                return


def _reason(error: BaseException) -> str:
    """Return why, in words that hold no secret."""
    cause = error.__cause__ or error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    if isinstance(error, RedisError) and not isinstance(error, RedisConnectionError):
        return f"it refuses: {error}"
    return "the connection was lost"


def _discard(connection: BaseConnection) -> None:
    """Close the buffers of a connection; one that was never made leaves them open, and is told off for it."""
    for name in ("push_message", "streamed_message", "write"):
        for end in ("in", "out"):
            getattr(connection, f"_{name}_buffer_{end}").close()
