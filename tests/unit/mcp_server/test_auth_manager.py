"""Authorisation outside of a server: who, whether he may, and the record of it."""

from __future__ import annotations

from typing import Any

import pytest

from kailash.errors import AuthenticationError, AuthorizationError, RateLimitError
from kailash.mcp_server.auth import APIKeyAuth, AuthManager, PermissionManager

pytestmark = pytest.mark.anyio

KEYS = {
    "ada-key": {"user_id": "ada", "permissions": ["editor"]},
    "root-key": {"user_id": "root", "permissions": ["admin"]},
}


def make(lines: list[dict[str, Any]], **options: Any) -> AuthManager:
    roles = PermissionManager({"editor": ["read", "write"]})
    return AuthManager(APIKeyAuth(KEYS), permissions=roles, audit=lines.append, **options)


async def test_every_decision_is_written_down_and_no_secret() -> None:
    lines: list[dict[str, Any]] = []
    manager = make(lines)
    assert (await manager.authorize({"api_key": "ada-key"}, "write")).principal == "ada"
    assert (await manager.authorize({"api_key": "root-key"}, "delete")).principal == "root"
    with pytest.raises(AuthorizationError) as refused:
        await manager.authorize({"api_key": "ada-key"}, "delete")
    assert refused.value.data == {"missing": ["delete"]}
    with pytest.raises(AuthenticationError):
        await manager.authorize({"api_key": "stolen-key"}, "read", action="login")
    assert [(line["principal"], line["name"], line["outcome"], line["reason"]) for line in lines] == [
        ("ada", "write", "ok", None),
        ("root", "delete", "ok", None),
        ("ada", "delete", "refused", "authorization_failed"),
        (None, "read", "refused", "authentication_failed"),
    ]
    assert "key" not in repr([line["name"] for line in lines]) and "stolen" not in repr(lines)
    assert manager.get_audit_log(limit=1) == lines[-1:]
    assert [line["name"] for line in manager.get_audit_log(principal="ada")] == ["write", "delete"]


async def test_each_caller_has_a_rate_of_his_own() -> None:
    lines: list[dict[str, Any]] = []
    manager = make(lines, rate_limit={"requests": 1, "window": 60})
    await manager.authorize({"api_key": "ada-key"})
    await manager.authorize({"api_key": "root-key"})
    with pytest.raises(RateLimitError) as refused:
        await manager.authorize({"api_key": "ada-key"})
    assert refused.value.retry_after == pytest.approx(60, abs=1)
    assert lines[-1]["reason"] == "rate_limited"


async def test_a_provider_may_be_asynchronous_or_fail() -> None:
    class Remote:
        async def authenticate(self, credentials: dict[str, str]) -> dict[str, Any]:
            if credentials["api_key"] == "down":
                raise OSError("directory is down")
            return {"user_id": credentials["api_key"], "permissions": []}

    lines: list[dict[str, Any]] = []
    manager = AuthManager(Remote(), audit=lines.append)
    assert (await manager.authorize({"api_key": "x"})).principal == "x"
    with pytest.raises(OSError, match="down"):
        await manager.authorize({"api_key": "down"})
    assert [line["outcome"] for line in lines] == ["ok", "refused"]
