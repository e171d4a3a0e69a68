"""What the integration tests share with those of the API."""

from tests.api.conftest import anyio_backend, join, revision

__all__ = ["anyio_backend", "join", "revision"]
