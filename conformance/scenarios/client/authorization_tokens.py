"""What a client asks for and how it proves itself: registration, scopes, tokens that end."""

from typing import Any
from urllib.parse import urlsplit

from ...authflow import Flow
from ...authserver import Client
from ...client import ClientTrial
from ...scenario import Skip, scenario
from .authorization_discovery import HTTP, STEPS

WANTED_CIMD = "https://conformance-test.local/client-metadata.json"


@scenario(id="auth/basic-cimd", covers=[221], revisions="DE", transports=HTTP, role="client", seconds=30)
async def basic_cimd(trial: ClientTrial) -> None:
    """The authorization server takes the address of a document as a client id."""
    flow, server = await Flow.usual(trial)
    server.metadata_more["client_id_metadata_document_supported"] = True
    await flow.run()
    flow.completed(211, steps=STEPS)
    if not flow.authorizations:
        return
    client_id = flow.authorizations[0].query.get("client_id", "")
    if client_id in server.clients:
        # Registration is a way that stays open.
        trial.advise(221, False, "the client registers, though the server takes the address of its document")
        return
    parts = urlsplit(client_id)
    is_address = parts.scheme == "https" and bool(parts.netloc) and parts.path not in ("", "/") and not parts.fragment
    trial.check(221, is_address, f"the client id is {client_id!r}")
    trial.advise(221, client_id == WANTED_CIMD, f"the fixture's document is {WANTED_CIMD}, the id {client_id!r}")


async def _scoped(trial: ClientTrial, *, challenge: str | None, supported: list[str] | None, wanted: set[str]) -> None:
    flow, _ = await Flow.usual(trial)
    flow.realm.scope = challenge
    if supported is not None:
        flow.realm.metadata_more["scopes_supported"] = supported
    await flow.run()
    flow.completed(211, steps=STEPS)
    if flow.authorizations:
        query = flow.authorizations[0].query
        said = f"the challenge names {challenge!r}, the metadata {supported}; asked for {query.get('scope')!r}"
        is_right = flow.authorizations[0].scopes == wanted and ("scope" in query) == bool(wanted)
        trial.check(222, is_right, said)


@scenario(id="auth/scope-from-www-authenticate", covers=[222], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def scope_from_www_authenticate(trial: ClientTrial) -> None:
    """The challenge names the scope; the metadata names more."""
    supported = ["mcp:basic", "mcp:read", "mcp:write"]
    await _scoped(trial, challenge="mcp:basic", supported=supported, wanted={"mcp:basic"})


@scenario(id="auth/scope-from-scopes-supported", covers=[222], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def scope_from_scopes_supported(trial: ClientTrial) -> None:
    """The challenge names no scope: all that the metadata names are asked for."""
    supported = ["mcp:basic", "mcp:read", "mcp:write"]
    await _scoped(trial, challenge=None, supported=supported, wanted=set(supported))


@scenario(id="auth/scope-omitted-when-undefined", covers=[222], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def scope_omitted_when_undefined(trial: ClientTrial) -> None:
    """Nobody names a scope: none is asked for."""
    await _scoped(trial, challenge=None, supported=None, wanted=set())


def _writes(message: dict[str, Any]) -> set[str]:
    return {"mcp:write"} if message.get("method") == "tools/call" else set()


@scenario(id="auth/scope-step-up", covers=[222], revisions="DE", transports=HTTP, role="client", seconds=40)
async def scope_step_up(trial: ClientTrial) -> None:
    """A call needs another scope than the first token has; a new one is asked for, and the old one kept."""
    flow, _ = await Flow.usual(trial)
    flow.realm.scope = "mcp:basic"
    flow.realm.metadata_more["scopes_supported"] = ["mcp:profile"]
    flow.realm.needs = _writes
    await flow.run()
    if not flow.completed(211, steps=STEPS):
        return
    refused = [each for each in flow.asked("mcp") if each.status == 403]
    if not refused:
        raise Skip("the client called no tool")
    first, *later = flow.authorizations
    trial.check(222, first.scopes == {"mcp:basic"}, f"the challenge names mcp:basic; asked for {first.scopes}")
    if not trial.check(222, bool(later), "after insufficient_scope the client asks for another token"):
        return
    trial.check(222, "mcp:write" in later[0].scopes, f"the call needs mcp:write; asked for {later[0].scopes}")
    if trial.is_envelope:
        is_union = {"mcp:basic", "mcp:write"} <= later[0].scopes
        trial.check(222, is_union, f"mcp:basic was asked for before, mcp:write is needed; asked for {later[0].scopes}")
    called = [each for each in flow.realm.accepted if each.json.get("method") == "tools/call"]
    trial.check(222, bool(called), "the call was made again with the new token")


@scenario(id="auth/scope-retry-limit", covers=[222], revisions="DE", transports=HTTP, role="client", seconds=40)
async def scope_retry_limit(trial: ClientTrial) -> None:
    """Whatever scope is asked for, it is never enough: after a few times the client gives up."""
    flow, _ = await Flow.usual(trial)
    flow.realm.scope = "mcp:basic"
    flow.realm.needs = lambda message: {"mcp:write", "mcp:never"} if message.get("method") == "tools/call" else set()
    server = flow.realm.trusted[0]
    server.withheld = {"mcp:never"}
    await flow.run()
    if not flow.completed_until(STEPS):
        return
    if not any(each.status == 403 for each in flow.asked("mcp")):
        raise Skip("the client called no tool")
    count = len(flow.authorizations)
    trial.check(222, count <= 3, f"the client asked for a token {count} times; the call was refused each time")
    trial.check(222, trial.status is not None, "the client gives up")


async def _proved(trial: ClientTrial, method: str) -> None:
    flow, server = await Flow.usual(trial)
    server.method = method
    await flow.run()
    flow.completed(211, steps=(*STEPS[:3], ("token", 211)))
    for each in flow.asked("token"):
        used = each.facts.get("method")
        trial.check(211, used == method, f"the client was registered for {method} and proved itself by {used}")
        if method == "client_secret_post":
            trial.check(211, "client_secret" not in each.query, "the secret is in the body, not in the address")


@scenario(id="auth/token-endpoint-auth-basic", covers=[211], revisions="CDE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def token_endpoint_auth_basic(trial: ClientTrial) -> None:
    """Registration says that the client proves itself by HTTP Basic."""
    await _proved(trial, "client_secret_basic")


@scenario(id="auth/token-endpoint-auth-post", covers=[211], revisions="CDE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def token_endpoint_auth_post(trial: ClientTrial) -> None:
    """Registration says that the client proves itself by a secret in the body."""
    await _proved(trial, "client_secret_post")


@scenario(id="auth/token-endpoint-auth-none", covers=[211], revisions="CDE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def token_endpoint_auth_none(trial: ClientTrial) -> None:
    """Registration says that the client has no secret."""
    await _proved(trial, "none")


@scenario(id="auth/pre-registration", covers=[211], revisions="CDE", transports=HTTP, role="client", seconds=30)
async def pre_registration(trial: ClientTrial) -> None:
    """There is no registration: the client has credentials from elsewhere."""
    flow, server = await Flow.usual(trial)
    server.method = "client_secret_basic"
    server.metadata_more["registration_endpoint"] = ...
    server.clients["pre-registered-client"] = Client("pre-registered-client", "pre-registered-secret", server.method)
    given = {"client_id": "pre-registered-client", "client_secret": "pre-registered-secret", "issuer": server.issuer}
    await flow.run(given)
    if not flow.authorizations and not flow.asked("register"):
        raise Skip("the client does not use credentials that it was given")
    flow.completed(211, steps=(*STEPS[:3], ("token", 211)))
    for each in flow.asked("token"):
        used = each.facts.get("method")
        trial.check(211, used == "client_secret_basic", f"the client proved itself by {used}")


async def _offline(trial: ClientTrial, *, is_listed: bool) -> Flow:
    flow, server = await Flow.usual(trial)
    server.refreshes = True
    server.metadata_more["scopes_supported"] = ["mcp:basic", *(["offline_access"] if is_listed else [])]
    flow.realm.scope = "mcp:basic"
    await flow.run()
    flow.completed(211, steps=STEPS)
    return flow


@scenario(id="auth/offline-access-scope", covers=[223], revisions="E", transports=HTTP, role="client", seconds=30)
async def offline_access_scope(trial: ClientTrial) -> None:
    """The authorization server offers `offline_access`: who wants refresh tokens says so when it registers."""
    flow = await _offline(trial, is_listed=True)
    for each in flow.asked("register"):
        grants = each.json.get("grant_types")
        is_there = isinstance(grants, list) and "refresh_token" in grants
        trial.check(223, is_there, f"the registration says grant_types {grants!r}")
    if not flow.asked("register"):
        raise Skip("the client did not register, so it cannot be seen whether it wants refresh tokens")


@scenario(id="auth/offline-access-not-supported", covers=[223], revisions="E", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def offline_access_not_supported(trial: ClientTrial) -> None:
    """The authorization server does not offer `offline_access`: it is not asked for."""
    flow = await _offline(trial, is_listed=False)
    for each in flow.authorizations:
        trial.check(223, "offline_access" not in each.scopes, f"asked for {' '.join(sorted(each.scopes))}")


@scenario(id="auth/expired-token", covers=[211, 217], revisions="CDE", transports=HTTP, role="client", seconds=40)
async def expired_token(trial: ClientTrial) -> None:
    """The token ends after the first request: it is refreshed, or another is asked for, for the same server."""
    flow, server = await Flow.usual(trial)
    server.refreshes = True
    has_ended = False

    def end(exchange: Any) -> None:
        nonlocal has_ended
        if not has_ended:
            has_ended = True
            exchange.facts["token"].expires_at = 0.0

    flow.realm.passed = end
    await flow.run()
    if not flow.completed(211, steps=STEPS):
        return
    refused = [index for index, each in enumerate(flow.realm.log) if each.problem == "an expired token"]
    if not refused:
        raise Skip("the client sent nothing after the first request")
    after = flow.realm.log[refused[0] :]
    trial.check(211, len(refused) <= 4, f"a token that had ended was sent {len(refused)} times")
    is_back = any(each.kind == "mcp" and each.status == 200 for each in after)
    trial.check(211, is_back, "after a token had ended the client went on with another")
