"""Whom a client believes: what comes back from the authorization endpoint, and credentials of other issuers."""

from typing import Any

from ...authflow import Flow
from ...authserver import AuthServer, Client
from ...client import ClientTrial
from ...scenario import scenario
from .authorization_discovery import HTTP, STEPS

MARK = "judge-must-not-be-shown"


async def _answered(trial: ClientTrial, *, is_good: bool, why: str, **changes: Any) -> None:
    """Run a client against an authorization server whose redirects are changed, and see whether it goes on."""
    flow, server = await Flow.usual(trial)
    for name, value in changes.items():
        if name == "advertised":
            server.metadata_more["authorization_response_iss_parameter_supported"] = value
        else:
            setattr(server, name, value(server) if callable(value) else value)
    await flow.run()
    if is_good:
        flow.completed(218, steps=(*STEPS[:3], ("token", 218)))
    elif flow.completed_until(STEPS[:3]):
        flow.refused(218, why, before="token")


@scenario(id="auth/iss-supported", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_supported(trial: ClientTrial) -> None:
    """The redirect says the right issuer."""
    await _answered(trial, is_good=True, why="")


@scenario(id="auth/iss-not-advertised", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_not_advertised(trial: ClientTrial) -> None:
    """The redirect says no issuer, and the metadata did not say it would."""
    await _answered(trial, is_good=True, why="", advertised=..., iss=None)


@scenario(id="auth/iss-supported-missing", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_supported_missing(trial: ClientTrial) -> None:
    """The redirect says no issuer, though the metadata said it would."""
    await _answered(trial, is_good=False, why="the redirect lacks the iss that was announced", iss=None)


@scenario(id="auth/iss-wrong-issuer", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_wrong_issuer(trial: ClientTrial) -> None:
    """The redirect says another issuer."""
    await _answered(trial, is_good=False, why="iss is another issuer", iss="https://evil.example.com")


@scenario(id="auth/iss-unexpected", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_unexpected(trial: ClientTrial) -> None:
    """The redirect says another issuer, where none was announced."""
    why = "iss is another issuer, announced or not"
    await _answered(trial, is_good=False, why=why, advertised=..., iss="https://evil.example.com")


@scenario(id="auth/iss-normalized", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_normalized(trial: ClientTrial) -> None:
    """The redirect's issuer differs by a slash."""
    await _answered(trial, is_good=False, why="iss has a slash more", iss=lambda server: f"{server.issuer}/")


@scenario(id="auth/iss-upper-case", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_upper_case(trial: ClientTrial) -> None:
    """The redirect's issuer differs in the case of its scheme."""
    why = "iss has its scheme in capitals"
    await _answered(trial, is_good=False, why=why, iss=lambda server: server.issuer.replace("http:", "HTTP:"))


@scenario(id="auth/iss-of-an-error", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def iss_of_an_error(trial: ClientTrial) -> None:
    """An error that comes from another issuer is neither shown nor acted on."""
    error = {"error": "access_denied", "error_description": MARK, "error_uri": f"https://evil.example.com/{MARK}"}
    why = "the error is another issuer's"
    await _answered(trial, is_good=False, why=why, iss="https://evil.example.com", error=error)
    trial.check(218, MARK not in trial.stderr, "the client shows what another issuer told it")


@scenario(id="auth/state-mismatch", covers=[218], revisions="E", transports=HTTP, role="client", seconds=30)
async def state_mismatch(trial: ClientTrial) -> None:
    """The redirect brings back another `state` than was sent: it answers somebody else's request."""
    flow, server = await Flow.usual(trial)
    server.state = lambda given: f"{given}x"
    await flow.run()
    if not flow.completed_until(STEPS[:3]):
        return
    has_state = "state" in flow.authorizations[0].query
    trial.advise(218, has_state, "the authorization request has a state")
    if has_state:
        trial.advise(218, not flow.asked("token"), "a state that was not sent is refused before the token request")


@scenario(id="auth/authorization-server-migration", covers=[219], revisions="E", transports=HTTP, role="client",
          seconds=40)  # fmt: skip
async def authorization_server_migration(trial: ClientTrial) -> None:
    """The server changes its authorization server: what the old one gave is not for the new one."""
    flow, old = await Flow.usual(trial)
    realm = flow.realm
    old.refreshes = True
    new = await flow.add("as2")
    realm.trusted.remove(new)

    def migrate(exchange: Any) -> None:
        realm.trusted[:] = [new]

    realm.passed = migrate
    await flow.run()
    if not flow.completed(219, steps=STEPS):
        return
    shown = [each for each in realm.log if each.place == "as2" and _client_ids(each) & set(old.clients)]
    trial.check(219, not shown, f"a client id of the old server was shown to the new one: {[e.show() for e in shown]}")
    kept = [each for each in flow.asked("token", "as2") if each.form.get("refresh_token") in old.refresh_tokens]
    trial.check(219, not kept, f"a refresh token of the old server was shown to the new one {len(kept)} times")
    _stale_tokens(flow, new)
    if not any(each.place == "as2" for each in realm.log):
        if len(flow.asked("mcp")) > 3:
            trial.check(219, False, "the metadata names a new authorization server, and the client did not go there")
        return
    is_new = bool(flow.asked("register", "as2")) and any(each.status == 201 for each in flow.asked("register", "as2"))
    trial.check(219, is_new, "the client registers with the new server")
    trial.check(219, any(each.facts["token"].issuer == new.issuer for each in realm.accepted), "a token of the new one")


def _client_ids(exchange: Any) -> set[str]:
    found = exchange.query | exchange.form
    return {found.get("client_id", ""), str(exchange.facts.get("client_id", ""))} - {""}


def _stale_tokens(flow: Flow, new: AuthServer) -> None:
    """Check that no token of the old server was sent once the metadata said that there is a new one."""
    is_told = False
    for each in flow.realm.log:
        is_told = is_told or (each.kind == "metadata" and each.place == new.name)
        value = (each.head.get("authorization") or "").partition(" ")[2]
        token = flow.realm.tokens.get(value)
        if is_told and each.kind == "mcp" and token is not None:
            flow.trial.check(
                219, token.issuer == new.issuer, f"a token of {token.issuer}, the server's is {new.issuer}"
            )


@scenario(id="auth/credentials-of-another-issuer", covers=[219], revisions="E", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def credentials_of_another_issuer(trial: ClientTrial) -> None:
    """The client was registered beforehand, but with another authorization server than the one it is sent to."""
    flow, server = await Flow.usual(trial)
    server.metadata_more["registration_endpoint"] = ...
    server.method = "client_secret_basic"
    server.clients["pre-registered-client"] = Client("pre-registered-client", "pre-registered-secret", server.method)
    given = {
        "client_id": "pre-registered-client",
        "client_secret": "pre-registered-secret",
        "issuer": "https://another.example.com",
    }
    await flow.run(given)
    shown = [each.show() for each in flow.realm.log if "pre-registered-client" in _client_ids(each)]
    said = f"the credentials are https://another.example.com's; shown at {', '.join(shown) or 'no other'}"
    trial.check(219, not shown, said)
