"""What servers ask of clients: by requests in the older revisions, by `input_required` in the newest."""

import asyncio
import base64
from typing import Any

from ...dialect import META, Reply
from ...scenario import ENVELOPE, Trial, scenario, short

CAPABILITIES = f"{META}clientCapabilities"


@scenario(covers=[24, 148, 152, 149], revisions="CD", alone=True)
async def elicitation(trial: Trial) -> None:
    """A form is a flat object of primitives; accepted, declined and cancelled answers are taken."""
    talk = await trial.open(own=True, capabilities={"elicitation": {"form": {}}})
    for answer in ({"action": "decline"}, {"action": "cancel"}, None):
        if answer is not None:
            talk.answers["elicitation/create"] = lambda params, a=answer: a
        else:
            talk.answers.clear()
        reply = await talk.call("tools/call", trial.tool("elicitation"))
        asked = [params for _, method, params in reply.asked if method == "elicitation/create"]
        trial.check(148, bool(asked), f"a tool that asks the user did not: {reply.show()}")
        shown = "accept" if answer is None else answer["action"]
        trial.check(24, reply.message is not None, f"{shown}: {reply.show()}")
        for params in asked:
            schema = params.get("requestedSchema")
            is_form = isinstance(schema, dict) and schema.get("type") == "object"
            trial.check(152, is_form and isinstance(params.get("message"), str), f"elicitation/create: {short(params)}")


@scenario(covers=[1, 2, 24, 159], revisions="ABCD", alone=True)
async def sampling(trial: Trial) -> None:
    """The client's model is asked with messages and a limit, each time under a new id."""
    talk = await trial.open(own=True, capabilities={"sampling": {}})
    for _ in range(2):
        reply = await talk.call("tools/call", trial.tool("sampling"))
        asked = [params for _, method, params in reply.asked if method == "sampling/createMessage"]
        trial.check(24, bool(asked), f"a tool that asks the model did not: {reply.show()}")
        for params in asked:
            is_whole = isinstance(params.get("messages"), list) and isinstance(params.get("maxTokens"), int)
            trial.check(24, is_whole, f"sampling/createMessage: {short(params)}")
            trial.check(159, "tools" not in params and "toolChoice" not in params, "tools for a client without them")
        trial.check(24, "judge" in reply.text, f"the model's answer did not come through: {reply.show()}")


@scenario(covers=[71, 102, 4], revisions="BCD", transports=("http",), alone=True)
async def questions_on_the_stream_of_the_request(trial: Trial) -> None:
    """What a tool asks comes on the stream of its request, and on no other."""
    talk = await trial.open(own=True)
    await talk.open_get()
    reply = await talk.call("tools/call", trial.tool("sampling"))
    asked = [r for r in talk.inbox if r.method == "sampling/createMessage"]
    ids = [(type(r.message["id"]), r.message["id"]) for r in asked]
    trial.check(71, len(ids) == len(set(ids)), "one request came on two streams")
    trial.check(4, reply.result is not None and bool(asked), f"a tool that asks: {reply.show()}")


INPUTS = {
    "input_elicitation": "elicitation/create",
    "input_sampling": "sampling/createMessage",
    "input_roots": "roots/list",
}


@scenario(covers=[162, 163, 164, 165, 148, 152], revisions=ENVELOPE)
async def input_required(trial: Trial) -> None:
    """A tool that needs something answers `input_required`; with the answers the call completes."""
    talk = await trial.open()
    tried = 0
    for name, method in INPUTS.items():
        if trial.fixtures.find("tools", name) is None:
            continue
        tried += 1
        first = await talk.request("tools/call", trial.tool(name))
        result = first.result or {}
        is_interim = result.get("resultType") == "input_required"
        trial.check(163, is_interim, f"{name}: {first.show()}")
        wanted = [each.get("method") for each in (result.get("inputRequests") or {}).values()]
        trial.check(164, method in wanted, f"{name}: asks for {wanted}")
        trial.check(165, is_interim and bool(wanted), f"{name}: {first.show()}")
        reply = await talk.call("tools/call", trial.tool(name))
        is_done = (reply.result or {}).get("resultType") == "complete"
        trial.check(163, is_done, f"{name}: with its inputs: {reply.show()}")
    if not tried:
        trial.fixture("tools", "input_elicitation")


@scenario(covers=[162], revisions=ENVELOPE)
async def input_required_by_a_prompt(trial: Trial) -> None:
    """A prompt may ask too."""
    talk = await trial.open()
    row = trial.fixture("prompts", "input")
    reply = await talk.call("prompts/get", {"name": row["name"], "arguments": row.get("arguments", {})})
    trial.check(
        162, bool(reply.asked) and bool((reply.result or {}).get("messages")), f"a prompt that asks: {reply.show()}"
    )


async def _first(talk: Any, trial: Trial, name: str) -> tuple[Reply, dict[str, Any], dict[str, Any]]:
    """Ask once, and return what came, the call's params, and answers to what was asked."""
    params = trial.tool(name)
    first = await talk.request("tools/call", params)
    wanted = (first.result or {}).get("inputRequests") or {}
    answers = {key: talk.answer_to(each["method"], each.get("params") or {}) for key, each in wanted.items()}
    return first, params, answers


@scenario(covers=[171, 173], revisions=ENVELOPE)
async def tampered_state(trial: Trial) -> None:
    """A request state that was changed, or that belongs to another call, is refused."""
    talk = await trial.open()
    first, params, answers = await _first(talk, trial, "input_state")
    state = (first.result or {}).get("requestState")
    if not isinstance(state, str):
        trial.skip(171, "the fixture tools.input_state gives no requestState")
        return
    for forged in (_flipped(state), state + "A", base64.b64encode(b"forged").decode(), ""):
        given = {**params, "inputResponses": answers, "requestState": forged}
        reply = await talk.request("tools/call", given)
        trial.check(171, reply.error is not None, f"a forged requestState: {reply.show()}")
    good = await talk.request("tools/call", {**params, "inputResponses": answers, "requestState": state})
    trial.check(171, good.result is not None, f"the true requestState: {good.show()}")
    other = trial.fixtures.find("tools", "input_elicitation")
    if other is not None:
        given = {"name": other["name"], "arguments": {}, "inputResponses": answers, "requestState": state}
        reply = await talk.request("tools/call", given)
        is_done = (reply.result or {}).get("resultType") == "complete"
        trial.check(173, not is_done, f"the state of another tool was taken: {reply.show()}")


def _flipped(state: str) -> str:
    middle = len(state) // 2
    return state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]


@scenario(covers=[172], revisions=ENVELOPE)
async def wrong_inputs(trial: Trial) -> None:
    """Inputs that are missing are asked for again, more than was asked for is ignored, nonsense never completes."""
    talk = await trial.open()
    first, params, answers = await _first(talk, trial, "input_elicitation")
    state = (first.result or {}).get("requestState")
    base = {**params, **({"requestState": state} if state is not None else {})}
    reply = await talk.request("tools/call", {**base, "inputResponses": {}})
    trial.check(172, (reply.result or {}).get("resultType") == "input_required", f"nothing answered: {reply.show()}")
    more = {**answers, "judge-made-this-up": {"action": "accept", "content": {}}}
    reply = await talk.request("tools/call", {**base, "inputResponses": more})
    trial.check(172, (reply.result or {}).get("resultType") == "complete", f"an extra key: {reply.show()}")
    for nonsense in ("text", 5, None, {"action": "judge"}, {"action": "accept", "content": 5}):
        bad = dict.fromkeys(answers, nonsense)
        reply = await talk.request("tools/call", {**base, "inputResponses": bad})
        result = reply.result or {}
        is_done = result.get("resultType") == "complete" and not result.get("isError")
        trial.check(172, not is_done, f"the answer {nonsense!r}: {reply.show()}")


@scenario(covers=[164, 42], revisions=ENVELOPE)
async def several_rounds(trial: Trial) -> None:
    """Several inputs at once, and several rounds, also on another connection than the first."""
    talk = await trial.open()
    reply = await talk.call("tools/call", trial.tool("input_several"))
    trial.check(164, len(reply.asked) > 1 and reply.result is not None, f"several inputs: {reply.show()}")
    reply = await talk.call("tools/call", trial.tool("input_rounds"))
    trial.check(164, len(reply.asked) > 1 and reply.result is not None, f"several rounds: {reply.show()}")
    first, params, answers = await _first(talk, trial, "input_elicitation")
    other = await trial.open(own=True)
    state = (first.result or {}).get("requestState")
    given = {**params, "inputResponses": answers} | ({} if state is None else {"requestState": state})
    if trial.is_http:
        reply = await other.request("tools/call", given)
        trial.check(42, reply.result is not None, f"the retry on another connection: {reply.show()}")


@scenario(covers=[39, 164], revisions=ENVELOPE)
async def modes_of_elicitation(trial: Trial) -> None:
    """A client that shows only URLs is not asked with a form."""
    talk = await trial.open()
    only: dict[str, Any] = {"elicitation": {"url": {}}}
    reply = await talk.request("tools/call", trial.tool("input_elicitation"), meta={CAPABILITIES: only})
    asked = [
        e.get("params", {}).get("mode", "form") for e in ((reply.result or {}).get("inputRequests") or {}).values()
    ]
    trial.check(164, "form" not in asked, "a form for a client that shows only URLs")
    trial.refused(39, reply, -32021, 400, "a client that shows only URLs")


@scenario(covers=[169, 42], revisions=ENVELOPE)
async def parallel_inputs(trial: Trial) -> None:
    """Calls that wait for input do not disturb each other."""
    talk = await trial.open()
    names = [name for name in INPUTS if trial.fixtures.find("tools", name)]
    if not names:
        trial.fixture("tools", "input_elicitation")
    replies = await asyncio.gather(*(talk.request("tools/call", trial.tool(name)) for name in names * 3))
    kinds = [(reply.result or {}).get("resultType") for reply in replies]
    trial.check(42, set(kinds) == {"input_required"}, f"calls at the same time answered {kinds}")
