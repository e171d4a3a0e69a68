"""How a client went through a realm: the run of a scenario, and what is looked at in every one of them."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from .authserver import AuthServer
from .client import ClientTrial
from .clientmonitor import ClientMonitor
from .proofs import is_available
from .realm import Exchange, Realm
from .scenario import Skip

__all__ = ["Flow", "needs_signatures"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def needs_signatures() -> None:
    """Leave a scenario out where no signatures can be checked.

    Raises:
        Skip: joserfc is not installed.
    """
    if not is_available():
        raise Skip("the judge cannot check signatures here: pip install joserfc (the extra `auth`)")


class Flow:
    """One run of a client against a realm.

    A scenario makes one, changes realm and servers, runs the client, and looks.
    """

    def __init__(self, trial: ClientTrial, realm: Realm) -> None:
        self.trial = trial
        self.realm = realm

    @classmethod
    async def make(cls, trial: ClientTrial) -> "Flow":
        """Start the MCP server; authorization servers are added by `add`."""
        # The messages themselves are judged by other scenarios; here it is about who may send them.
        server = await trial.serve(ClientMonitor(lambda rule, is_kept, detail, line=None: is_kept))
        server.tools = [{"name": "test-tool", "inputSchema": {"type": "object", "properties": {}}}]
        return cls(trial, Realm(server))

    @classmethod
    async def usual(cls, trial: ClientTrial, *, path: str = "", inside: bool = False) -> tuple["Flow", AuthServer]:
        """Start the MCP server and one authorization server."""
        flow = await cls.make(trial)
        return flow, await flow.add(path=path, inside=inside)

    async def add(self, name: str = "as", **options: Any) -> AuthServer:
        """Start an authorization server of the realm."""
        server = AuthServer(self.realm, name, **options)
        await server.start()
        self.trial.keep(server)
        return server

    async def run(self, context: dict[str, Any] | None = None, **env: str) -> None:
        """Run the client.

        Raises:
            Skip: it sent nothing, or does nothing about authorization.
        """
        if context is not None:
            env["MCP_CONFORMANCE_CONTEXT"] = json.dumps({"name": self.trial.scenario.id, **context})
            for name, value in context.items():
                if any(word in name for word in ("secret", "jwt", "token", "private")) and "endpoint" not in name:
                    self.realm.redact.hide(value, name)
        await self.trial.run_client(self.realm.server, until=15.0, **env)
        if not self.realm.log:
            raise Skip(f"the client sent nothing{self._last_words()}")
        if not self.realm.is_tried:
            raise Skip(f"the client does not try to authorize itself: after 401 it went away{self._last_words()}")

    def _last_words(self) -> str:
        lines = [line.strip("| +-") for line in self.trial.stderr.splitlines()]
        words = [line for line in lines if line]
        return f"; it said: {words[-1][-200:]}" if words else ""

    # What was asked.

    def asked(self, kind: str, place: str | None = None) -> list[Exchange]:
        """Return the exchanges of a kind."""
        return self.realm.of(kind, place)

    @property
    def authorizations(self) -> list[Exchange]:
        """The authorization requests."""
        return self.realm.of("authorize")

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for to find out where to go, in order."""
        return [each.path for each in self.realm.log if each.kind in ("prm", "metadata")]

    # What is looked at.

    def completed(self, rule: int, *, steps: Sequence[tuple[str, int]] = ()) -> bool:
        """Check that the client got a token and used it, and hold what it did on the way to the rules of every flow.

        Args:
            rule: to blame where it stopped for no other reason.
            steps: kinds of exchanges that must have succeeded on the way, and the rules they belong to.
        """
        self.watched()
        return self.completed_until(steps) and self._say(rule, bool(self.realm.accepted), "mcp")

    def completed_until(self, steps: Sequence[tuple[str, int]]) -> bool:
        """Check that each kind of exchange has succeeded, and blame its rule where one has not."""
        for kind, blamed in steps:
            if not self._say(blamed, any(each.status in (200, 201, 302) for each in self.asked(kind)), kind):
                return False
        return True

    def _say(self, rule: int, is_done: bool, kind: str) -> bool:
        what = {"prm": "the resource's metadata", "metadata": "the authorization server's metadata", "mcp": "a token",
                "authorize": "an authorization", "token": "a token", "register": "a client id"}[kind]  # fmt: skip
        if is_done:
            return self.trial.check(rule, True, f"the client got {what}")
        tried = "; ".join(f"{each.show()} → {each.status} {each.problem}".strip() for each in self.realm.log[-4:])
        # Where the rule does not hold in this revision, the one that holds everywhere is to be named.
        rule = rule if self.trial.holds(rule) else 211
        return self.trial.check(rule, False, f"the client did not get {what}: {tried}{self._last_words()}")

    def watched(self) -> None:
        """Hold every exchange to what always holds: rules 211, 216, 217, 220 and 224."""
        self._bearer()
        self._pkce()
        self._resource()
        for each in self.asked("register"):
            kind = each.json.get("application_type")
            self.trial.check(220, kind in ("native", "web"), f"the registration says application_type {kind!r}")
            uris = each.json.get("redirect_uris")
            for uri in uris if isinstance(uris, list) else [uris]:
                self.trial.check(224, _is_safe(uri), f"the redirect URI {uri!r} was registered")
        for each in self.authorizations:
            uri = each.query.get("redirect_uri")
            self.trial.check(224, _is_safe(uri), f"the redirect URI is {uri!r}")

    def _bearer(self) -> None:
        secrets = self.realm.tokens
        for each in self.realm.log:
            found = [name for name, value in each.query.items() if name == "access_token" or value in secrets]
            if found or (each.kind == "mcp" and secrets):
                self.trial.check(211, not found, f"{each.show()}: tokens in the query: {', '.join(found) or 'none'}")
        has_begun = False
        for each in self.asked("mcp"):
            scheme = (each.head.get("authorization") or "").partition(" ")[0]
            has_begun = has_begun or each.status == 200
            if has_begun:
                said = f"{each.head.method} {each.json.get('method', '')} came with the scheme {scheme!r}"
                wanted = "dpop" if self.realm.binds else "bearer"
                self.trial.check(211, scheme.lower() == wanted, said)

    def _pkce(self) -> None:
        for each in self.authorizations:
            challenge, method = each.query.get("code_challenge"), each.query.get("code_challenge_method")
            said = f"code_challenge is {'there' if challenge else 'missing'}, its method {method!r}"
            self.trial.check(216, bool(challenge) and method == "S256", said)
        for each in self.asked("token"):
            if each.form.get("grant_type") == "authorization_code":
                length = len(each.form.get("code_verifier", ""))
                self.trial.check(216, 43 <= length <= 128, f"code_verifier has {length} characters")
                is_right = "verifier" not in each.problem
                self.trial.check(216, is_right, each.problem or "code_verifier matches")

    def _resource(self) -> None:
        named: set[str] = set()
        for each in self.realm.log:
            if each.kind == "authorize" or (each.kind == "token" and self._is_of_resource(each)):
                resource = (each.query if each.kind == "authorize" else each.form).get("resource")
                is_there = self.trial.check(217, resource is not None, f"{each.show()}: resource is {resource!r}")
                if not is_there or resource is None:
                    continue
                parts = urlsplit(resource)
                is_absolute = bool(parts.scheme and parts.netloc) and "#" not in resource
                self.trial.check(217, is_absolute, f"{each.show()}: resource is {resource!r}")
                named.add(resource)
        if named:
            self.trial.check(217, len(named) == 1, f"the resource is named {' and '.join(sorted(named))}")
            wanted = self.realm.resource
            told = f"the resource is named {', '.join(sorted(named))}, its metadata says {wanted}"
            if self.asked("prm") and any(each.status == 200 for each in self.asked("prm")):
                self.trial.check(217, named == {wanted}, told)

    def _is_of_resource(self, exchange: Exchange) -> bool:
        """Tell whether a token request is one for a token of this resource, not for one between two servers."""
        return exchange.place in [each.name for each in self.realm.trusted] and exchange.place.startswith("as")

    def refused(self, rule: int, why: str, *, before: str) -> None:
        """Check that the client stopped before it sent a request of some kind.

        Args:
            rule: that wants it.
            why: it has to stop.
            before: the kind of exchange that must not have come.
        """
        self.watched()
        sent = self.asked(before)
        self.trial.check(rule, not sent, f"{why}, and the client {'stopped' if not sent else f'sent {sent[0].show()}'}")


def _is_safe(uri: Any) -> bool:
    """Tell whether a redirect URI is https or of this machine."""
    if not isinstance(uri, str):
        return False
    parts = urlsplit(uri)
    return bool(parts.hostname) and (parts.scheme == "https" or parts.hostname in _LOOPBACK)
