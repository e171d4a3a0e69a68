"""Who is calling: authentication providers and roles; a door to `providers`, `jwt_auth` and `kailash.auth`."""

from ..auth.headers import HeaderAuth
from ..auth.permissions import PermissionManager
from ..auth.refusal import reason_of
from ..resilience import RateLimiter
from .auth_manager import AuthManager
from .jwt_auth import JWTAuth, WeakSecretWarning
from .providers import AnyAuth, APIKeyAuth, AuthProvider, BasicAuth, BearerTokenAuth, RoleAuth

__all__ = [
    "APIKeyAuth",
    "AnyAuth",
    "AuthManager",
    "AuthProvider",
    "BasicAuth",
    "BearerTokenAuth",
    "HeaderAuth",
    "JWTAuth",
    "PermissionManager",
    "RateLimiter",
    "RoleAuth",
    "WeakSecretWarning",
    "reason_of",
]
