"""Fetching from URLs that others had a hand in: where it may go, and what it may cost. R33, X33 to X38, on loopback."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
import trustme

from kailash.adapters.fetch import Fetched, FetchError, FetchRules, fetch, is_public
from kailash.errors import TransportError
from kailash.mcp_server.auth import JWTAuth
from tests.unit.auth.forge import jwk, key_set, private

from .rawhttp import Asked, RawServer, Visitor, raw_server

pytestmark = pytest.mark.anyio

HERE = FetchRules(allow_loopback=True)


class Names:
    """Knows the addresses of hosts, and how often it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def answer(visitor: Visitor, asked: Asked) -> None:
    await visitor.answer(b'{"x": 1}', "200 OK", "Content-Type: application/json")


async def refused(url: str, why: str, **options: Any) -> None:
    with anyio.fail_after(5), pytest.raises(FetchError, match=why) as caught:
        await fetch(url, **options)
    assert "secret" not in str(caught.value)


async def test_a_document_is_fetched_from_this_machine_where_that_is_allowed() -> None:
    async with raw_server(answer) as server:
        fetched = await fetch(f"{server.url}/keys?a=b", headers=[(b"accept", b"application/json")], rules=HERE)
        assert isinstance(fetched, Fetched) and fetched.status == 200 and fetched.body == b'{"x": 1}'
        assert fetched.url == f"{server.url}/keys?a=b"
        asked = server.asked[0]
        assert (asked.method, asked.target) == ("GET", "/keys?a=b")
        assert asked.headers == {
            "host": f"127.0.0.1:{server.port}", "accept-encoding": "identity", "accept": "application/json",
        }  # fmt: skip
        await server.until(lambda: server.ended == 1)
        posted = await fetch(f"{server.url}/token", method="POST", body=b"a=b", rules=HERE)
        assert posted.status == 200 and server.asked[1].body == b"a=b"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}", "http://localhost:{port}", "https://127.0.0.1:{port}", "https://localhost:{port}",
        "https://[::1]:{port}", "https://0x7f000001:{port}", "https://2130706433:{port}", "https://127.1:{port}",
        "https://0177.0.0.1:{port}", "https://[::ffff:127.0.0.1]:{port}", "https://0.0.0.0:{port}", "https://0:{port}",
        "https://[::]:{port}", "https://[64:ff9b::7f00:1]:{port}", "https://127.0.0.1.:{port}",
    ],
)  # fmt: skip
async def test_nothing_connects_to_this_machine_unless_that_is_allowed(url: str) -> None:
    async with raw_server(answer) as server:
        await refused(url.format(port=server.port), "public network|not https|cannot be found|cannot fetch")
        assert server.connections == 0


_NOT_PUBLIC = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:a00:1::", "2002:7f00:1::1",
    "2001::1", "2001:db8::1", "::ffff:0:10.0.0.1", "100::1",
]  # fmt: skip
_PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


async def test_an_address_is_judged_by_what_it_leads_to() -> None:
    assert [text for text in _NOT_PUBLIC if is_public(text)] == []
    assert [text for text in _PUBLIC if not is_public(text)] == []
    with pytest.raises(ValueError):
        is_public("x")


@pytest.mark.parametrize("address", _NOT_PUBLIC)
async def test_a_name_that_leads_inside_is_not_followed(address: str) -> None:
    for addresses in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        names = Names(addresses)
        await refused("https://evil.example/x", "not on the public network", resolve=names)
        assert names.asked == [("evil.example", 443)]


async def test_private_networks_are_reached_only_where_that_is_allowed() -> None:
    async with raw_server(answer) as server:
        url = f"https://inside.example:{server.port}"
        rules = FetchRules(allow_private=True, timeout=0.2)
        # It tries: nobody is there, or it takes too long.
        await refused(url, "no connection|did not answer", rules=rules, resolve=Names(["10.255.255.1"]))
        for address in ("127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1", "100.64.0.1"):
            await refused(url, "public network", rules=rules, resolve=Names([address]))
        await refused("http://inside.example", "not https", rules=rules, resolve=Names(["10.0.0.1"]))
        assert server.connections == 0


async def test_plain_http_is_for_this_machine_alone() -> None:
    for url in ("http://example.com", "http://8.8.8.8"):
        await refused(url, "not https", resolve=Names(["8.8.8.8"]))
        await refused(url, "not https", rules=HERE, resolve=Names(["8.8.8.8"]))
    await refused("http://x.example", "public network", rules=HERE, resolve=Names(["127.0.0.1", "10.0.0.1"]))


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x", "javascript:alert(1)", "", "x", "https://", "https://a b", "https://u:secret@x",
     "https://x:0", "https://x:99999", "https://x\r\nHost: y", "gopher://x", "//x", "https://[::1"],
)  # fmt: skip
async def test_what_is_no_url_is_not_fetched(url: str) -> None:
    names = Names(["8.8.8.8"])
    await refused(url, "cannot fetch", resolve=names)
    assert names.asked == []


async def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    async with raw_server(answer) as server:
        # The second answer is never asked for: there is nothing to rebind.
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        fetched = await fetch(f"http://keys.test:{server.port}/k", rules=HERE, resolve=names)
        assert fetched.status == 200 and len(names.asked) == 1
        assert server.asked[0].headers["host"] == f"keys.test:{server.port}"
    for failing in (Names([]), Names(["garbage"])):
        await refused("https://x.example", "address", resolve=failing)

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("secret resolver trouble")

    await refused("https://x.example", "cannot be found", resolve=unknown)


async def test_certificates_are_checked_against_the_name() -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("keys.test").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    async with raw_server(answer, tls=theirs) as server:
        names = Names(["127.0.0.1"])
        url = f"https://keys.test:{server.port}/"
        assert (await fetch(url, rules=HERE, ssl=ours, resolve=names)).status == 200
        await refused(url, "TLS failed", rules=HERE, resolve=names)
        await refused(f"https://other.test:{server.port}/", "TLS failed", rules=HERE, ssl=ours, resolve=names)


def redirecting(*targets: str, status: str = "302 Found") -> Any:
    async def script(visitor: Visitor, asked: Asked) -> None:
        step = len(visitor.server.asked) - 1
        if step < len(targets):
            target = targets[step].format(port=visitor.server.port)
            await visitor.answer(b"", status, f"Location: {target}")
        else:
            await visitor.answer(b"there")

    return script


@pytest.mark.parametrize("count", [0, 1, 3, 4])
async def test_three_redirects_are_followed(count: int) -> None:
    async with raw_server(redirecting(*["/next"] * count)) as server:
        if count <= 3:
            assert (await fetch(server.url, rules=HERE)).body == b"there"
        else:
            await refused(server.url, "more than 3", rules=HERE)
        assert len(server.asked) == min(count, 3) + 1


async def test_each_redirect_is_judged_like_the_first() -> None:
    for target in (
        "https://inside.example/",
        "https://169.254.169.254/",
        "http://8.8.8.8/",
        "file:///etc/passwd",
        "//a b",
    ):
        async with raw_server(redirecting(target)) as server:

            async def resolve(host: str, port: int) -> Sequence[str]:
                return ["10.0.0.1"] if host == "inside.example" else [host]

            await refused(server.url, "public network|not https|no usable URL", rules=HERE, resolve=resolve)
            assert len(server.asked) == 1


async def test_a_redirect_from_outside_never_leads_to_this_machine() -> None:
    # A stranger's server is played by an address of a private network; what it would send is beside the point: once a
    # hop was not on this machine, none may be.
    async with raw_server(answer) as server:
        names = Names(["10.255.255.1"])
        rules = FetchRules(allow_loopback=True, allow_private=True, timeout=0.2)
        await refused(
            f"https://outside.example:{server.port}", "no connection|did not answer", rules=rules, resolve=names
        )
        assert server.connections == 0


async def test_headers_are_not_sent_on_to_another_origin() -> None:
    async with raw_server(answer) as second:
        async with raw_server(redirecting("/same", f"{second.url}/other")) as first:
            secret = [(b"authorization", b"Bearer secret")]
            assert (await fetch(first.url, headers=secret, rules=HERE)).body == b'{"x": 1}'
            assert [asked.headers.get("authorization") for asked in first.asked] == ["Bearer secret"] * 2
        assert "authorization" not in second.asked[0].headers


async def test_only_what_is_read_is_redirected() -> None:
    for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
        async with raw_server(redirecting("/next", status=status)) as server:
            await refused(server.url, "redirects a POST", method="POST", body=b"secret", rules=HERE)
            assert len(server.asked) == 1

    async def bare(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(b"no location", "302 Found")

    async with raw_server(bare) as server:
        assert (await fetch(server.url, rules=HERE)).status == 302


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
@pytest.mark.parametrize("kind", ["length", "chunked", "close"])
async def test_documents_are_bounded(size: int, kind: str) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if kind == "length":
            await visitor.answer(b"s" * size)
        elif kind == "chunked":
            await visitor.begin()
            for start in range(0, size, 10_000):
                await visitor.chunk(b"s" * min(10_000, size - start))
            await visitor.chunk(b"")
        else:
            await visitor.stream.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"s" * size)
            await visitor.stream.aclose()

    async with raw_server(script) as server:
        if size <= 65536:
            assert len((await fetch(server.url, rules=HERE)).body) == size
        else:
            await refused(server.url, "more than 65536 bytes", rules=HERE)


async def test_a_document_takes_five_seconds_at_most_whatever_is_sent() -> None:
    assert FetchRules().timeout == 5.0

    async def drip(visitor: Visitor, asked: Asked) -> None:
        await visitor.begin()
        while True:
            await visitor.chunk(b"s")
            await anyio.sleep(0.01)

    async def silent(visitor: Visitor, asked: Asked) -> None:
        await visitor.until_closed()

    for script in (drip, silent):
        async with raw_server(script) as server:
            rules = FetchRules(allow_loopback=True, timeout=0.2)
            await refused(server.url, "within 0.2 s", rules=rules)
            await server.until(lambda server=server: server.ended == 1)  # type: ignore[misc]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"secret", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsec", b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nsecret", b"HTTP/1.1 200 OK\r\n" + b"a: secret\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsecret",
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_not_shown(raw: bytes) -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        if raw:
            await visitor.stream.send(raw)
        await visitor.stream.aclose()

    async with raw_server(script) as server:
        await refused(server.url, "broke off|without an answer|no connection", rules=HERE)


async def test_a_compressed_document_is_not_unpacked() -> None:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(gzip.compress(b"secret" * 1000), "200 OK", "Content-Encoding: gzip")

    async with raw_server(script) as server:
        await refused(server.url, "compressed", rules=HERE)


async def test_nobody_there_and_nothing_to_send_are_errors_of_the_fetch() -> None:
    async with raw_server(answer) as server:
        url = server.url
        await refused(url, "cannot be sent", headers=[(b"x", b"secret\r\ny: z")], rules=HERE)
        await refused(url, "cannot be sent", method="get", rules=HERE)
    await refused(url, "no connection", rules=HERE)


# The keys of an issuer, over the wire


def issuer(body: bytes, status: str = "200 OK") -> Any:
    async def script(visitor: Visitor, asked: Asked) -> None:
        await visitor.answer(body, status, "Content-Type: application/jwk-set+json")

    return script


def auth_of(server: RawServer) -> JWTAuth:
    return JWTAuth(jwks_url=f"{server.url}/keys", issuer="i", audience="us", jwks_allow_loopback=True)


async def test_published_keys_are_fetched_and_believed() -> None:
    signer = JWTAuth(private_key=private("P-256").as_dict(private=True), issuer="i", audience="us", key_id="k")
    credentials = {"token": signer.create_token({"user": "ann"})}
    async with raw_server(issuer(key_set(jwk("P-256", kid="k")))) as server:
        auth = auth_of(server)
        assert (await auth.authenticate(credentials))["user_id"] == "ann"
        assert auth.authenticate(credentials)["user_id"] == "ann"
        assert len(server.asked) == 1 and "jwk-set+json" in server.asked[0].headers["accept"]
    async with raw_server(issuer(key_set(jwk("P-256", kid="k")) + b" " * 10_000_000)) as server:
        with pytest.raises(TransportError):
            await auth_of(server).authenticate(credentials)
    async with raw_server(answer) as server:
        closed = JWTAuth(jwks_url=f"https://127.0.0.1:{server.port}/keys", issuer="i", audience="us")
        with pytest.raises(TransportError):
            await closed.authenticate(credentials)
        assert server.connections == 0
