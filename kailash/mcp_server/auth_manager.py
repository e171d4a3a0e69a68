"""Authentication and authorisation for code of one's own, with the record of what was decided."""

import time
from collections.abc import Mapping
from typing import Any

from ..auth.permissions import PermissionManager
from ..errors import AuthorizationError, MCPError, MCPErrorCode, RateLimitError
from ..resilience import RateLimiter
from ..telemetry import AuditLog, AuditSink, Outcome
from .callers import Identity, read_identity
from .options import read_rate_limit
from .pipeline import reason_of
from .providers import as_provider, ask_provider

__all__ = ["AuthManager"]


class AuthManager:
    """Finds out who calls and whether he may, as a server does, and writes every decision down.

    For what has no server in front of it: a web application's own routes, a worker, a command line. A server given an
    `auth_provider` does all of this itself.

    Args:
        provider: knows the callers: anything that `MCPServer(auth_provider=...)` takes.
        permissions: what roles stand for.
        rate_limit: for each caller, as in `rate_limit_config`.
        audit: where decisions are written: `True` (logger `kailash.audit`), a path, a function, or an `AuditLog`.

    Raises:
        TypeError, ValueError: what was given makes no sense.
    """

    def __init__(
        self,
        provider: Any,
        *,
        permissions: PermissionManager | None = None,
        rate_limit: Any = None,
        audit: AuditSink | AuditLog = True,
    ) -> None:
        self._provider = as_provider(provider)
        self._roles = permissions
        self._limit = read_rate_limit("rate_limit", rate_limit)
        self._limiter = RateLimiter()
        self._audit = audit if isinstance(audit, AuditLog) else AuditLog(audit)

    async def authorize(
        self, credentials: Mapping[str, str], required_permission: str | None = None, *, action: str = "authorize"
    ) -> Identity:
        """Return who brings these credentials.

        Args:
            credentials: `api_key`, `token`, or `username` and `password`.
            required_permission: he must have it; `admin` implies every permission.
            action: what for, in the audit log.

        Raises:
            AuthenticationError: nobody knows him.
            AuthorizationError: he may not; `data["missing"]` names the permission.
            RateLimitError: he comes too often; `retry_after` says when to come back.
        """
        started = time.monotonic()
        identity: Identity | None = None
        failure: MCPError | None = None
        try:
            found = ask_provider(self._provider, dict(credentials))
            identity = read_identity(await found if hasattr(found, "__await__") else found)
            self._judge(identity, required_permission, started)
            return identity
        except MCPError as error:
            failure = error
            raise
        finally:
            self._audit.write(
                principal=None if identity is None else identity.principal,
                method=action,
                name=required_permission,
                outcome=Outcome.OK if failure is None and identity is not None else Outcome.REFUSED,
                reason=reason_of(failure),
                seconds=time.monotonic() - started,
                request_id=None,
                transport="none",
            )

    def _judge(self, identity: Identity, required: str | None, now: float) -> None:
        if self._limit is not None:
            verdict = self._limiter.take(identity.principal, self._limit.rate, now)
            if not verdict.is_allowed:
                raise RateLimitError(
                    "too many requests of this caller", retryable=True, retry_after=verdict.retry_after
                )
        if required is None:
            return
        granted = identity.permissions or frozenset()
        if self._roles is not None:
            granted = self._roles.expand(granted)
        if required not in granted and "admin" not in granted:
            raise AuthorizationError(
                f"requires the permission {required!r}",
                error_code=MCPErrorCode.AUTHORIZATION_FAILED,
                data={"missing": [required]},
            )

    def get_audit_log(self, limit: int | None = 100, *, principal: str | None = None) -> list[dict[str, Any]]:
        """Return the last decisions, oldest first.

        Args:
            limit: how many at most; `None`: all that are remembered.
            principal: only those about one caller.
        """
        return self._audit.entries(limit=limit, principal=principal)
