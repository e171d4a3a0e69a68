"""Scenarios: what is tried with a target, and the trial that one run of a scenario is.

A scenario is a coroutine function that takes a `Trial`, talks to the target through it and says what it found, rule by
rule. What a rule is worth — a failure or a warning — is a matter of the rule's level, never of the scenario.
"""

import asyncio
import importlib
import inspect
import json
import pkgutil
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from .check import Check, Outcome, Verdict
from .conversations import HttpConversation
from .dialect import Conversation, NoAnswer, NotSpoken, Reply
from .fixture import Fixtures
from .monitor import ALWAYS, ServerMonitor
from .requirements import Revision, requirements
from .wire import Broken, Transcript

__all__ = ["SCENARIOS", "Scenario", "Skip", "Trial", "load", "run_scenario", "scenario"]

HANDSHAKE = "ABCD"
ENVELOPE = "E"
ALL = "ABCDE"
_SECONDS = {"server": 20.0, "client": 60.0}
EVERYWHERE = ("stdio", "http", "sse", "websocket")
"""Every transport there is."""


class Skip(Exception):
    """The scenario cannot be run here: something that it needs is absent."""


class Opener(Protocol):
    """What is under test; see `target`."""

    async def open(self, trial: "Trial", *, own: bool, options: dict[str, Any]) -> Conversation: ...
    async def release(self, conversation: Conversation, *, is_sound: bool) -> None: ...
    async def twin(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to try."""

    id: str
    run: Callable[[Any], Awaitable[None]]
    covers: tuple[int, ...]
    revisions: str
    transports: tuple[str, ...]
    role: str
    is_alone: bool
    """It leaves its conversation in no state to be used again."""
    seconds: float
    """When it is cut off."""
    asks: str = ""
    """What a client under test is to do in it in place of using everything there is; see `scenarios.client`."""

    @property
    def summary(self) -> str:
        """What it tries, in a line."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    def rules(self, revision: Revision, transport: str) -> list[int]:
        """Return the rules it covers that hold there."""
        table = requirements()
        return [rule for rule in self.covers if table[rule].applies(revision, transport, self.role)]

    def fits(self, revision: Revision, transport: str) -> bool:
        """Tell whether there is anything to try."""
        is_there = transport in self.transports and transport in revision.transports
        return revision.letter in self.revisions and is_there and bool(self.rules(revision, transport))


Body = Callable[[Any], Awaitable[None]]
"""A scenario's function: it takes a `Trial`, that of a client a `client.ClientTrial`."""

SCENARIOS: dict[str, Scenario] = {}
"""Every scenario by its id, those of servers and those of clients; filled by `load`."""


def scenario(
    *,
    covers: Sequence[int],
    revisions: str = ALL,
    transports: Sequence[str] = EVERYWHERE,
    role: str = "server",
    alone: bool = False,
    seconds: float | None = None,
    asks: str = "",
    id: str | None = None,
) -> Callable[[Body], Body]:
    """Make a function a scenario; its name is the id and its docstring says what it tries.

    Args:
        covers: the numbers of the rules that it looks at.
        revisions: the letters of the revisions it is for, `A` the oldest.
        transports: `stdio`, `http`, `sse`, `websocket`; default every one.
        role: whose rules they are: `server` or `client`.
        alone: give it a process of its own over stdio.
        seconds: when it is cut off; default 20, and 60 where clients have to start.
        asks: what a client under test is to do in it; default: use everything there is.
        id: another name than the function's.
    """

    def register(run: Body) -> Body:
        name = id or getattr(run, "__name__", "").strip("_").replace("_", "-")
        unknown = [rule for rule in covers if rule not in requirements()]
        if unknown or name in SCENARIOS:
            raise ValueError(f"scenario {name}: unknown rules {unknown}" if unknown else f"two scenarios named {name}")
        limit = seconds or _SECONDS[role]
        SCENARIOS[name] = Scenario(name, run, tuple(covers), revisions, tuple(transports), role, alone, limit, asks)
        return run

    return register


def load() -> dict[str, Scenario]:
    """Import every scenario there is and return them by id."""
    from . import scenarios  # here: they import this module

    for package in ("server", "client"):
        folder = importlib.import_module(f"{scenarios.__name__}.{package}")
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    return SCENARIOS


class Trial:
    """One run of a scenario: opens conversations, takes verdicts, keeps the transcript."""

    def __init__(
        self, which: Scenario, revision: Revision, transport: str, target: Opener, fixtures: Fixtures, timeout: float
    ) -> None:
        self.scenario = which
        self.revision = revision
        self.transport = transport
        self.target = target
        self.fixtures = fixtures
        self.timeout = timeout
        self.transcript = Transcript()
        for secret, name in getattr(target, "secrets", {}).items():
            self.transcript.redact.hide(secret, name)
        self.checks: list[Check] = []
        self._passed: set[int] = set()
        self.tried: list[int] = []
        """The rules that the scenario itself has checked, in order; the monitor's do not count."""
        self._opened: list[Conversation] = []

    @property
    def is_envelope(self) -> bool:
        """Tell whether each request describes itself in this revision."""
        return self.revision.is_envelope

    @property
    def is_http(self) -> bool:
        """Tell whether the transport is Streamable HTTP."""
        return self.transport == "http"

    def check(self, rule: int, is_kept: bool, detail: str, line: int | None = None) -> bool:
        """Say whether a rule is kept; rules that do not hold here are left out.

        Args:
            rule: its number.
            is_kept: whether it is.
            detail: what was seen, for a reader who does not know the scenario.
            line: where in the transcript.

        Returns:
            `is_kept`.
        """
        self.tried.append(rule)
        return self.observe(rule, is_kept, detail, line)

    def observe(self, rule: int, is_kept: bool, detail: str, line: int | None = None) -> bool:
        """Take a verdict of the monitor's."""
        requirement = requirements()[rule]
        if not requirement.applies(self.revision, self.transport, self.scenario.role):
            return is_kept
        if is_kept:
            if rule not in self._passed:
                self._passed.add(rule)
                self.checks.append(Check(rule, Verdict.PASS, detail if rule in self.tried else "", line))
            return True
        level = requirement.level_in(self.revision)
        if level == "MAY":
            return False
        verdict = Verdict.FAIL if level == "MUST" else Verdict.WARN
        if not any(c.rule == rule and c.detail == detail and c.verdict is verdict for c in self.checks):
            self.checks.append(Check(rule, verdict, detail, self.transcript.last if line is None else line))
        return False

    def holds(self, rule: int) -> bool:
        """Tell whether a rule binds the target here."""
        return requirements()[rule].applies(self.revision, self.transport, self.scenario.role)

    def advise(self, rule: int, is_kept: bool, detail: str) -> None:
        """Say whether advice that stands beside a rule is followed: a warning at most."""
        if is_kept:
            self.check(rule, True, detail)
        elif requirements()[rule].applies(self.revision, self.transport, self.scenario.role):
            self.checks.append(Check(rule, Verdict.WARN, detail, self.transcript.last))

    def skip(self, rule: int, reason: str) -> None:
        """Say that a rule could not be looked at."""
        if requirements()[rule].applies(self.revision, self.transport, self.scenario.role):
            self.checks.append(Check(rule, Verdict.SKIP, reason))

    def refused(self, rule: int, reply: Reply, code: int | None, status: int | None = None, what: str = "") -> bool:
        """Check that a reply is an error, with that code, and over HTTP with that status."""
        is_code = reply.error is not None and (code is None or reply.code == code)
        is_status = status is None or not self.is_http or reply.status == status
        wanted = " ".join(str(each) for each in (status if self.is_http else None, code) if each is not None)
        return self.check(rule, is_code and is_status, f"{what or 'refused'}: expected {wanted}, got {reply.show()}")

    async def open(self, *, own: bool = False, **options: Any) -> Any:
        """Return a conversation, ready for use.

        Args:
            own: not one that other scenarios use too.
            options: `capabilities` of the client, `handshake=False` to leave the lifecycle to the scenario,
                `initialized=False` to leave out the notification that ends it.
        """
        conversation = await self.target.open(self, own=own or self.scenario.is_alone, options=options)
        self._opened.append(conversation)
        return conversation

    def fixture(self, kind: str, name: str) -> dict[str, Any]:
        """Return a fixture's row.

        Raises:
            Skip: the target has no such fixture.
        """
        row = self.fixtures.find(kind, name)
        if row is None:
            raise Skip(f"the target has no fixture {kind}.{name}")
        return row

    def tool(self, name: str, **more: Any) -> dict[str, Any]:
        """Return the params that call a tool of the fixtures."""
        row = self.fixture("tools", name)
        return {"name": row["name"], "arguments": {**row.get("arguments", {}), **more}}

    def needs(self, conversation: Conversation, *path: str) -> Any:
        """Return a capability that the target declared.

        Raises:
            Skip: it did not.
        """
        found: Any = conversation.server_capabilities
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
            if found is None or found is False:
                raise Skip(f"the target does not declare {'.'.join(path)}")
        return found

    def monitor(self, **options: Any) -> ServerMonitor:
        """Return a monitor whose verdicts are this trial's."""
        return ServerMonitor(self.observe)

    async def close(self, *, is_sound: bool) -> None:
        """Give back what was opened."""
        for conversation in self._opened:
            await self.target.release(conversation, is_sound=is_sound)


async def run_scenario(
    which: Scenario,
    revision: Revision,
    transport: str,
    target: Any,
    fixtures: Fixtures,
    timeout: float,
    make: "Callable[..., Trial]" = Trial,
) -> Outcome:
    """Run one scenario once and return what it found."""
    trial = make(which, revision, transport, target, fixtures, timeout)
    outcome = Outcome(which.id, which.role, revision.name, transport)
    began = time.monotonic()
    is_sound = False
    rules = which.rules(revision, transport)
    try:
        async with asyncio.timeout(max(which.seconds, timeout)):
            await which.run(trial)
        is_sound = not which.is_alone
    except (Skip, NotSpoken) as reason:
        outcome.note = str(reason)
        is_sound = isinstance(reason, Skip)
        for rule in _undecided(trial, rules):
            trial.skip(rule, str(reason))
    except (NoAnswer, Broken, TimeoutError) as error:
        outcome.note = str(error) or f"cut off after {which.seconds:g} s"
        trial.check(_to_blame(trial, rules), False, outcome.note)
    except Exception as error:
        # The boundary of a scenario: a fault of its own must not pass for one of the target.
        outcome.note = f"the judge failed: {error!r}"
        trace = traceback.format_exc(limit=-4)
        trial.checks.append(Check(rules[0], Verdict.ERROR, f"{outcome.note}\n{trace}", trial.transcript.last))
    # What a target did wrong once may go on in its process, and would be laid at the next scenario's door.
    is_sound = is_sound and not any(check.verdict is Verdict.FAIL for check in trial.checks)
    try:
        await asyncio.wait_for(trial.close(is_sound=is_sound), timeout + 5)
    except TimeoutError:
        outcome.note = outcome.note or "the target could not be closed"
    for rule in _undecided(trial, rules):
        trial.skip(rule, "the scenario ended without testing it")
    redact = trial.transcript.redact
    outcome.note = redact(outcome.note)
    outcome.checks = [replace(check, detail=redact(check.detail)) for check in trial.checks]
    outcome.has_tested = any(c.rule in which.covers and c.verdict is not Verdict.SKIP for c in trial.checks)
    outcome.transcript = trial.transcript.lines
    outcome.seconds = time.monotonic() - began
    return outcome


def _to_blame(trial: Trial, rules: list[int]) -> int:
    """Return the rule that a target which went silent broke: the one the scenario was about to look at."""
    waiting = [rule for rule in rules if rule not in trial.tried and rule not in ALWAYS]
    tried = [rule for rule in trial.tried if rule in rules]
    return (waiting or tried[-1:] or rules)[0]


def _undecided(trial: Trial, rules: list[int]) -> list[int]:
    decided = {check.rule for check in trial.checks}
    return [rule for rule in rules if rule not in decided]


def is_http(conversation: Conversation) -> bool:
    """Tell whether a conversation goes over HTTP."""
    return isinstance(conversation, HttpConversation)


def short(value: Any) -> str:
    """Return JSON, cut where it gets long."""
    text = json.dumps(value, default=str)
    return text if len(text) < 200 else text[:200] + "…"
