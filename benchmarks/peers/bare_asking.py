"""The floor of questions back to the client: messages are decoded and answered, and no rule is looked at."""

import os

import msgspec
from answers import Answers

STATE = "s" * 120
ASKED = {
    "elicit": (
        "elicitation/create",
        {"message": "hello", "requestedSchema": {"type": "object", "properties": {"answer": {"type": "string"}}}},
    ),
    "sample": (
        "sampling/createMessage",
        {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}], "maxTokens": 1024},
    ),
}


class Content(msgspec.Struct, frozen=True):
    answer: str = ""
    text: str = ""


class Result(msgspec.Struct, frozen=True):
    content: Content = Content()


class Params(msgspec.Struct):
    name: str = ""
    meta: dict[str, msgspec.Raw] = msgspec.field(name="_meta", default_factory=dict)
    responses: dict[str, Result] = msgspec.field(name="inputResponses", default_factory=dict)


class Message(msgspec.Struct):
    id: int | str | None = None
    method: str = ""
    params: Params = msgspec.field(default_factory=Params)
    result: Result | None = None


def main() -> None:
    decode, encode = msgspec.json.Decoder(Message).decode, msgspec.json.Encoder().encode
    other = Answers()
    waiting: dict[int, int | str | None] = {}
    number = 0

    def answer(line: bytes) -> dict[str, object] | None:
        nonlocal number
        message = decode(line)
        if message.result is not None:
            return told(waiting.pop(int(message.id or 0)), message.result)
        if message.params.responses:
            return told(message.id, next(iter(message.params.responses.values())))
        method, params = ASKED[message.params.name]
        if message.params.meta:
            inputs = {"q": {"method": method, "params": params}}
            result = {"resultType": "input_required", "inputRequests": inputs, "requestState": STATE}
            return {"jsonrpc": "2.0", "id": message.id, "result": result}
        number += 1
        waiting[number] = message.id
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

    def told(id: int | str | None, result: Result) -> dict[str, object]:
        text = result.content.answer or result.content.text
        return {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}

    rest = b""
    while data := os.read(0, 1 << 20):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if b"tools/call" in line or b'"method"' not in line:
                os.write(1, encode(answer(line)) + b"\n")
            elif (said := other.of(other.decode(line))) is not None:
                os.write(1, said + b"\n")


main()
