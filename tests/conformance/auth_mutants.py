"""Clients and protected servers with one fault each in how they authorize; `auth_client` and `auth_target` have them."""

# ruff: noqa: E501 - a table: a row is a line

from typing import NamedTuple

__all__ = ["CLIENTS", "SERVERS", "Fault"]


class Fault(NamedTuple):
    """One fault: its name, the rule it breaks, the scenario that shall find it, and the revision."""

    name: str
    rule: int
    scenario: str
    revision: str = "E"


CLIENTS = [
    Fault("token in the query", 211, "auth/metadata-default"),
    Fault("token in the query", 211, "auth/2025-03-26-oauth-metadata-backcompat", "B"),
    Fault("forgets the token", 211, "auth/metadata-default", "D"),
    Fault("secret in the body", 211, "auth/token-endpoint-auth-basic", "C"),
    Fault("assertion for others", 211, "auth/client-credentials-jwt"),
    Fault("no ath", 211, "auth/dpop"),
    Fault("tries again", 211, "auth/wif-jwt-bearer"),
    Fault("ignores the challenge", 212, "auth/metadata-var3"),
    Fault("reads quoted text", 212, "auth/challenge-among-others", "C"),
    Fault("believes any resource", 212, "auth/resource-mismatch"),
    Fault("root before path", 213, "auth/metadata-var1", "D"),
    Fault("OpenID first", 214, "auth/metadata-var1", "D"),
    Fault("OpenID first", 214, "auth/metadata-var3"),
    Fault("believes any issuer", 215, "auth/metadata-issuer-mismatch"),
    Fault("forgives a slash", 215, "auth/metadata-issuer-slash"),
    Fault("no PKCE", 216, "auth/metadata-default", "D"),
    Fault("plain PKCE", 216, "auth/metadata-default"),
    Fault("another verifier", 216, "auth/metadata-default", "D"),
    Fault("PKCE unasked", 216, "auth/no-pkce"),
    Fault("no resource to authorize", 217, "auth/metadata-default", "C"),
    Fault("no resource for the token", 217, "auth/metadata-default"),
    Fault("resource with a fragment", 217, "auth/metadata-default"),
    Fault("resource with a slash", 217, "auth/metadata-var2"),
    Fault("ignores iss", 218, "auth/iss-wrong-issuer"),
    Fault("ignores iss", 218, "auth/iss-of-an-error"),
    Fault("normalises iss", 218, "auth/iss-normalized"),
    Fault("normalises iss", 218, "auth/iss-upper-case"),
    Fault("misses no iss", 218, "auth/iss-supported-missing"),
    Fault("trusts what was not announced", 218, "auth/iss-unexpected"),
    Fault("shows foreign errors", 218, "auth/iss-of-an-error"),
    Fault("ignores state", 218, "auth/state-mismatch"),
    Fault("keeps its client id", 219, "auth/authorization-server-migration"),
    Fault("keeps its token", 219, "auth/authorization-server-migration"),
    Fault("foreign credentials", 219, "auth/credentials-of-another-issuer"),
    Fault("no application_type", 220, "auth/metadata-default"),
    Fault("client id over http", 221, "auth/basic-cimd", "D"),
    Fault("all scopes", 222, "auth/scope-from-www-authenticate", "D"),
    Fault("a scope of its own", 222, "auth/scope-omitted-when-undefined"),
    Fault("does not step up", 222, "auth/scope-step-up", "D"),
    Fault("no union", 222, "auth/scope-step-up"),
    Fault("never gives up", 222, "auth/scope-retry-limit"),
    Fault("no refresh grant", 223, "auth/offline-access-scope"),
    Fault("always offline", 223, "auth/offline-access-not-supported"),
    Fault("redirects anywhere", 224, "auth/metadata-default", "C"),
    Fault("plain endpoints", 224, "auth/insecure-endpoint", "B"),
]  # fmt: skip

SERVERS = [
    Fault("no metadata", 207, "auth-metadata"),
    Fault("no authorization server", 207, "auth-metadata", "D"),
    Fault("another resource", 207, "auth-metadata"),
    Fault("metadata untold", 207, "auth-metadata", "C"),
    Fault("offline_access", 207, "auth-metadata"),
    Fault("forbidden without a token", 208, "auth-missing-token", "D"),
    Fault("open to everybody", 208, "auth-missing-token"),
    Fault("no challenge", 208, "auth-missing-token"),
    Fault("open to GET", 208, "auth-missing-token", "D"),
    Fault("any token", 208, "auth-invalid-token", "B"),
    Fault("any scheme", 208, "auth-invalid-token"),
    Fault("expired is fine", 208, "auth-expired-token"),
    Fault("says no", 208, "auth-expired-token"),
    Fault("refuses the good", 208, "auth-good-token"),
    Fault("token from the query", 208, "auth-good-token"),
    Fault("a session is enough", 208, "auth-session-is-no-token", "D"),
    Fault("any scope", 208, "auth-insufficient-scope"),
    Fault("401 for a scope", 208, "auth-insufficient-scope", "C"),
    Fault("scope untold", 208, "auth-insufficient-scope", "D"),
    Fault("foreign is fine", 209, "auth-foreign-token"),
    Fault("no hierarchy", 210, "auth-broader-scope"),
]  # fmt: skip
