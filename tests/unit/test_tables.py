"""Every table is total and reachable; the method table is the specification's, checked against its schemas."""

from __future__ import annotations

import pytest

from protocol import METHODS, REVISIONS, ChangeKind, Era, results
from protocol.eras import LIFECYCLE, LOG_LEVELS, Handshake
from protocol.methods import DECODERS, MethodSpec, Role
from protocol.negotiation import NEGOTIATION, Evidence, Negotiation
from protocol.revisions import Revision
from protocol.subscriptions import LIST_CHANGES, NOTIFICATION_OF
from protocol.types import LOGGING_LEVELS

C, S, B = Role.CLIENT, Role.SERVER, Role.BOTH
REQUEST, NOTIFICATION = True, False

# name: (kind, sender, in which of the five revisions, capability that gates it)
EXPECTED = {
    "initialize": (REQUEST, C, "ABCD", None),
    "notifications/initialized": (NOTIFICATION, C, "ABCD", None),
    "ping": (REQUEST, B, "ABCD", None),
    "server/discover": (REQUEST, C, "E", None),
    "tools/list": (REQUEST, C, "ABCDE", "tools"),
    "tools/call": (REQUEST, C, "ABCDE", "tools"),
    "notifications/tools/list_changed": (NOTIFICATION, S, "ABCDE", "tools.listChanged"),
    "resources/list": (REQUEST, C, "ABCDE", "resources"),
    "resources/templates/list": (REQUEST, C, "ABCDE", "resources"),
    "resources/read": (REQUEST, C, "ABCDE", "resources"),
    "resources/subscribe": (REQUEST, C, "ABCD", "resources.subscribe"),
    "resources/unsubscribe": (REQUEST, C, "ABCD", "resources.subscribe"),
    "notifications/resources/list_changed": (NOTIFICATION, S, "ABCDE", "resources.listChanged"),
    "notifications/resources/updated": (NOTIFICATION, S, "ABCDE", "resources.subscribe"),
    "prompts/list": (REQUEST, C, "ABCDE", "prompts"),
    "prompts/get": (REQUEST, C, "ABCDE", "prompts"),
    "notifications/prompts/list_changed": (NOTIFICATION, S, "ABCDE", "prompts.listChanged"),
    "completion/complete": (REQUEST, C, "ABCDE", "completions"),
    "logging/setLevel": (REQUEST, C, "ABCD", "logging"),
    "notifications/message": (NOTIFICATION, S, "ABCDE", "logging"),
    "notifications/progress": (NOTIFICATION, B, "ABCDE", None),
    "notifications/cancelled": (NOTIFICATION, B, "ABCDE", None),
    "roots/list": (REQUEST, S, "ABCD", "roots"),
    "notifications/roots/list_changed": (NOTIFICATION, C, "ABCD", "roots.listChanged"),
    "sampling/createMessage": (REQUEST, S, "ABCD", "sampling"),
    "elicitation/create": (REQUEST, S, "CD", "elicitation"),
    "notifications/elicitation/complete": (NOTIFICATION, S, "D", "elicitation.url"),
    "tasks/get": (REQUEST, B, "DE", "tasks"),
    "tasks/result": (REQUEST, B, "D", "tasks"),
    "tasks/list": (REQUEST, B, "D", "tasks.list"),
    "tasks/cancel": (REQUEST, B, "DE", "tasks.cancel"),
    "tasks/update": (REQUEST, C, "E", "tasks"),
    "notifications/tasks/status": (NOTIFICATION, B, "D", "tasks"),
    "notifications/tasks": (NOTIFICATION, S, "E", "tasks"),
    "subscriptions/listen": (REQUEST, C, "E", None),
    "notifications/subscriptions/acknowledged": (NOTIFICATION, S, "E", None),
}
CACHEABLE = {
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
}
INTERRUPTIBLE = {"tools/call", "prompts/get", "resources/read"}
EMBEDDABLE = {"elicitation/create", "sampling/createMessage", "roots/list"}
MIRRORED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "task_id",
    "tasks/cancel": "task_id",
    "tasks/update": "task_id",
    "tasks/result": None,
}

# Results that no row of the table names, because a request of another result may bring them.
BESIDE_THE_TABLE = {"Result", "InputRequiredResult", "CreateTaskResult", "DetailedTaskResult"}


def test_the_method_table_is_that_of_the_specification() -> None:
    actual = {
        name: (
            spec.is_request,
            spec.sender,
            "".join(letter for letter, revision in zip("ABCDE", REVISIONS, strict=True) if name in revision.methods),
            spec.requires,
        )
        for name, spec in METHODS.items()
    }
    assert actual == EXPECTED


@pytest.mark.parametrize("spec", METHODS.values(), ids=lambda spec: spec.name)
def test_every_row_is_whole_and_reachable(spec: MethodSpec) -> None:
    assert METHODS[spec.name] is spec
    assert any(spec.name in revision.methods for revision in REVISIONS)
    assert spec.name in DECODERS
    assert "meta" in spec.params.__struct_fields__
    assert spec.is_request is not spec.name.startswith("notifications/")
    assert spec.cacheable is (spec.name in CACHEABLE)
    assert spec.interruptible is (spec.name in INTERRUPTIBLE)
    assert spec.is_embeddable is (spec.name in EMBEDDABLE)
    assert spec.mirror == MIRRORED.get(spec.name)
    assert spec.cancellable is (spec.name != "initialize")
    if spec.mirror is not None:
        assert spec.mirror in spec.params.__struct_fields__
    if spec.result is not None:
        assert {"meta", "result_type"} <= set(spec.result.__struct_fields__)
        if spec.cacheable:
            assert {"ttl_ms", "cache_scope"} <= set(spec.result.__struct_fields__)


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_every_revision_names_known_methods(revision: Revision) -> None:
    assert revision.methods <= METHODS.keys()
    assert revision.requires.keys() <= revision.methods


def test_every_result_type_is_reached_from_a_method() -> None:
    reached = {spec.result.__name__ for spec in METHODS.values() if spec.result is not None}
    defined = {name for name, value in vars(results).items() if isinstance(value, type) and name.endswith("Result")}
    assert defined - {"Result"} == (reached | BESIDE_THE_TABLE) - {"Result"}


def test_revisions_are_in_order_and_end_with_the_envelope() -> None:
    assert [revision.name for revision in REVISIONS] == sorted(revision.name for revision in REVISIONS)
    assert [revision.era for revision in REVISIONS] == [Era.HANDSHAKE] * 4 + [Era.ENVELOPE]


def test_every_state_of_the_handshake_is_reachable() -> None:
    assert {before for before, _ in LIFECYCLE} | set(LIFECYCLE.values()) == set(Handshake)
    assert {method for _, method in LIFECYCLE} <= METHODS.keys()


def test_the_negotiation_table_is_total() -> None:
    waiting = {Negotiation.PROBING, Negotiation.HANDSHAKING}
    cannot_happen = {
        (Negotiation.PROBING, Evidence.INITIALIZED),  # nothing was initialised yet
        (Negotiation.HANDSHAKING, Evidence.LEGACY),  # known already
    }
    assert NEGOTIATION.keys() == {(state, each) for state in waiting for each in Evidence} - cannot_happen
    assert set(NEGOTIATION.values()) == set(Negotiation) - {Negotiation.IDLE}


def test_every_kind_of_change_has_a_notification() -> None:
    assert NOTIFICATION_OF.keys() == set(ChangeKind)
    assert set(NOTIFICATION_OF.values()) <= METHODS.keys()
    for kind, (_, capability) in LIST_CHANGES.items():
        assert METHODS[NOTIFICATION_OF[kind]].requires == capability


def test_log_levels_are_ordered_as_syslog_orders_them() -> None:
    assert tuple(LOG_LEVELS) == LOGGING_LEVELS
    assert list(LOG_LEVELS.values()) == sorted(LOG_LEVELS.values())
