"""Who somebody is and what they may do: tables, tokens, passwords and roles, as pure policies that take `now`."""

from .entries import Entry, SecretTable, read_entry
from .headers import HeaderAuth, read_auth
from .passwords import hash_password, read_hash
from .permissions import ADMIN, PermissionManager, has_permissions
from .refusal import Credentials, Found, reason_of, refuse

__all__ = [
    "ADMIN",
    "Credentials",
    "Entry",
    "Found",
    "HeaderAuth",
    "PermissionManager",
    "SecretTable",
    "has_permissions",
    "hash_password",
    "read_auth",
    "read_entry",
    "read_hash",
    "reason_of",
    "refuse",
]
