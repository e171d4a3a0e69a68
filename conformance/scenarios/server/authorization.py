"""What a server does that demands tokens: how it says so, and which it takes."""

import json
from typing import Any
from urllib.parse import urlsplit

from ...conversations import HttpConversation, encode
from ...dialect import ABSENT, INFO, NoAnswer
from ...monitor import ServerMonitor
from ...realm import PRM
from ...scenario import Skip, Trial, scenario
from ...tokens import Tokens, parse_challenges
from ...wire import Answer, Broken, HttpRequest, HttpWire

HTTP = ("http",)
NOBODY = {"Authorization": ABSENT}


def _tokens(trial: Trial) -> Tokens:
    found = getattr(trial.target, "tokens", None)
    return found if isinstance(found, Tokens) else Tokens()


def _token(trial: Trial, kind: str) -> str:
    """Return a token of a kind.

    Raises:
        Skip: none was given.
    """
    token = getattr(_tokens(trial), kind)
    if token is None:
        raise Skip(f"no {kind} token was given; see --tokens")
    return str(token)


def _as(token: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {token}"}


def _first(talk: HttpConversation) -> dict[str, Any]:
    """Return the message with which a client of the revision begins."""
    if talk.revision.is_envelope:
        return talk.message("server/discover", None, {})
    params = {"protocolVersion": talk.revision.name, "capabilities": talk.declared, "clientInfo": INFO}
    return talk.message("initialize", params, {})


async def _begin(talk: HttpConversation, headers: dict[str, Any]) -> Answer:
    message = _first(talk)
    return await talk.exchange(encode(message), message, headers=headers)


async def _locked(trial: Trial) -> tuple[HttpConversation, Answer]:
    """Return a conversation with a server that demands a token, and how it said so.

    Raises:
        Skip: it demands none.
    """
    talk = await trial.open(handshake=False)
    # Whoever is refused may be told so in any form, and messages are judged elsewhere.
    talk.monitor = ServerMonitor(lambda rule, is_kept, detail, line=None: is_kept)
    answer = await _begin(talk, NOBODY)
    if answer.status != 401 and _tokens(trial).good is None:
        raise Skip(f"the server demands no tokens; without one it answers {answer.status}")
    return talk, answer


def _bearer(answer: Answer) -> dict[str, str] | None:
    """Return the parameters of an answer's challenge; `None` if it has none."""
    header = ", ".join(value for name, value in answer.headers if name.lower() == "www-authenticate")
    try:
        return next((found for scheme, found in parse_challenges(header) if scheme in ("bearer", "dpop")), None)
    except ValueError:
        return None


def _said(answer: Answer) -> str:
    return f"{answer.status} with WWW-Authenticate {answer.header('www-authenticate')!r}"


@scenario(covers=[208], transports=HTTP, revisions="BCDE")
async def auth_missing_token(trial: Trial) -> None:
    """Without a token nobody gets in, by no method, and the answer says what is wanted."""
    talk, answer = await _locked(trial)
    if trial.check(208, answer.status == 401, f"without a token: {_said(answer)}"):
        trial.check(208, _bearer(answer) is not None, f"without a token: {_said(answer)}")
    got = await talk.get(headers=NOBODY)
    got.close()
    trial.check(208, got.status in (401, 404, 405), f"GET without a token was answered with {got.status}")


@scenario(covers=[208], transports=HTTP, revisions="BCDE")
async def auth_invalid_token(trial: Trial) -> None:
    """A token that is none, or of another scheme, or unsigned, is answered with 401."""
    talk, _ = await _locked(trial)
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJqdWRnZSIsImV4cCI6NDEwMjQ0NDgwMH0."
    good = _tokens(trial).good
    wrong = {"an unknown token": "Bearer judge-made-this-up", "an unsigned token": f"Bearer {unsigned}",
             "another scheme": "Basic anVkZ2U6anVkZ2U=", "no token after the scheme": "Bearer"}  # fmt: skip
    if good is not None:
        changed = "A" if good[len(good) // 2] != "A" else "B"
        altered = trial.transcript.redact.hide(
            f"{good[: len(good) // 2]}{changed}{good[len(good) // 2 + 1 :]}", "altered good token"
        )
        wrong["an altered token"] = f"Bearer {altered}"
    for what, value in wrong.items():
        answer = await _begin(talk, {"Authorization": value})
        # What is no credentials at all may be called a malformed request.
        permitted = (400, 401) if value == "Bearer" else (401,)
        trial.check(208, answer.status in permitted, f"{what}: {_said(answer)}")
        if answer.status == 401:
            trial.check(208, _bearer(answer) is not None, f"{what}: {_said(answer)}")


@scenario(covers=[208], transports=HTTP, revisions="BCDE")
async def auth_expired_token(trial: Trial) -> None:
    """A token that has expired is answered with 401."""
    talk, _ = await _locked(trial)
    answer = await _begin(talk, _as(_token(trial, "expired")))
    trial.check(208, answer.status == 401, f"an expired token: {_said(answer)}")
    error = (_bearer(answer) or {}).get("error")
    trial.advise(208, error == "invalid_token", f"an expired token: the challenge says error {error!r}")


@scenario(covers=[208], transports=HTTP, revisions="BCDE")
async def auth_good_token(trial: Trial) -> None:
    """A good token is taken, and only from the header: in the address it would stand in every log."""
    token = _token(trial, "good")
    talk, _ = await _locked(trial)
    answer = await _begin(talk, _as(token))
    trial.check(208, answer.status not in (401, 403), f"a good token: {_said(answer)}")
    message = _first(talk)
    where = f"{talk.wire.target}{'&' if '?' in talk.wire.target else '?'}access_token={token}"
    request = HttpRequest("POST", where, talk.headers(message, {"headers": NOBODY}), encode(message))
    answer = await talk.wire.send(request, trial.transcript)
    answer.close()
    trial.check(
        208, answer.status in (400, 401, 403), f"a good token in the query, none in the header: {_said(answer)}"
    )


@scenario(covers=[208], transports=HTTP, revisions="BCD")
async def auth_session_is_no_token(trial: Trial) -> None:
    """The name of a session proves nothing: each of its requests needs the token."""
    _token(trial, "good")
    await _locked(trial)
    talk = await trial.open()
    talk.monitor = ServerMonitor(lambda rule, is_kept, detail, line=None: is_kept)
    if talk.session_id is None:
        raise Skip("the server has no sessions")
    message = talk.message("tools/list", None, {})
    answer = await talk.exchange(encode(message), message, headers=NOBODY)
    trial.check(208, answer.status == 401, f"a request of a session without a token: {_said(answer)}")


async def _called(trial: Trial, kind: str) -> Answer:
    """Call the tool that needs a scope with a token of a kind, and return the answer.

    Raises:
        Skip: there is no such token, or no tool is named.
    """
    given = _tokens(trial)
    token = _token(trial, kind)
    if given.tool is None:
        raise Skip("no tool is named that needs a scope; see --tokens")
    _token(trial, "good")
    await _locked(trial)
    talk = await trial.open()
    talk.monitor = ServerMonitor(lambda rule, is_kept, detail, line=None: is_kept)
    message = talk.message("tools/call", {"name": given.tool, "arguments": given.arguments or {}}, {})
    headers = _as(token)
    if talk.session_id is not None:
        # A session belongs to the token that opened it.
        opened = await _begin(talk, {**headers, "Mcp-Session-Id": ABSENT, "MCP-Protocol-Version": ABSENT})
        headers["Mcp-Session-Id"] = opened.header("mcp-session-id") or ABSENT
        if opened.status == 200:
            note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await talk.exchange(encode(note), note, headers=headers)
    answer: Answer = await talk.exchange(encode(message), message, headers=headers)
    return answer


@scenario(covers=[208], transports=HTTP, revisions="BCDE")
async def auth_insufficient_scope(trial: Trial) -> None:
    """A token that lacks a scope is answered with 403, and told which."""
    answer = await _called(trial, "narrow")
    if not trial.check(208, answer.status == 403, f"a token that lacks a scope: {_said(answer)}"):
        return
    if trial.revision.letter in "DE":
        told = _bearer(answer) or {}
        trial.advise(208, told.get("error") == "insufficient_scope", f"a token that lacks a scope: {_said(answer)}")
        trial.advise(208, bool(told.get("scope")), f"the scope that is needed: {_said(answer)}")
        trial.advise(208, "resource_metadata" in told, f"where the metadata is: {_said(answer)}")


@scenario(covers=[209], transports=HTTP, revisions="CDE")
async def auth_foreign_token(trial: Trial) -> None:
    """A token that was issued for another server is refused."""
    talk, _ = await _locked(trial)
    answer = await _begin(talk, _as(_token(trial, "foreign")))
    trial.check(209, answer.status == 401, f"a token for another server: {_said(answer)}")


@scenario(covers=[210], transports=HTTP, revisions="E")
async def auth_broader_scope(trial: Trial) -> None:
    """A token whose scope implies the one that is needed is enough."""
    answer = await _called(trial, "broad")
    trial.check(210, answer.status == 200, f"a token with a broader scope: {_said(answer)}")


@scenario(covers=[207], transports=HTTP, revisions="CDE")
async def auth_metadata(trial: Trial) -> None:
    """The metadata of the resource can be found and names an authorization server."""
    talk, answer = await _locked(trial)
    named = (_bearer(answer) or {}).get("resource_metadata")
    if trial.revision.letter == "C":
        trial.check(207, named is not None, f"the challenge says where the metadata is: {_said(answer)}")
    parts = urlsplit(talk.wire.url)
    origin = f"{parts.scheme}://{parts.netloc}"
    places = [named] if named else [f"{origin}{PRM}{parts.path.rstrip('/')}", f"{origin}{PRM}"]
    document: Any = None
    for place in places:
        status, kind, document = await _fetch(trial, place)
        if status == 200:
            break
    if not trial.check(207, status == 200, f"the metadata at {' and '.join(places)}: {status}"):
        return
    is_object = isinstance(document, dict) and kind == "application/json"
    if not trial.check(207, is_object, f"the metadata at {place} is {kind or 'of no type'}: {str(document)[:200]}"):
        return
    servers = document.get("authorization_servers")
    is_whole = isinstance(servers, list) and bool(servers) and all(isinstance(each, str) for each in servers)
    trial.check(207, is_whole, f"authorization_servers is {servers!r}")
    resource = document.get("resource")
    is_ours = isinstance(resource, str) and talk.wire.url.startswith(resource.rstrip("/"))
    trial.check(207, is_ours, f"resource is {resource!r}, the endpoint {talk.wire.url}")
    if trial.is_envelope:
        scopes = document.get("scopes_supported") or []
        trial.advise(207, "offline_access" not in scopes, f"offline_access is no scope of a server's: {scopes}")


async def _fetch(trial: Trial, url: str) -> tuple[int, str, Any]:
    """GET a document; status, media type, and what it holds."""
    if urlsplit(url).scheme not in ("http", "https"):
        return 0, "", None
    wire = HttpWire(url, trial.target.tap)
    try:
        answer = await wire.send(HttpRequest("GET", wire.target, [("Accept", "application/json")]), trial.transcript)
        async for _ in answer.messages():
            pass
    except (Broken, NoAnswer):
        return 0, "", None
    finally:
        await wire.close()
    try:
        return answer.status, answer.media_type, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.media_type, answer.body[:200]
