"""How a client finds out who gives it a token: challenges, metadata of the resource and of the authorization server."""

from ...authflow import Flow
from ...authserver import OAUTH, OPENID, AuthServer
from ...client import ClientTrial
from ...realm import PRM
from ...scenario import scenario

HTTP = ("http",)
STEPS = (("prm", 212), ("metadata", 214), ("authorize", 216), ("token", 216))
OF_EVERY_FLOW = [211, 216, 217, 220, 224]


def _order(flow: Flow, rule: int, wanted: list[str]) -> None:
    """Check that paths were asked for in an order, the last one perhaps not at all."""
    seen = [path for path in dict.fromkeys(flow.paths) if path in wanted]
    flow.trial.check(rule, seen == wanted[: len(seen)], f"wanted {', then '.join(wanted)}; asked for {', '.join(seen)}")


@scenario(id="auth/metadata-default", covers=[*OF_EVERY_FLOW, 212, 214], revisions="CDE", transports=HTTP,
          role="client", seconds=30)  # fmt: skip
async def metadata_default(trial: ClientTrial) -> None:
    """The challenge says where the resource's metadata is, at the usual place; the rest is the usual way."""
    flow, _ = await Flow.usual(trial)
    await flow.run()
    flow.completed(211, steps=STEPS)
    trial.check(212, PRM not in flow.paths, f"the challenge named {PRM}/mcp; asked for {', '.join(flow.paths)}")


@scenario(id="auth/metadata-var1", covers=[*OF_EVERY_FLOW, 213, 214], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def metadata_var1(trial: ClientTrial) -> None:
    """The challenge says nothing: the metadata is at the path of the endpoint, and the other is OpenID's."""
    flow, server = await Flow.usual(trial)
    flow.realm.is_told = False
    server.metadata_paths = [OPENID]
    await flow.run()
    flow.completed(211, steps=(("prm", 213), *STEPS[1:]))
    _order(flow, 213, [f"{PRM}/mcp", PRM])
    _order(flow, 214, [OAUTH, OPENID])


@scenario(id="auth/metadata-var2", covers=[*OF_EVERY_FLOW, 213, 214], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def metadata_var2(trial: ClientTrial) -> None:
    """The challenge says nothing, the metadata is at the root, and the issuer has a path."""
    flow, _ = await Flow.usual(trial, path="/tenant1")
    flow.realm.is_told = False
    flow.realm.metadata_paths = [PRM]
    flow.realm.resource = flow.realm.origin
    await flow.run()
    flow.completed(211, steps=(("prm", 213), *STEPS[1:]))
    _order(flow, 213, [f"{PRM}/mcp", PRM])
    _stays_in_its_path(flow)


@scenario(id="auth/metadata-var3", covers=[*OF_EVERY_FLOW, 212, 214], revisions="DE", transports=HTTP, role="client",
          seconds=30)  # fmt: skip
async def metadata_var3(trial: ClientTrial) -> None:
    """The metadata is at a place of its own, and the issuer's is the last of three that are to be tried."""
    flow, server = await Flow.usual(trial, path="/tenant1")
    flow.realm.metadata_paths = ["/custom/metadata/location.json"]
    server.metadata_paths = [f"/tenant1{OPENID}"]
    await flow.run()
    flow.completed(211, steps=STEPS)
    usual = [path for path in flow.paths if path.startswith(PRM)]
    trial.check(212, not usual, f"the challenge named another place; asked for {', '.join(usual) or 'that alone'}")
    _order(flow, 214, [f"{OAUTH}/tenant1", f"{OPENID}/tenant1", f"/tenant1{OPENID}"])
    _stays_in_its_path(flow)


def _stays_in_its_path(flow: Flow) -> None:
    """Check that the metadata of another issuer, the one at the root, was not asked for."""
    strays = [each.path for each in flow.asked("metadata", "as") if each.path in (OAUTH, OPENID)]
    flow.trial.check(214, not strays, f"the issuer has a path; asked for {', '.join(strays) or 'what belongs to it'}")


@scenario(id="auth/challenge-among-others", covers=[212], revisions="CDE", transports=HTTP, role="client", seconds=30)
async def challenge_among_others(trial: ClientTrial) -> None:
    """The challenge stands behind another scheme's, with quoted commas and quotes, and its parameters in any order."""
    flow, _ = await Flow.usual(trial)
    flow.realm.metadata_paths = ["/elsewhere/metadata.json"]
    decoy = f"resource_metadata={flow.realm.origin}/decoy.json"
    before = rf'Newauth realm="apps, Bearer {decoy}, and \"others\"", type=1, '
    told = rf'bearer error_description="no \"token\", {decoy}, yet", '
    flow.realm.challenge = lambda usual: before + usual.replace("Bearer ", told)
    await flow.run()
    found = [each for each in flow.asked("prm") if each.status == 200]
    asked = [each.path for each in flow.realm.log if each.kind != "mcp"]
    trial.check(212, bool(found), f"the challenge named /elsewhere/metadata.json; asked for {', '.join(asked)}")
    if found:
        flow.completed(211, steps=STEPS)


@scenario(id="auth/resource-mismatch", covers=[212], revisions="CDE", transports=HTTP, role="client", seconds=30)
async def resource_mismatch(trial: ClientTrial) -> None:
    """The metadata is another resource's: whoever asks for a token all the same may get one for somebody else."""
    flow, _ = await Flow.usual(trial)
    flow.realm.resource = "https://evil.example.com/mcp"
    await flow.run()
    sent = flow.authorizations or flow.asked("token")
    said = f"the client {f'sent {sent[0].show()}' if sent else 'stopped'}"
    trial.check(212, not sent, f"the metadata is that of https://evil.example.com/mcp; {said}")
    trial.check(212, bool(flow.asked("prm")), "the resource's metadata was read")


@scenario(id="auth/metadata-issuer-mismatch", covers=[215], revisions="E", transports=HTTP, role="client", seconds=30)
async def metadata_issuer_mismatch(trial: ClientTrial) -> None:
    """The authorization server's metadata names another issuer: none of its endpoints may be used."""
    flow, server = await Flow.usual(trial)
    server.metadata_more["issuer"] = "https://evil.example.com"
    await flow.run()
    _unused(flow, server, 215, "the metadata names another issuer")


@scenario(id="auth/metadata-issuer-slash", covers=[215], revisions="E", transports=HTTP, role="client", seconds=30)
async def metadata_issuer_slash(trial: ClientTrial) -> None:
    """An issuer that differs by a slash is another one."""
    flow, server = await Flow.usual(trial, path="/tenant1")
    server.metadata_more["issuer"] = f"{server.issuer}/"
    await flow.run()
    _unused(flow, server, 215, "the metadata's issuer has a slash more")


def _unused(flow: Flow, server: AuthServer, rule: int, why: str) -> None:
    """Check that none of a server's endpoints was used once its metadata was read."""
    if not any(each.status == 200 for each in flow.asked("metadata", server.name)):
        flow.trial.check(214, False, f"the metadata was not read; asked for {', '.join(flow.paths)}")
        return
    used = [each.show() for each in flow.realm.log if each.kind in ("authorize", "token", "register")]
    flow.trial.check(rule, not used, f"{why}, and the client used {', '.join(used) or 'none of its endpoints'}")


@scenario(id="auth/no-pkce", covers=[216], revisions="DE", transports=HTTP, role="client", seconds=30)
async def no_pkce(trial: ClientTrial) -> None:
    """An authorization server that does not say it knows PKCE must not be used."""
    flow, server = await Flow.usual(trial)
    server.metadata_more["code_challenge_methods_supported"] = ...
    await flow.run()
    if any(each.status == 200 for each in flow.asked("metadata")):
        flow.refused(216, "code_challenge_methods_supported is absent", before="authorize")


@scenario(id="auth/insecure-endpoint", covers=[224], transports=HTTP, revisions="BCDE", role="client", seconds=30)
async def insecure_endpoint(trial: ClientTrial) -> None:
    """The token endpoint is plain HTTP on another machine: no code may be sent there."""
    is_old = trial.revision.letter == "B"
    flow, server = await Flow.usual(trial, inside=is_old)
    flow.realm.metadata_paths = [] if is_old else flow.realm.metadata_paths
    flow.realm.is_told = not is_old
    server.metadata_more["token_endpoint"] = "http://token.judge.invalid/token"
    # The name leads nowhere; who believes in it asks the proxy, which is the judge.
    proxy = flow.realm.origin
    names = "127.0.0.1,localhost"
    await flow.run(http_proxy=proxy, HTTP_PROXY=proxy, no_proxy=names, NO_PROXY=names)
    if not any(each.status == 200 for each in flow.asked("metadata")):
        return
    sent = [each for each in flow.realm.log if each.head.target.startswith("http://token.judge.invalid")]
    if sent:
        trial.check(224, False, "the client sent its code over plain HTTP to another machine")
    elif not flow.authorizations:
        trial.check(224, True, "the client stopped at a token endpoint that is neither https nor of this machine")
    else:
        trial.skip(224, "the client asked for a code; whether it sent it over plain HTTP cannot be seen")


@scenario(id="auth/2025-03-26-oauth-metadata-backcompat", covers=[211, 224], revisions="B", transports=HTTP,
          role="client", seconds=30)  # fmt: skip
async def oauth_metadata_backcompat(trial: ClientTrial) -> None:
    """There is no metadata of the resource: the authorization server's is at the origin of the endpoint."""
    flow, server = await Flow.usual(trial, inside=True)
    flow.realm.is_told = False
    flow.realm.metadata_paths = []
    server.prefix = "/oauth"
    await flow.run()
    flow.completed(211, steps=(("metadata", 214), ("authorize", 216), ("token", 216)))


@scenario(id="auth/2025-03-26-oauth-endpoint-fallback", covers=[211, 224], revisions="B", transports=HTTP,
          role="client", seconds=30)  # fmt: skip
async def oauth_endpoint_fallback(trial: ClientTrial) -> None:
    """There is no metadata at all: the endpoints are at their usual paths."""
    flow, server = await Flow.usual(trial, inside=True)
    flow.realm.is_told = False
    flow.realm.metadata_paths = []
    server.metadata_paths = []
    server.iss = None  # nobody has said which issuer this is
    await flow.run()
    flow.completed(211, steps=(("register", 220), ("authorize", 216), ("token", 216)))
