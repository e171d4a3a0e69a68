"""What whole scenarios share with the tests of the API."""

from tests.api.conftest import anyio_backend, join, revision

__all__ = ["anyio_backend", "join", "revision"]
