"""The handshake of the older revisions."""

from ...requirements import revisions
from ...scenario import HANDSHAKE, Trial, scenario


@scenario(covers=[4, 5, 6, 8, 19, 37, 46], alone=True)
async def first_contact(trial: Trial) -> None:
    """The first exchange: what a target that cannot be talked to did wrong."""
    await trial.open(own=True)


@scenario(covers=[19, 20, 119], revisions=HANDSHAKE, alone=True)
async def initialize(trial: Trial) -> None:
    """`initialize` is answered with the revision that was asked for, the capabilities and who the server is."""
    talk = await trial.open(own=True, handshake=False)
    reply = await talk.initialize()
    result = reply.result or {}
    trial.check(19, reply.result is not None, f"initialize answered {reply.show()}")
    chosen = result.get("protocolVersion")
    trial.check(20, chosen == trial.revision.name, f"asked for {trial.revision.name}, got {chosen!r}")
    await talk.notify("notifications/initialized")
    after = await talk.request("ping")
    trial.check(19, after.result is not None, f"after the handshake ping answered {after.show()}")


@scenario(covers=[21], revisions=HANDSHAKE, alone=True)
async def unsupported_version(trial: Trial) -> None:
    """A revision nobody knows is answered with one that the server speaks, not with an error."""
    talk = await trial.open(own=True, handshake=False)
    for version in ("1999-01-01",):
        reply = await talk.initialize(version)
        chosen = (reply.result or {}).get("protocolVersion")
        known = [name for name, each in revisions().items() if not each.is_envelope]
        is_other = isinstance(chosen, str) and chosen != version
        trial.check(21, is_other, f"asked for {version}, got {reply.show()}")
        trial.advise(21, chosen in known, f"the revision that the server offers instead is {chosen!r}")


@scenario(covers=[25], revisions=HANDSHAKE, alone=True)
async def ping(trial: Trial) -> None:
    """`ping` is answered with an empty result, also before the handshake is over."""
    talk = await trial.open(own=True, initialized=False)
    reply = await talk.request("ping")
    trial.check(25, reply.result is not None and not _beyond_meta(reply.result), f"an early ping: {reply.show()}")
    await talk.notify("notifications/initialized")
    reply = await talk.request("ping")
    trial.check(25, reply.result is not None and not _beyond_meta(reply.result), f"ping: {reply.show()}")


def _beyond_meta(result: dict[str, object]) -> list[str]:
    return [name for name in result if name != "_meta"]


@scenario(covers=[27], revisions=HANDSHAKE, alone=True)
async def silence_before_initialized(trial: Trial) -> None:
    """Before `notifications/initialized` the server sends nothing but pings and log messages."""
    talk = await trial.open(own=True, initialized=False)
    await talk.request("ping")
    await talk.watch(lambda r: False, 0.15)
    sent = [r.method for r in talk.inbox if r.method not in (None, "ping", "notifications/message")]
    trial.check(27, not sent, f"sent before the handshake was over: {sent}")


@scenario(covers=[24], revisions="CD", alone=True)
async def undeclared_capabilities_are_not_used(trial: Trial) -> None:
    """A client that declared nothing is asked nothing."""
    talk = await trial.open(own=True, capabilities={})
    tried = False
    for name in ("sampling", "elicitation"):
        if trial.fixtures.find("tools", name) is None:
            continue
        tried = True
        seen = len(talk.inbox)
        reply = await talk.request("tools/call", trial.tool(name))
        asked = [r.method for r in talk.inbox[seen:] if r.method in ("sampling/createMessage", "elicitation/create")]
        is_told = reply.error is not None or bool((reply.result or {}).get("isError"))
        trial.check(24, not asked, f"the server sent {asked} to a client without that capability")
        trial.check(24, is_told, f"a tool that needs {name} answered a client without it: {reply.show()}")
    if not tried:
        trial.fixture("tools", "sampling")
