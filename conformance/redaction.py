"""Redaction: tokens, codes and secrets never reach a transcript or a report; this is the one place that sees to it."""

import re

__all__ = ["Redactor"]

_NAMES = (
    "access_token|refresh_token|id_token|registration_access_token|client_secret|code_verifier|assertion|"
    "client_assertion|subject_token|actor_token"
)
_PATTERNS = (
    # In a form or a query; `code` only there, since in JSON it is anything.
    (re.compile(rf"((?:^|[?&\s\]\"'])(?:{_NAMES}|code)=)(?!\[)[^&\s\"'#]+"), r"\1[redacted]"),
    (re.compile(rf'(\\?"(?:{_NAMES})\\?"\s*:\s*\\?")(?!\[)[^"\\]+'), r"\1[redacted]"),
    (re.compile(r"(authorization:\s*(?:basic|bearer|dpop)\s+)[^\s,\]\[]+", re.I), r"\1[redacted]"),
    (re.compile(r"(authorization:\s*)(?!basic\b|bearer\b|dpop\b)[^\s,\]\[]+", re.I), r"\1[redacted]"),
    (re.compile(r"(\b(?:Bearer|Basic|DPoP)\s+)(?=[\w.~+/-]*\d)[\w.~+/-]{16,}=*"), r"\1[redacted]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[jwt]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.S), "[private key]"),
)
_SIGNS = (
    "_token",
    "secret",
    "verifier",
    "assertion",
    "code=",
    "uthorization",
    "earer ",
    "asic ",
    "DPoP",
    "eyJ",
    "KEY--",
)
"""Without one of these no pattern matches, which is faster to find out."""

_LONGEST = 8192
"""Characters that are looked at; what is longer is cut before, since nobody is shown the rest."""


class Redactor:
    """Replaces what is known to be secret by a name for it, and what looks like a secret by a mark."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def hide(self, secret: str, name: str) -> str:
        """Never show a value again, but `[name]` in its place, and return the value."""
        if secret:
            self._names[secret] = name
        return secret

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        text = text[:_LONGEST]
        for secret in sorted(self._names, key=len, reverse=True):
            text = text.replace(secret, f"[{self._names[secret]}]")
        if any(sign in text for sign in _SIGNS):
            for pattern, instead in _PATTERNS:
                text = pattern.sub(instead, text)
        return text
