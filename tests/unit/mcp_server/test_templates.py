"""URI templates: the RFC's own examples, round trips, safety and cost of matching."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.mcp_server.templates import MAX_TEMPLATE, MAX_URI, Template

VALUES: dict[str, Any] = {
    "count": ["one", "two", "three"],
    "dom": ["example", "com"],
    "dub": "me/too",
    "hello": "Hello World!",
    "half": "50%",
    "var": "value",
    "who": "fred",
    "base": "http://example.com/home/",
    "path": "/foo/bar",
    "list": ["red", "green", "blue"],
    "keys": {"semi": ";", "dot": ".", "comma": ","},
    "v": "6",
    "x": "1024",
    "y": "768",
    "empty": "",
    "empty_keys": {},
    "undef": None,
}

# RFC 6570 section 3.2, every example of every operator.
EXAMPLES = """
{count} one,two,three
{count*} one,two,three
{/count} /one,two,three
{/count*} /one/two/three
{;count} ;count=one,two,three
{;count*} ;count=one;count=two;count=three
{?count} ?count=one,two,three
{?count*} ?count=one&count=two&count=three
{&count*} &count=one&count=two&count=three
{var} value
{hello} Hello%20World%21
{half} 50%25
O{empty}X OX
O{undef}X OX
{x,y} 1024,768
{x,hello,y} 1024,Hello%20World%21,768
?{x,empty} ?1024,
?{x,undef} ?1024
?{undef,y} ?768
{var:3} val
{var:30} value
{list} red,green,blue
{list*} red,green,blue
{keys} semi,%3B,dot,.,comma,%2C
{keys*} semi=%3B,dot=.,comma=%2C
{+var} value
{+hello} Hello%20World!
{+half} 50%25
{base}index http%3A%2F%2Fexample.com%2Fhome%2Findex
{+base}index http://example.com/home/index
O{+empty}X OX
O{+undef}X OX
{+path}/here /foo/bar/here
here?ref={+path} here?ref=/foo/bar
up{+path}{var}/here up/foo/barvalue/here
{+x,hello,y} 1024,Hello%20World!,768
{+path,x}/here /foo/bar,1024/here
{+path:6}/here /foo/b/here
{+list} red,green,blue
{+list*} red,green,blue
{+keys} semi,;,dot,.,comma,,
{+keys*} semi=;,dot=.,comma=,
{#var} #value
{#hello} #Hello%20World!
{#half} #50%25
foo{#empty} foo#
foo{#undef} foo
{#x,hello,y} #1024,Hello%20World!,768
{#path,x}/here #/foo/bar,1024/here
{#path:6}/here #/foo/b/here
{#list} #red,green,blue
{#list*} #red,green,blue
{#keys} #semi,;,dot,.,comma,,
{#keys*} #semi=;,dot=.,comma=,
{.who} .fred
{.who,who} .fred.fred
{.half,who} .50%25.fred
www{.dom*} www.example.com
X{.var} X.value
X{.empty} X.
X{.undef} X
X{.var:3} X.val
X{.list} X.red,green,blue
X{.list*} X.red.green.blue
X{.keys} X.semi,%3B,dot,.,comma,%2C
X{.keys*} X.semi=%3B.dot=..comma=%2C
X{.empty_keys} X
X{.empty_keys*} X
{/who} /fred
{/who,who} /fred/fred
{/half,who} /50%25/fred
{/who,dub} /fred/me%2Ftoo
{/var} /value
{/var,empty} /value/
{/var,undef} /value
{/var,x}/here /value/1024/here
{/var:1,var} /v/value
{/list} /red,green,blue
{/list*} /red/green/blue
{/list*,path:4} /red/green/blue/%2Ffoo
{/keys} /semi,%3B,dot,.,comma,%2C
{/keys*} /semi=%3B/dot=./comma=%2C
{;who} ;who=fred
{;half} ;half=50%25
{;empty} ;empty
{;v,empty,who} ;v=6;empty;who=fred
{;v,bar,who} ;v=6;who=fred
{;x,y} ;x=1024;y=768
{;x,y,empty} ;x=1024;y=768;empty
{;x,y,undef} ;x=1024;y=768
{;hello:5} ;hello=Hello
{;list} ;list=red,green,blue
{;list*} ;list=red;list=green;list=blue
{;keys} ;keys=semi,%3B,dot,.,comma,%2C
{;keys*} ;semi=%3B;dot=.;comma=%2C
{?who} ?who=fred
{?half} ?half=50%25
{?x,y} ?x=1024&y=768
{?x,y,empty} ?x=1024&y=768&empty=
{?x,y,undef} ?x=1024&y=768
{?var:3} ?var=val
{?list} ?list=red,green,blue
{?list*} ?list=red&list=green&list=blue
{?keys} ?keys=semi,%3B,dot,.,comma,%2C
{?keys*} ?semi=%3B&dot=.&comma=%2C
{&who} &who=fred
{&half} &half=50%25
?fixed=yes{&x} ?fixed=yes&x=1024
{&x,y,empty} &x=1024&y=768&empty=
{&var:3} &var=val
{&list} &list=red,green,blue
{&list*} &list=red&list=green&list=blue
{&keys} &keys=semi,%3B,dot,.,comma,%2C
{&keys*} &semi=%3B&dot=.&comma=%2C
"""
PAIRS = [tuple(line.split()) for line in EXAMPLES.strip().splitlines()]


@pytest.mark.parametrize(("text", "expected"), PAIRS)
def test_expansion_follows_the_examples_of_the_rfc(text: str, expected: str) -> None:
    assert Template(text).expand(VALUES) == expected


def test_existing_triplets_survive_reserved_expansion_only() -> None:
    assert Template("{+v}-{v}").expand({"v": "a%20b"}) == "a%20b-a%2520b"


def test_scalars_are_written_as_text() -> None:
    assert Template("{a}/{b}/{c}").expand({"a": 1, "b": True, "c": 1.5}) == "1/true/1.5"


@pytest.mark.parametrize(
    ("text", "uri", "expected"),
    [
        ("weather://{city}/now", "weather://New%20York/now", {"city": "New York"}),
        ("weather://{city}/now", "weather://New York/now", {"city": "New York"}),
        ("weather://{city}", "weather://Zürich", {"city": "Zürich"}),
        ("weather://{city}", "weather://a/b", None),
        ("weather://{city}", "weather://", None),
        ("weather://{city}", "news://x", None),
        ("file:///{+path}", "file:///a/b/c.txt", {"path": "a/b/c.txt"}),
        ("{+path}/meta", "a/meta/meta", {"path": "a/meta"}),
        ("a://{x}{/p*}", "a://1/2/3", {"x": "1", "p": ["2", "3"]}),
        ("a://{x}{/p*}", "a://1", {"x": "1"}),
        ("a://{x}{/p*}", "a://1//etc", None),
        ("{x,y}", "1024,768", {"x": "1024", "y": "768"}),
        ("{x,y}", "1024", {"x": "1024"}),
        ("n{.a}", "n.tar.gz", {"a": "tar.gz"}),
        ("n{.a*}", "n.tar.gz", {"a": ["tar", "gz"]}),
        ("{name}.{ext}", "a.tar.gz", {"name": "a", "ext": "tar.gz"}),
        ("{+a}x{b}", "1x2/3x4", {"a": "1x2/3", "b": "4"}),
        ("s{;x,y}", "s;y=2;x=1", {"x": "1", "y": "2"}),
        ("s{;x}", "s;x", {"x": ""}),
        ("q{?a,b}", "q?b=1&a=2", {"a": "2", "b": "1"}),
        ("q{?a,b}", "q", {}),
        ("q{?a}", "q?a", None),
        ("q{?a}", "q?z=1", None),
        ("q{?a}", "q?a=1&a=2", None),
        ("q{?a*}", "q?a=1&a=2", {"a": ["1", "2"]}),
        ("q{?a}{&b}", "q?b=1&a=2", {"a": "2", "b": "1"}),
        ("q?f=1{&b}", "q?f=1&b=2", {"b": "2"}),
        ("q{?url}", "q?url=https%3A%2F%2Fx.y%2Fz", {"url": "https://x.y/z"}),
        ("f{#part}", "f#a/b", {"part": "a/b"}),
        ("{/var:1,var}", "/v/value", {"var": "value"}),
        ("{/var:1,var}", "/x/value", None),
        ("{var:3}", "abcd", None),
        ("{a}/{a}", "x/x", {"a": "x"}),
        ("{a}/{a}", "x/y", None),
        ("caf%c3%a9/{a}", "café/x", {"a": "x"}),
        ("plain://x", "plain://x", {}),
        ("plain://x", "plain://xy", None),
    ],
)
def test_matching_finds_the_values(text: str, uri: str, expected: dict[str, Any] | None) -> None:
    assert Template(text).match(uri) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x/{v}", ".."),
        ("x/{v}", "%2e%2e"),
        ("x/{v}", "a%2Fb"),
        ("x/{v}", "a%5Cb"),
        ("x/{v}", "a\\b"),
        ("x/{v}", "a%00"),
        ("x/{v}", "C:"),
        ("x/{v}", "%zz"),
        ("x/{v}", "100%"),
        ("x/{v}", "%ff"),
        ("x/{+v}", "/etc/passwd"),
        ("x/{+v}", "%2Fetc/passwd"),
        ("x/{+v}", "a/../b"),
        ("x/{+v}", "a/%2E%2e/b"),
        ("x/{+v}", "a/.."),
        ("x/{+v}", "c:/windows"),
        ("x{/v*}", "/a/../b"),
        ("x{/v*}", "/a/b%2Fc"),
        ("x{/v*}", "/a//b"),
        ("x{?v}", "?v=../../etc"),
        ("x{?v}", "?v=%2Fetc"),
    ],
)
def test_values_that_leave_their_place_match_nothing(text: str, value: str) -> None:
    uri = text.partition("{")[0] + value
    assert Template(text).match(uri) is None


def test_values_are_decoded_exactly_once() -> None:
    assert Template("x/{v}").match("x/%252e%252e") == {"v": "%2e%2e"}


@pytest.mark.parametrize(
    "text",
    ["{", "}", "a}b", "{}", "{a", "{a b}", "{=a}", "{|a}", "{a:0}", "{a:12345}", "{a:1*}", "{a,}",
     "{a:x}", "{.}", "{a..b}", "{é}"],
)  # fmt: skip
def test_malformed_templates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="URI template"):
        Template(text)


def test_size_limits_are_errors() -> None:
    with pytest.raises(ValueError, match="longer"):
        Template("a" * (MAX_TEMPLATE + 1))
    with pytest.raises(ValueError, match="variables"):
        Template("".join(f"{{v{n}}}/" for n in range(257)))
    with pytest.raises(ValueError, match="longer"):
        Template("{+a}").match("a" * (MAX_URI + 1))
    with pytest.raises(ValueError, match="longer"):
        Template("{+a}").match("é" * MAX_URI)
    assert Template("{+a}").match("a" * MAX_URI) == {"a": "a" * MAX_URI}
    assert Template("{+a}").match("\ud800") is None


def test_variables_are_named_once_in_order() -> None:
    assert Template("{b}/{a,b}{?c*}").variables == ("b", "a", "c")


SAFE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\/:"), min_size=1, max_size=12).filter(
    lambda text: text != ".."
)
ROUND_TRIPS: list[tuple[str, Callable[[Any], Any]]] = [
    ("x://{a}/{b}", lambda s: {"a": s, "b": s}),
    ("x://{a,b}", lambda s: {"a": s, "b": s}),
    ("x:{/a,b}", lambda s: {"a": s, "b": s}),
    ("x:{;a,b}", lambda s: {"a": s, "b": s}),
    ("x:{?a,b}{&c}", lambda s: {"a": s, "b": s, "c": s}),
    ("x:{&a}", lambda s: {"a": s}),
    ("x:{.a}", lambda s: {"a": s}),
    ("x:{/a*}", lambda s: {"a": s}),
    ("x:{a*}/y", lambda s: {"a": s}),
    ("x:{?a*}", lambda s: {"a": s}),
    ("x:{;a*}", lambda s: {"a": s}),
]


@pytest.mark.parametrize(("text", "fill"), ROUND_TRIPS, ids=[text for text, _ in ROUND_TRIPS])
@given(data=st.data())
def test_what_was_expanded_is_matched_again(text: str, fill: Any, data: st.DataObject) -> None:
    strategy = st.lists(SAFE, min_size=1, max_size=4) if "*" in text else SAFE
    values = fill(data.draw(strategy))
    template = Template(text)
    assert template.match(template.expand(values)) == values


@given(st.lists(SAFE.filter(lambda text: "%" not in text), min_size=1, max_size=5).map("/".join))
def test_reserved_expansion_is_matched_again(path: str) -> None:
    template = Template("file:///{+path}")
    assert template.match(template.expand({"path": path})) == {"path": path}


@given(st.text("{}+#./;?&*:,ab1%", max_size=30), st.text("ab1/.;?&=,%#2", max_size=40))
def test_any_template_and_any_uri_give_values_or_one_documented_error(text: str, uri: str) -> None:
    try:
        template = Template(text)
    except ValueError:
        return
    found = template.match(uri)
    assert found is None or set(found) <= set(template.variables)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("{a}" + "-{b}" * 30 + "!x", lambda n: "-" * n + "!y"),
        ("".join(f"{{+v{i}}}" for i in range(60)) + "!", lambda n: "a" * n),
        ("{+a}" + "ab" * 40, lambda n: "ab" * (n // 2) + "c"),
        ("x{?a*}", lambda n: "x?" + "a=1&" * (n // 4) + "b=1"),
    ],
)
def test_matching_never_starts_over(text: str, uri: Callable[[int], str]) -> None:
    template = Template(text)
    template.match(uri(64))  # fill the caches first
    small, large = (_opcodes(template, uri(size)) for size in (2_000, 16_000))
    assert large <= 9 * small


def _opcodes(template: Template, uri: str) -> int:
    """How many bytecode instructions one match executes: work without a clock."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        template.match(uri)
    finally:
        sys.settrace(previous)
    return count
