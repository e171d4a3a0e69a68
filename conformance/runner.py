"""Runs scenarios: one lane for each revision over each transport, several lanes at a time."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from .check import Outcome, Verdict
from .dialect import NoAnswer
from .fixture import Fixtures
from .requirements import Revision, find, revisions
from .scenario import EVERYWHERE, Scenario, load, run_scenario
from .target import ServerTarget
from .wire import Broken

__all__ = ["CannotRun", "Options", "choose", "judge_server", "like"]


class CannotRun(Exception):
    """Nothing could be judged, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run goes."""

    fixtures: Fixtures
    revisions: tuple[str, ...] = ()
    """Names; none: all that the target speaks."""
    transports: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    """Ids, patterns of ids, or requirements; none: all."""
    timeout: float = 5.0
    patience: float = 10.0
    """Seconds for the very first answer."""
    jobs: int = 8
    only: frozenset[tuple[str, str, str]] | None = None
    """Scenario, revision and transport of what is to run, of all that was chosen; `None`: all of it."""

    def wants(self, which: Scenario, revision: Revision, transport: str) -> bool:
        """Tell whether a scenario is to run there."""
        return which.fits(revision, transport) and (
            self.only is None or (which.id, revision.name, transport) in self.only
        )


def like(name: str, known: Iterable[str]) -> str:
    """Return what a message about an unknown name ends with: those that are like it, or else all there are."""
    known = list(known)
    near = get_close_matches(name, known, n=5, cutoff=0.5)
    return f"; perhaps {', '.join(near)}; `list` shows all" if near else f"; there are {', '.join(known)}"


def choose(role: str, wanted: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of a role that match ids, patterns, or rules they cover.

    Raises:
        CannotRun: a name that matches nothing.
    """
    there = [each for each in load().values() if each.role == role]
    if not wanted:
        return there
    chosen: list[Scenario] = []
    for name in wanted:
        rule = find(name)
        found = [s for s in there if (rule is not None and rule.number in s.covers) or fnmatchcase(s.id, name)]
        if not found:
            known = like(name, [each.id for each in there])
            raise CannotRun(f"no scenario of a {role} is named {name!r} or covers it{known}")
        chosen += [each for each in found if each not in chosen]
    return chosen


def chosen_revisions(names: Sequence[str]) -> list[Revision]:
    """Return revisions by name.

    Raises:
        CannotRun: a name that is none.
    """
    table = revisions()
    unknown = [name for name in names if name not in table]
    if unknown:
        raise CannotRun(f"no revision is named {', '.join(unknown)}; there are {', '.join(table)}")
    return [table[name] for name in names] if names else list(table.values())


async def judge_server(
    target: ServerTarget, options: Options, ended: Callable[[Outcome, int, int], None] = lambda *_: None
) -> tuple[list[Outcome], list[str]]:
    """Judge a server and return what was found, and remarks about what was not tried.

    Raises:
        CannotRun: the target cannot be started, or speaks none of the revisions.
    """
    scenarios = choose("server", options.scenarios)
    wanted = chosen_revisions(options.revisions)
    if unknown := [each for each in options.transports if each not in EVERYWHERE]:
        raise CannotRun(f"no transport is named {', '.join(unknown)}; there are {', '.join(EVERYWHERE)}")
    transports = [each for each in options.transports or target.transports if each in target.transports]
    if not transports:
        raise CannotRun(f"the target is reached over {', '.join(target.transports) or 'nothing'}")
    remarks: list[str] = []
    outcomes: list[Outcome] = []
    try:
        try:
            await target.start()
            lanes, silent = await _lanes(target, wanted, transports, options, remarks)
            for revision, transport in silent:
                # It may speak the revision, and speak it wrongly: then that is to be named.
                if (revision.name, transport) not in target.spoken or target.is_locked:
                    continue
                contact = load()["first-contact"]
                found = await run_scenario(contact, revision, transport, target, options.fixtures, options.timeout)
                if found.checks_with(Verdict.FAIL):
                    outcomes.append(found)
        except (Broken, NoAnswer, OSError, TimeoutError) as error:
            raise CannotRun(f"the target could not be reached: {error}") from error
        fixtures = options.fixtures
        if not lanes and target.is_locked:
            # Whoever lets nobody in can still be judged by how it says so.
            lanes = [(r, "http") for r in wanted if "http" in r.transports and "http" in transports]
            scenarios = [each for each in scenarios if each.id.startswith("auth-")]
        elif lanes:
            fixtures, absent = await target.fixtures(fixtures, *lanes[-1], options.timeout)
            if absent:
                remarks.append(f"fixtures that the target does not list: {', '.join(absent)}")
        work = [(r, t, [s for s in scenarios if options.wants(s, r, t)]) for r, t in lanes]
        total = sum(len(each) for _, _, each in work)
        if not total and not outcomes:
            raise CannotRun("; ".join(remarks) or "no scenario fits these revisions and transports")
        gate = asyncio.Semaphore(max(1, options.jobs))

        async def lane(revision: Revision, transport: str, each: list[Scenario]) -> None:
            async with gate:
                for which in each:
                    found = await run_scenario(which, revision, transport, target, fixtures, options.timeout)
                    outcomes.append(found)
                    ended(found, len(outcomes), total)

        async with asyncio.TaskGroup() as group:
            for revision, transport, each in work:
                group.create_task(lane(revision, transport, each))
    finally:
        await target.close()
    order = {name: index for index, name in enumerate(revisions())}
    outcomes.sort(key=lambda o: (o.transport, order[o.revision], o.scenario))
    return outcomes, remarks


async def _lanes(
    target: ServerTarget, wanted: Sequence[Revision], transports: Sequence[str], options: Options, remarks: list[str]
) -> tuple[list[tuple[Revision, str]], list[tuple[Revision, str]]]:
    lanes = [(r, t) for t in transports for r in wanted if t in r.transports]

    async def speaks(revision: Revision, transport: str) -> str | None:
        try:
            return await target.speaks(revision, transport, options.patience)
        except (NoAnswer, Broken) as error:
            return f"{revision.name}: {error}"

    reasons = await asyncio.gather(*(speaks(*lane) for lane in lanes))
    remarks += [f"{transport}: {reason}" for (_, transport), reason in zip(lanes, reasons, strict=True) if reason]
    told = list(zip(lanes, reasons, strict=True))
    return [lane for lane, reason in told if reason is None], [lane for lane, reason in told if reason is not None]
