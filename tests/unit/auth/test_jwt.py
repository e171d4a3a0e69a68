"""Tokens taken apart, verified and signed: X01 to X11, R28, R29."""

from __future__ import annotations

import json
import time
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.auth.jwt import (
    ALGORITHMS,
    MAX_TOKEN,
    ClaimRule,
    Key,
    check_claims,
    check_signature,
    import_jwk,
    import_pem,
    import_secret,
    parse_token,
    sign,
)
from kailash.auth.refusal import reason_of
from kailash.errors import AuthenticationError

from .forge import KEY_OF, NOW, SECRET, b64, claims, forge, jwk, part, private, private_pem, public_pem

HS = {"alg": "HS256"}


def verify(token: Any, *, keys: list[Key] | None = None, algorithms: tuple[str, ...] = ("HS256",), **rule: Any) -> Any:
    parsed = parse_token(token, algorithms)
    check_claims(parsed, ClaimRule(**rule), NOW)
    check_signature(parsed, [import_secret(SECRET)] if keys is None else keys)
    return parsed


def refused(token: Any, why: str, **options: Any) -> None:
    """Check that a token is refused, in one voice, with the reason beside it."""
    with pytest.raises(AuthenticationError) as caught:
        verify(token, **options)
    assert str(caught.value) == "the token is not valid" and why in reason_of(caught.value)
    # What came is in neither.
    assert not isinstance(token, str) or len(token) < 5 or token not in str(caught.value) + reason_of(caught.value)


@pytest.mark.parametrize("algorithm", sorted(KEY_OF))
def test_what_a_private_key_signs_its_public_key_verifies_and_no_other(algorithm: str) -> None:
    kind = KEY_OF[algorithm]
    for material in (private_pem(kind), {**private(kind).as_dict(private=True)}):
        token = sign(claims(), import_pem(material), algorithm)
        for public in (import_pem(public_pem(kind)), import_jwk(jwk(kind)), import_jwk(jwk(kind, alg=algorithm))):
            assert public is not None and not public.is_private
            assert verify(token, keys=[public], algorithms=(algorithm,)).claims["sub"] == "ann"
    other = import_pem(public_pem("other" if kind == "RSA" else "RSA"))
    refused(token, "no known key", keys=[other], algorithms=(algorithm,))
    with pytest.raises(ValueError, match="cannot sign"):
        sign(claims(), import_pem(public_pem(kind)), algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_secrets_sign_and_verify(algorithm: str) -> None:
    token = sign(claims(), import_secret(SECRET.encode(), kid="one"), algorithm)
    assert verify(token, algorithms=(algorithm,)).kid == "one"
    refused(token, "no known key", keys=[import_secret("another" * 6)], algorithms=(algorithm,))


def test_a_secret_signs_as_the_standard_says() -> None:
    assert verify(forge({**HS, "typ": "JWT"}, claims())).claims == claims()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS1", "RS256", "hs256", "HS256 ", None, 1, []])
def test_the_algorithm_is_pinned(name: Any) -> None:
    refused(forge({"alg": name}, claims()), "algorithm")
    unsigned = f"{part({'alg': name})}.{part(claims())}."
    refused(unsigned, "")
    refused(forge({}, claims()), "algorithm")
    assert "none" not in ALGORITHMS


def test_a_public_key_is_no_secret() -> None:
    for kind in ("RSA", "P-256", "Ed25519"):
        pem = public_pem(kind)
        token = forge(HS, claims(), secret=pem.encode())
        refused(token, "algorithm", keys=[import_pem(pem)], algorithms=("RS256", "ES256", "EdDSA"))
        # Even where both are pinned, a key is used with what fits it.
        refused(token, "no known key", keys=[import_pem(pem)], algorithms=("RS256", "HS256"))
        with pytest.raises(ValueError, match="public_key="):
            import_secret(pem)
        der = private(kind).as_der(private=False)
        with pytest.raises(ValueError, match="public key"):
            import_secret(der)


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["x"]}, {"crit": []}, {"crit": ["exp"], "exp": 1}, {"jwk": {"kty": "oct", "k": "eA"}}, {"jwk": None},
        {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/cert"}, {"x5c": ["MII"]}, {"zip": "DEF"},
        {"b64": False, "crit": ["b64"]}, {"enc": "A128GCM"},
    ],
)  # fmt: skip
def test_a_token_brings_no_keys_and_no_extensions(more: dict[str, Any]) -> None:
    refused(forge({**HS, **more}, claims()), "never taken from a token")


def test_an_embedded_key_is_not_used() -> None:
    own = jwk("other")
    signer = import_pem(private_pem("other"))
    message = f"{part({'alg': 'RS256', 'jwk': own})}.{part(claims())}"
    token = f"{message}.{b64(signer.sign('RS256', message.encode()))}"
    refused(token, "jwk", keys=[import_pem(public_pem("RSA"))], algorithms=("RS256",))


@pytest.mark.parametrize(
    "kid", ["../../x", "a/../b", "k" * 8000, "k" * 257, "", "a b", "a\n", "é", "'--", 7, ["k"], {}]
)
def test_a_kid_is_a_name(kid: Any) -> None:
    token = forge({**HS, "kid": kid}, claims())
    refused(token, "kid" if len(token) <= MAX_TOKEN else "longer")


@pytest.mark.parametrize("kid", ["k", "k" * 256, "https://vault.example/keys/a/1", "a+b/c=", "2024-01.key:1"])
def test_names_that_issuers_give_are_taken(kid: str) -> None:
    assert verify(forge({**HS, "kid": kid}, claims())).kid == kid


def test_a_token_is_bounded_before_anything_is_done_with_it() -> None:
    start = time.perf_counter()
    for huge in ("a" * 2**20, "a." * 2**19, f"{part(HS)}.{'e' * 2**20}.e", "." * 2**20):
        refused(huge, "longer")
    assert time.perf_counter() - start < 0.04
    frame = len(forge(HS, claims(pad="")))
    for size in (MAX_TOKEN - 1, MAX_TOKEN, MAX_TOKEN + 1, MAX_TOKEN + 2):
        token = forge(HS, claims(pad="x" * ((size - frame) * 3 // 4)))
        if len(token) > MAX_TOKEN:
            refused(token, "longer")
        else:
            verify(token)
    with pytest.raises(ValueError, match="nobody takes more"):
        sign(claims(pad="x" * MAX_TOKEN), import_secret(SECRET), "HS256")


@pytest.mark.parametrize(
    "token",
    [
        "a", "a.b", "a.b.c.d", "a.b.c.d.e", "..", "a..b", ".a.b", " ", "\x00", "é.é.é", "e30.e30.e30", "e30.e30.AA==",
        f"{part(HS)}.{part([1])}.AAAA", f"{part(HS)}.{part('x')}.AAAA", f"{part(HS)}.{b64(b'{')}.AAAA",
        f"{part(HS)}.{b64(bytes([0xFF, 0xFE]))}.AAAA", f"{part([HS])}.e30.AAAA", f"{b64(b'[' * 3000)}.e30.AAAA",
        f"{part(HS)}.{b64(b'{' + b'x' * 10)}.A", f"{part(HS)}.{b64(b'[' * 5000)}.AAAA",
        f"{part(HS)}.{b64(json.dumps(claims())[:-1].encode() + b', x: NaN}')}.AAAA",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: str) -> None:
    refused(token, "")


@pytest.mark.parametrize("token", ["", None, 1, b"x", ["x"]])
def test_no_token_is_none(token: Any) -> None:
    with pytest.raises(AuthenticationError, match="no token"):
        verify(token)


GOOD = forge(HS, claims())


@given(st.data())
def test_a_changed_token_never_verifies(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["change", "remove", "insert", "swap case", "append"]))
    at = data.draw(st.integers(0, len(GOOD) - 1))
    letter = data.draw(st.sampled_from("ABCdef012-_.+/= é\n"))
    changed = {
        "change": GOOD[:at] + letter + GOOD[at + 1 :],
        "remove": GOOD[:at] + GOOD[at + 1 :],
        "insert": GOOD[:at] + letter + GOOD[at:],
        "swap case": GOOD[:at] + GOOD[at].swapcase() + GOOD[at + 1 :],
        "append": GOOD + letter,
    }[kind]
    if changed == GOOD:
        verify(changed)
    else:
        refused(changed, "")


@given(st.integers(0, 8 * 64 - 1))
def test_a_changed_bit_of_a_signature_never_verifies(bit: int) -> None:
    for algorithm in ("ES256", "Ed25519"):
        key = import_pem(private_pem(KEY_OF[algorithm]))
        token = sign(claims(), key, algorithm)
        parsed = parse_token(token, (algorithm,))
        flipped = (int.from_bytes(parsed.signature, "big") ^ 1 << bit).to_bytes(64, "big")
        refused(f"{parsed.message.decode()}.{b64(flipped)}", "no known key", keys=[key], algorithms=(algorithm,))


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda data: f"{b64(data)}.{b64(data)}.{b64(data)}")))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(AuthenticationError):
        verify(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "typ"]), _JSON))
def test_any_claims_give_an_answer_and_nothing_else_is_raised(said: dict[str, Any]) -> None:
    token = forge(HS, {**claims(), **said})
    try:
        verify(token, issuers=("i",), audiences=("a",))
    except AuthenticationError:
        return
    assert said["iss"] == "i" and "a" in said["aud"]


def test_joserfc_itself_reads_our_tokens() -> None:
    from joserfc import jwt as theirs

    token = sign(claims(), import_pem(private_pem("RSA")), "RS256")
    assert theirs.decode(token, private("RSA"), algorithms=["RS256"]).claims == claims()
    written = theirs.encode({"alg": "ES256"}, claims(), private("P-256"))
    assert verify(written, keys=[import_pem(public_pem("P-256"))], algorithms=("ES256",)).claims == claims()


# Claims


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"exp": None}, "no exp"), ({"exp": NOW - 60}, "expired"), ({"exp": 0}, "expired"), ({"exp": -1}, "expired"),
        ({"exp": "9999999999"}, "exp"), ({"exp": True}, "exp"), ({"exp": [NOW]}, "exp"), ({"exp": 10**400}, "exp"),
        ({"exp": 1e300}, "exp"), ({"nbf": NOW + 60.5}, "nbf"), ({"nbf": NOW + 120}, "nbf"), ({"nbf": "x"}, "nbf"),
        ({"iat": NOW + 61}, "iat"), ({"iat": {}}, "iat"),
    ],
)  # fmt: skip
def test_times_are_checked(said: dict[str, Any], why: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        verify(forge(HS, claims(**said)))
    assert str(caught.value) == "the token is not valid"
    assert why in reason_of(caught.value) or "JSON" in reason_of(caught.value)


def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    for leeway in (0.0, 1.0, 60.0):
        verify(forge(HS, claims(exp=NOW - leeway + 0.5)), leeway=leeway)
        refused(forge(HS, claims(exp=NOW - leeway)), "expired", leeway=leeway)
        verify(forge(HS, claims(nbf=NOW + leeway, iat=NOW + leeway)), leeway=leeway)
        refused(forge(HS, claims(nbf=NOW + leeway + 0.5)), "nbf", leeway=leeway)
    assert check_claims(parse_token(GOOD, ("HS256",)), ClaimRule(), NOW) == NOW + 60


def test_a_null_time_is_no_time() -> None:
    for name in ("exp", "nbf", "iat"):
        refused(forge(HS, {**claims(), name: None}), name)
    with pytest.raises(AuthenticationError):
        verify(forge(HS, b'{"sub":"ann","exp":Infinity}'))
    assert inf > NOW


def test_the_issuer_is_exact() -> None:
    verify(forge(HS, claims(iss="https://a.example")), issuers=("https://b.example", "https://a.example"))
    for wrong in ("https://a.example/", "https://A.example", "", None, 1, ["https://a.example"], {}):
        refused(forge(HS, claims(iss=wrong)), "iss", issuers=("https://a.example",))


def test_the_audience_must_name_us() -> None:
    for right in ("us", ["us"], ["them", "us"]):
        verify(forge(HS, claims(aud=right)), audiences=("me", "us"))
    for wrong in ("them", ["them"], [], "", "us ", "US", 1, {"us": 1}, ["us", 1], None):
        refused(forge(HS, claims(aud=wrong)), "aud", audiences=("me", "us"))
    verify(forge(HS, claims()))
    refused(forge(HS, claims(aud="them")), "audience=")


def test_a_token_of_another_kind_is_refused() -> None:
    for right in ("JWT", "jwt", "at+jwt", "application/at+jwt"):
        verify(forge({**HS, "typ": right}, claims()))
    for wrong in ("logout+jwt", "dpop+jwt", "JOSE", "x", "secevent+jwt"):
        refused(forge({**HS, "typ": wrong}, claims()), "typ")
    refused(forge({**HS, "typ": 1}, claims()), "typ")
    verify(forge({**HS, "typ": "at+jwt"}, claims()), token_type="at+jwt")
    for other in ({"typ": "JWT"}, {}):
        refused(forge({**HS, **other}, claims()), "typ", token_type="at+jwt")


# Keys


def test_keys_show_nothing_of_themselves() -> None:
    for key in (import_secret(SECRET, kid="a"), import_pem(private_pem("RSA"))):
        assert SECRET not in repr(key) and "BEGIN" not in repr(key)
        assert SECRET not in repr(parse_token(GOOD, ("HS256",))) and "ann" not in repr(parse_token(GOOD, ("HS256",)))


@pytest.mark.parametrize(
    "wrong", ["", "private.pem", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", b"\x30"]
)
def test_what_is_no_key_is_refused_with_what_to_give(wrong: Any) -> None:
    with pytest.raises(ValueError, match="public_key holds no RSA, EC or Ed25519 key"):
        import_pem(wrong)


def test_keys_of_the_wrong_type_or_strength_are_refused() -> None:
    for wrong in (None, 7, ["x"]):
        with pytest.raises(TypeError):
            import_pem(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            import_secret(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        import_secret("")
    with pytest.raises(ValueError, match="1024 bits"):
        import_pem(public_pem("small"))
    with pytest.raises(ValueError, match="X25519"):
        import_pem(public_pem("X25519"))
    with pytest.raises(ValueError, match="JWK"):
        import_pem({"kty": "oct", "k": "c2VjcmV0"})


@pytest.mark.parametrize(
    "wrong",
    [
        None, [], "x", {}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA"}, {"kty": "RSA", "n": "AQ", "e": "AQAB"},
        {"kty": "RSA", "n": 1, "e": []}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": ["RSA"]},
        {"kty": "EC", "crv": "nope", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43}, {"kty": "RSA", "n": "!", "e": "AQAB"}, {1: 2},
    ],
)  # fmt: skip
def test_published_keys_of_no_use_are_passed_over(wrong: Any) -> None:
    assert import_jwk(wrong) is None


@pytest.mark.parametrize(
    "more",
    [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": 7}, {"alg": "HS256"}, {"alg": "ES256"}, {"kid": 7},
     {"alg": "none"}, {"alg": "RSA-OAEP"}, {"alg": []} ],
)  # fmt: skip
def test_published_keys_for_something_else_are_passed_over(more: dict[str, Any]) -> None:
    assert import_jwk(jwk("RSA")) is not None
    assert import_jwk(jwk("RSA", **more)) is None


def test_a_key_for_one_algorithm_is_used_with_no_other() -> None:
    key = import_jwk(jwk("RSA", alg="RS256", key_ops=["verify"], use="sig", x5c=["garbage"]))
    assert key is not None and key.algorithms == {"RS256"}
    token = sign(claims(), import_pem(private_pem("RSA")), "PS256")
    refused(token, "no known key", keys=[key], algorithms=("RS256", "PS256"))


@given(st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "d", "use", "alg", "kid", "key_ops"]), _JSON))
def test_any_published_key_is_read_or_passed_over(members: dict[str, Any]) -> None:
    for kind in ("RSA", "EC", "OKP"):
        import_jwk({**members, "kty": kind})
        import_jwk({**jwk({"RSA": "RSA", "EC": "P-256", "OKP": "Ed25519"}[kind]), **members})


def test_claims_that_are_no_json_are_not_signed() -> None:
    for wrong in ({"x": object()}, {"x": "\ud800"}):
        with pytest.raises(ValueError, match="JSON"):
            sign(wrong, import_secret(SECRET), "HS256")
