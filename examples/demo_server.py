"""A small server over stdio: everything a first server needs, nothing else. Run by `demo.py`."""

import ast
import operator
from dataclasses import dataclass

import anyio

from kailash.mcp_server import Context, MCPServer

server = MCPServer("demo", instructions="Calculates, counts and orders tea.")

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def evaluate(node: ast.AST) -> float:
    """Evaluate arithmetic and nothing else."""
    match node:
        case ast.Expression(body):
            return evaluate(body)
        case ast.Constant(int() | float() as value):
            return value
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](evaluate(left), evaluate(right))
        case ast.UnaryOp(op, operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](evaluate(operand))
    raise ValueError("only numbers and + - * /")


@server.tool
def calculate(expression: str) -> dict[str, float]:
    """Calculate an arithmetic expression.

    Args:
        expression: for example `6 * 7`
    """
    return {"result": evaluate(ast.parse(expression, mode="eval"))}


@server.tool
async def count(to: int, ctx: Context) -> str:
    """Count slowly, telling how far it is."""
    for number in range(1, to + 1):
        await anyio.sleep(0.05)
        await ctx.progress(number, to, f"counted {number}")
    return f"counted to {to}"


@dataclass
class Order:
    kind: str
    sugar: int = 0


@server.tool
async def order_tea(ctx: Context) -> str:
    """Order tea; asks the user which."""
    answer = await ctx.elicit("Which tea would you like?", Order)
    if answer.data is None:
        return "no tea, then"
    return f"one {answer.data.kind} with {answer.data.sugar} sugar"


@server.resource("config://settings")
def settings() -> dict[str, object]:
    """The server's settings."""
    return {"version": "1.0", "features": ["tools", "resources", "prompts"]}


@server.prompt
def summarize(text: str) -> str:
    """Ask for a summary."""
    return f"Summarize in one sentence: {text}"


if __name__ == "__main__":
    server.run()
