"""The rules and the scenarios: that each rule is covered or says why not."""

import pytest

from conformance.coverage import covered, missing, untestable
from conformance.fixture import read_fixtures
from conformance.requirements import find, requirements, revisions
from conformance.runner import CannotRun, choose
from conformance.scenario import load
from conformance.target import ServerTarget, address


def test_every_rule_is_covered_or_says_why_not() -> None:
    assert missing() == []
    for number, roles in untestable().items():
        for role, reason in roles.items():
            assert role in requirements()[number].roles and reason
            assert role not in covered().get(number, ()), f"{number} is covered for a {role}; take it out"


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert list(requirements()) == list(range(1, 227))
    assert all(each.level in ("MUST", "SHOULD", "MAY") and each.address for each in requirements().values())


def test_most_rules_are_covered() -> None:
    pairs = [(number, role) for number, each in requirements().items() for role in each.roles]
    assert len([pair for pair in pairs if pair[1] in covered().get(pair[0], ())]) >= 252


def test_every_scenario_has_a_summary_and_fits_somewhere() -> None:
    for each in load().values():
        assert each.summary, each.id
        assert any(each.fits(r, t) for r in revisions().values() for t in each.transports), each.id


def test_requirements_are_found_by_number_and_by_id() -> None:
    assert find("128") is find("features-128") is requirements()[128]
    assert find("nothing") is None


def test_an_unknown_scenario_cannot_be_chosen() -> None:
    with pytest.raises(CannotRun, match="list"):
        choose("server", ["no-such-thing"])


def test_fixtures_build_on_others() -> None:
    rows = read_fixtures("judge").rows
    assert rows["tools"]["text"]["name"] == "test_simple_text" and "wait" in rows["tools"]
    with pytest.raises(ValueError, match="official"):
        read_fixtures("nowhere")


@pytest.mark.parametrize(
    ("text", "transport"),
    [
        ("http://127.0.0.1:1/mcp", "http"),
        ("https://example.com/sse?x=1", "sse"),
        ("http=http://127.0.0.1:1/sse", "http"),
        ("sse=http://127.0.0.1:1/events", "sse"),
        ("wss://example.com/ws", "websocket"),
        ("http://127.0.0.1:1/mcp?mode=sse", "http"),
    ],
)
def test_an_address_says_its_transport(text: str, transport: str) -> None:
    found, url = address(text)
    assert found == transport and url.startswith(("http", "ws")) and "://" in url[:8]


def test_a_wrong_address_and_two_for_one_transport_are_refused() -> None:
    with pytest.raises(ValueError, match="ws://"):
        address("ftp://example.com")
    with pytest.raises(ValueError, match="two addresses for websocket"):
        ServerTarget(url=["ws://127.0.0.1:1/a", "ws://127.0.0.1:1/b"])
