"""Every error that pulsebase raises, and the one table that makes them.

    PulsebaseError
    ├── ConfigurationError            settings or a configuration file; nothing was started
    ├── InvalidValueError             a value out of range (also a ValueError); nothing was sent
    ├── MissingExtraError             an optional dependency is not installed
    ├── EmbeddedServerError           the private PostgreSQL did not start or stop
    ├── MigrationError                the migrator refused, or a file failed
    └── DatabaseError                 the database, or what stands before it, answered with an error
        ├── UnavailableError          not reachable, shutting down, full, or starting   (retryable)
        │   ├── ConnectTimeoutError   no connection within the connect timeout
        │   ├── GatewayError          a proxy answered instead of the database          (retryable)
        │   ├── RateLimitedError      429                                               (retryable)
        │   └── ProjectPausedError    a paused Supabase project
        ├── MalformedResponseError    half an answer, HTML, or no JSON
        ├── AuthenticationError       wrong key, wrong password
        ├── PermissionDeniedError     a GRANT or a row level security policy is missing
        ├── NotMigratedError          a table or function is not there
        │   └── StaleSchemaCacheError PostgREST has not seen it yet
        ├── NotFoundError             no row where one must be
        ├── IntegrityError
        │   ├── UniqueViolationError
        │   ├── ForeignKeyViolationError
        │   ├── CheckViolationError
        │   └── NotNullViolationError
        ├── InvalidDataError          the database could not read a value
        ├── MissingWhereError         `safeupdate` refused an UPDATE or DELETE without WHERE
        ├── SerializationError        40001, 40P01                                      (retryable)
        ├── LockTimeoutError          55P03                                             (retryable)
        └── StatementTimeoutError     57014

Messages say what is wrong and what to do next. None of them holds a key or a password.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

__all__ = [
    "AuthenticationError",
    "CheckViolationError",
    "ConfigurationError",
    "ConnectTimeoutError",
    "DatabaseError",
    "EmbeddedServerError",
    "ForeignKeyViolationError",
    "GatewayError",
    "IntegrityError",
    "InvalidDataError",
    "InvalidValueError",
    "LockTimeoutError",
    "MalformedResponseError",
    "MigrationError",
    "MissingExtraError",
    "MissingWhereError",
    "NotFoundError",
    "NotMigratedError",
    "NotNullViolationError",
    "PermissionDeniedError",
    "ProjectPausedError",
    "PulsebaseError",
    "RateLimitedError",
    "SerializationError",
    "StaleSchemaCacheError",
    "StatementTimeoutError",
    "UnavailableError",
    "UniqueViolationError",
]


class PulsebaseError(Exception):
    """Something went wrong that the caller can act on; the message says how."""


class ConfigurationError(PulsebaseError):
    """The settings or a configuration file cannot be used."""


class InvalidValueError(PulsebaseError, ValueError):
    """A value is out of its bounds; it was refused before anything was sent.

    `field` names the argument, `bound` the rule it broke.
    """

    def __init__(self, field: str, value: object, bound: str) -> None:
        self.field = field
        self.value = value
        self.bound = bound
        super().__init__(f"{field} must be {bound}; got {_shortened(value)}")

    def __reduce__(self) -> tuple[type[InvalidValueError], tuple[str, object, str]]:
        """Pickle by the three arguments, so that the error crosses process borders."""
        return (type(self), (self.field, self.value, self.bound))


class MissingExtraError(PulsebaseError):
    """An optional dependency is needed here and is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        self.purpose = purpose
        self.extra = extra
        super().__init__(f'{purpose} needs an extra; run: pip install "pulsebase[{extra}]"')

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle by the two arguments, so that the error crosses process borders."""
        return (type(self), (self.purpose, self.extra))


class EmbeddedServerError(PulsebaseError):
    """The embedded PostgreSQL could not be set up, started or stopped."""


class MigrationError(PulsebaseError):
    """The migrator refused to start, or a file failed and was rolled back."""


class DatabaseError(PulsebaseError):
    """The database, or a server in front of it, answered with an error.

    `code` is the SQLSTATE or PGRST code where there is one, `http_status` the status where HTTP
    carried the answer, `retry_after_seconds` what the server asked for.
    """

    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        details: str | None = None,
        hint: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.http_status = http_status
        self.details = details
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)

    def __str__(self) -> str:
        """One line: the message, the code, and what to do next."""
        code = f" [{self.code}]" if self.code else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{' '.join(self.message.split())}{code}{advice}"


class UnavailableError(DatabaseError):
    """The database is not reachable now; the same call may work later."""

    retryable = True


class ConnectTimeoutError(UnavailableError):
    """No connection within the connect timeout; trying again at once would double the wait."""

    retryable = False


class GatewayError(UnavailableError):
    """A proxy or gateway answered in place of the database."""


class RateLimitedError(UnavailableError):
    """Too many requests; `retry_after_seconds` says when to come back, if the server did."""


class ProjectPausedError(UnavailableError):
    """The Supabase project is paused."""

    retryable = False
    advice = "restore the project in the Supabase dashboard, then run the command again"


class MalformedResponseError(DatabaseError):
    """The answer is not what a PostgREST server sends: cut short, HTML, or empty."""

    advice = "check that the URL is that of a Supabase project or a PostgREST server"


class AuthenticationError(DatabaseError):
    """The key or password was not accepted."""

    advice = "check the key or password and that it belongs to this project"


class PermissionDeniedError(DatabaseError):
    """The role may not do this: a GRANT or a row level security policy is missing."""

    advice = "use the service key or the role that ran the migrations, or grant it access"


class NotMigratedError(DatabaseError):
    """A table or function that pulsebase needs is not in this database."""

    advice = "run: pulsebase db migrate"


class StaleSchemaCacheError(NotMigratedError):
    """PostgREST does not know the table or function (yet)."""

    advice = (
        "run: pulsebase db migrate; if that has nothing to do, the schema cache is stale: "
        "execute NOTIFY pgrst, 'reload schema' in the database"
    )


class NotFoundError(DatabaseError):
    """There is no such row."""


class IntegrityError(DatabaseError):
    """A constraint of the database refused the row; nothing was stored."""


class UniqueViolationError(IntegrityError):
    """A row with this key exists already."""


class ForeignKeyViolationError(IntegrityError):
    """The row refers to one that does not exist, or is still referred to."""


class CheckViolationError(IntegrityError):
    """A CHECK constraint refused the row."""


class NotNullViolationError(IntegrityError):
    """A column that must have a value has none."""


class InvalidDataError(DatabaseError):
    """The database could not read one of the values."""


class MissingWhereError(DatabaseError):
    """Supabase's `safeupdate` refuses UPDATE and DELETE without WHERE."""

    advice = "add a WHERE clause; `where true` says that every row is meant"


class SerializationError(DatabaseError):
    """Two transactions collided; the whole transaction may be repeated."""

    retryable = True


class LockTimeoutError(DatabaseError):
    """Another session holds the lock; the same call may work later."""

    retryable = True


class StatementTimeoutError(DatabaseError):
    """The statement ran longer than the server allows; a write may or may not have happened."""


# The one table. Longer prefixes win, so a whole code beats its class.
BY_CODE: dict[str, type[DatabaseError]] = {
    "08": UnavailableError,
    "21000": MissingWhereError,
    "22": InvalidDataError,
    "23502": NotNullViolationError,
    "23503": ForeignKeyViolationError,
    "23505": UniqueViolationError,
    "23514": CheckViolationError,
    "23": IntegrityError,
    "28": AuthenticationError,
    "3D000": DatabaseError,
    "3F000": NotMigratedError,
    "40": SerializationError,
    "42501": PermissionDeniedError,
    "42703": NotMigratedError,
    "42883": NotMigratedError,
    "42P01": NotMigratedError,
    "53": UnavailableError,
    "53400": DatabaseError,
    "55P03": LockTimeoutError,
    "57014": StatementTimeoutError,
    "57P01": UnavailableError,
    "57P02": UnavailableError,
    "57P03": UnavailableError,
    "PGRST000": UnavailableError,
    "PGRST001": UnavailableError,
    "PGRST002": UnavailableError,
    "PGRST003": UnavailableError,
    "PGRST1": InvalidDataError,
    "PGRST116": NotFoundError,
    "PGRST125": MalformedResponseError,
    "PGRST200": StaleSchemaCacheError,
    "PGRST202": StaleSchemaCacheError,
    "PGRST203": StaleSchemaCacheError,
    "PGRST204": StaleSchemaCacheError,
    "PGRST205": StaleSchemaCacheError,
    "PGRST3": AuthenticationError,
}

# Where a gateway answered and there is no code, or one that the table does not know.
BY_HTTP_STATUS: dict[int, type[DatabaseError]] = {
    HTTPStatus.UNAUTHORIZED: AuthenticationError,
    HTTPStatus.FORBIDDEN: PermissionDeniedError,
    HTTPStatus.NOT_FOUND: StaleSchemaCacheError,
    HTTPStatus.REQUEST_TIMEOUT: GatewayError,
    HTTPStatus.CONFLICT: IntegrityError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
    HTTPStatus.BAD_GATEWAY: GatewayError,
    HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: GatewayError,
    520: GatewayError,
    521: GatewayError,
    522: GatewayError,
    523: GatewayError,
    524: GatewayError,
    540: ProjectPausedError,
    544: GatewayError,
}

# Where a server hides the SQLSTATE behind a code of its own, as `@supabase/lite` does.
BY_MESSAGE: dict[str, type[DatabaseError]] = {
    "violates unique constraint": UniqueViolationError,
    "violates foreign key constraint": ForeignKeyViolationError,
    "violates check constraint": CheckViolationError,
    "violates not-null constraint": NotNullViolationError,
    "invalid input syntax": InvalidDataError,
    "invalid byte sequence": InvalidDataError,
    "unsupported Unicode escape": InvalidDataError,
    "permission denied": PermissionDeniedError,
    "canceling statement due to statement timeout": StatementTimeoutError,
    "canceling statement due to lock timeout": LockTimeoutError,
    "deadlock detected": SerializationError,
    "could not serialize access": SerializationError,
    "connect ECONNREFUSED": UnavailableError,
}

_LONGEST_PREFIX = 8
_SHOWN_CHARACTERS = 60


def error_class(
    code: str | None, http_status: int | None = None, message: str = ""
) -> type[DatabaseError]:
    """The class for a SQLSTATE or PGRST code, else for the message, else for the HTTP status."""
    for length in range(_LONGEST_PREFIX, 1, -1):
        if code and (found := BY_CODE.get(code[:length])):
            return found
    for words, found in BY_MESSAGE.items():
        if words in message:
            return found
    return BY_HTTP_STATUS.get(http_status or 0, DatabaseError)


def database_error(
    message: str, *, code: str | None = None, http_status: int | None = None, **parts: Any
) -> DatabaseError:
    """The typed error for what a server said."""
    return error_class(code, http_status, message)(
        message, code=code, http_status=http_status, **parts
    )


def _shortened(value: object) -> str:
    try:
        text = ascii(value) if isinstance(value, str) else f"{value!r}"
    except Exception:  # noqa: BLE001 -- too deep, too many digits, or a repr that fails: still refused
        return f"an object of type {type(value).__name__} that cannot be shown"
    text = " ".join(text.split())
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
