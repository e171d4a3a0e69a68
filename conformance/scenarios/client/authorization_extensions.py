"""The extensions of authorization: other grants, and tokens bound to a key. Who lacks one is not judged by it."""

import uuid
from typing import Any

from ...authflow import Flow, needs_signatures
from ...authserver import EXCHANGE, ID_TOKEN, JWT_BEARER, AuthServer, Client
from ...client import ClientTrial
from ...proofs import KeyPair
from ...scenario import Skip, scenario
from .authorization_discovery import HTTP

CLIENT = "conformance-test-client"


async def _machine(trial: ClientTrial, grant: str) -> tuple[Flow, AuthServer]:
    """Start a realm for clients that act for nobody: no registration, one grant."""
    flow, server = await Flow.usual(trial)
    server.grants = {grant}
    server.metadata_more |= {"registration_endpoint": ..., "grant_types_supported": [grant]}
    return flow, server


def _used(flow: Flow, grant: str, what: str) -> None:
    """Leave the scenario out if the client does not use a grant.

    Raises:
        Skip: no token was asked for in this way.
    """
    if not any(each.form.get("grant_type") == grant for each in flow.asked("token")):
        raise Skip(f"the client does not use {what}, which is an extension")


def _ends(flow: Flow, trial: ClientTrial, grant: str, what: str) -> None:
    _used(flow, grant, what)
    flow.completed(211, steps=(("token", 211),))
    others = [each.form.get("grant_type") for each in flow.asked("token", "as") if each.form.get("grant_type") != grant]
    trial.check(211, not others, f"the only grant is {grant}; asked by {others or 'no other'}")


@scenario(id="auth/client-credentials-basic", covers=[211, 217], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def client_credentials_basic(trial: ClientTrial) -> None:
    """A client that acts on its own proves itself by its secret."""
    flow, server = await _machine(trial, "client_credentials")
    server.method = "client_secret_basic"
    server.clients[CLIENT] = Client(CLIENT, "conformance-test-secret", server.method)
    await flow.run({"client_id": CLIENT, "client_secret": "conformance-test-secret"})
    _ends(flow, trial, "client_credentials", "client credentials")


@scenario(id="auth/client-credentials-jwt", covers=[211, 217], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def client_credentials_jwt(trial: ClientTrial) -> None:
    """A client that acts on its own proves itself by what it signs."""
    needs_signatures()
    flow, server = await _machine(trial, "client_credentials")
    server.method = "private_key_jwt"
    server.metadata_more["token_endpoint_auth_signing_alg_values_supported"] = ["ES256"]
    key = KeyPair()
    server.clients[CLIENT] = Client(CLIENT, None, server.method, key=key)
    await flow.run({"client_id": CLIENT, "private_key_pem": key.pem, "signing_algorithm": "ES256"})
    _ends(flow, trial, "client_credentials", "client credentials")


@scenario(id="auth/enterprise-managed-authorization", covers=[211, 217], revisions="DE", transports=HTTP,
          role="client", seconds=40)  # fmt: skip
async def enterprise_managed_authorization(trial: ClientTrial) -> None:
    """A company's identity provider vouches for the user, so that nobody is asked."""
    needs_signatures()
    flow, server = await _machine(trial, JWT_BEARER)
    server.method = "client_secret_basic"
    server.metadata_more["authorization_grant_profiles_supported"] = ["urn:ietf:params:oauth:grant-profile:id-jag"]
    name, idp_name = "conformance-test-xaa-client", "conformance-test-idp-client"
    server.clients[name] = Client(name, "conformance-test-xaa-secret", server.method)
    provider = await flow.add("idp", trusted=False)
    provider.grants = {EXCHANGE}
    provider.clients[idp_name] = Client(idp_name)
    provider.key = KeyPair()
    id_token = provider.key.sign({"iss": provider.issuer, "sub": "user", "aud": idp_name})
    provider.subjects.add(id_token)
    given: dict[str, Any] = {
        "client_id": name,
        "client_secret": "conformance-test-xaa-secret",
        "idp_client_id": idp_name,
        "idp_id_token": id_token,
        "idp_issuer": provider.issuer,
        "idp_token_endpoint": provider.url("token"),
    }
    await flow.run(given)
    asked = flow.asked("token", "idp")
    if not asked:
        raise Skip("the client does not use managed authorization, which is an extension")
    first = asked[0].form
    trial.check(211, first.get("audience") == server.issuer, f"the audience is {first.get('audience')!r}")
    trial.check(211, first.get("subject_token_type") == ID_TOKEN, f"it is a {first.get('subject_token_type')!r}")
    if "resource" in first:
        trial.check(217, first["resource"] == flow.realm.resource, f"the resource is {first['resource']!r}")
    flow.completed(211, steps=(("token", 211),))
    others = [each.form.get("grant_type") for each in flow.asked("token", "as")]
    trial.check(211, set(others) <= {JWT_BEARER}, f"the only grant is {JWT_BEARER}; asked by {others}")
    trial.check(211, not flow.authorizations, "the user is not sent anywhere")


@scenario(id="auth/wif-jwt-bearer", covers=[211, 217], revisions="DE", transports=HTTP, role="client", seconds=30)
async def wif_jwt_bearer(trial: ClientTrial) -> None:
    """A workload shows what its platform signed; what is refused is not tried again in another way."""
    needs_signatures()
    flow, server = await _machine(trial, JWT_BEARER)
    key = KeyPair()
    claims = {"iss": "https://platform.example.com", "sub": "conformance-wif-workload", "aud": server.url("token")}
    good = key.sign(claims)
    server.assertions[good] = {"id": uuid.uuid4().hex}
    given = {
        "client_id": "conformance-wif-workload",
        "valid_jwt": good,
        "wrong_audience_jwt": key.sign({**claims, "aud": "https://evil.example.com/token"}),
        "expired_jwt": key.sign(claims, lifetime=-600),
    }
    await flow.run(given)
    asked = flow.asked("token")
    if not any(each.form.get("grant_type") == JWT_BEARER for each in asked):
        raise Skip("the client does not use workload identities, which is an extension")
    failed = [index for index, each in enumerate(asked) if each.status != 200]
    trial.check(211, not failed or failed[0] == len(asked) - 1, "after a refusal no other token request came")
    trial.check(211, not flow.asked("register") and not flow.authorizations, "nothing was registered or asked for")
    _ends(flow, trial, JWT_BEARER, "workload identities")


async def _bound(trial: ClientTrial, *, nonces: bool) -> None:
    needs_signatures()
    flow, server = await Flow.usual(trial)
    flow.realm.binds = server.binds = True
    flow.realm.metadata_more["dpop_bound_access_tokens_required"] = True
    flow.realm.metadata_more["dpop_signing_alg_values_supported"] = ["ES256"]
    if nonces:
        server.nonce, flow.realm.nonce = uuid.uuid4().hex, uuid.uuid4().hex
    await flow.run()
    proofs = [each for each in flow.realm.log if each.head.get("dpop") is not None]
    if not proofs:
        raise Skip("the client binds its tokens to no key (DPoP), which is an extension")
    flow.completed(211, steps=(("token", 211),))
    wrong = [each.problem for each in flow.realm.log if "proof" in each.problem or "the scheme" in each.problem]
    trial.check(211, not wrong, f"proofs that do not hold: {'; '.join(wrong) or 'none'}")
    if nonces:
        asked = [each for each in flow.realm.log if each.problem == "use_dpop_nonce"]
        trial.check(211, len(asked) <= 4, f"the judge asked for a nonce {len(asked)} times")
        count = len(flow.authorizations)
        trial.check(211, count <= 2, f"a nonce that is asked for is no new authorization; there were {count}")


@scenario(id="auth/dpop", covers=[211], revisions="DE", transports=HTTP, role="client", seconds=30)
async def dpop(trial: ClientTrial) -> None:
    """Tokens are bound to the client's key, and each request proves that it has it."""
    await _bound(trial, nonces=False)


@scenario(id="auth/dpop-nonce", covers=[211], revisions="DE", transports=HTTP, role="client", seconds=30)
async def dpop_nonce(trial: ClientTrial) -> None:
    """Both servers want a number of theirs in the proofs."""
    await _bound(trial, nonces=True)
