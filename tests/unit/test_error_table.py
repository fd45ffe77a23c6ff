"""Every code that a server may answer with becomes one typed error."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pulsebase import errors

CODES = [
    ("PGRST116", errors.NotFoundError),
    ("PGRST200", errors.StaleSchemaCacheError),
    ("PGRST202", errors.StaleSchemaCacheError),
    ("PGRST204", errors.StaleSchemaCacheError),
    ("PGRST205", errors.StaleSchemaCacheError),
    ("42P01", errors.NotMigratedError),
    ("42883", errors.NotMigratedError),
    ("42703", errors.NotMigratedError),
    ("PGRST301", errors.AuthenticationError),
    ("PGRST302", errors.AuthenticationError),
    ("PGRST303", errors.AuthenticationError),
    ("28000", errors.AuthenticationError),
    ("28P01", errors.AuthenticationError),
    ("42501", errors.PermissionDeniedError),
    ("23505", errors.UniqueViolationError),
    ("23503", errors.ForeignKeyViolationError),
    ("23514", errors.CheckViolationError),
    ("23502", errors.NotNullViolationError),
    ("23P01", errors.IntegrityError),
    ("22P02", errors.InvalidDataError),
    ("22001", errors.InvalidDataError),
    ("22003", errors.InvalidDataError),
    ("22007", errors.InvalidDataError),
    ("PGRST100", errors.InvalidDataError),
    ("PGRST102", errors.InvalidDataError),
    ("PGRST103", errors.InvalidDataError),
    ("PGRST108", errors.InvalidDataError),
    ("PGRST118", errors.InvalidDataError),
    ("PGRST122", errors.InvalidDataError),
    ("PGRST124", errors.InvalidDataError),
    ("PGRST125", errors.MalformedResponseError),
    ("42P10", errors.DatabaseError),
    ("21000", errors.MissingWhereError),
    ("40001", errors.SerializationError),
    ("40P01", errors.SerializationError),
    ("55P03", errors.LockTimeoutError),
    ("57014", errors.StatementTimeoutError),
    ("08000", errors.UnavailableError),
    ("08006", errors.UnavailableError),
    ("53100", errors.UnavailableError),
    ("53200", errors.UnavailableError),
    ("53300", errors.UnavailableError),
    ("53400", errors.DatabaseError),
    ("57P01", errors.UnavailableError),
    ("57P02", errors.UnavailableError),
    ("57P03", errors.UnavailableError),
    ("PGRST000", errors.UnavailableError),
    ("PGRST001", errors.UnavailableError),
    ("PGRST002", errors.UnavailableError),
    ("PGRST003", errors.UnavailableError),
    ("XX000", errors.DatabaseError),
    ("PGRSTX00", errors.DatabaseError),
    ("SUP", errors.DatabaseError),
]

STATUSES = [
    (401, errors.AuthenticationError),
    (403, errors.PermissionDeniedError),
    (404, errors.StaleSchemaCacheError),
    (409, errors.IntegrityError),
    (429, errors.RateLimitedError),
    (500, errors.DatabaseError),
    (502, errors.GatewayError),
    (503, errors.UnavailableError),
    (504, errors.GatewayError),
    (520, errors.GatewayError),
    (522, errors.GatewayError),
    (524, errors.GatewayError),
    (540, errors.ProjectPausedError),
    (544, errors.GatewayError),
]

RETRYABLE = {
    errors.GatewayError,
    errors.LockTimeoutError,
    errors.RateLimitedError,
    errors.SerializationError,
    errors.UnavailableError,
}

EVERY_CLASS = [getattr(errors, name) for name in errors.__all__]
DATABASE_CLASSES = [kind for kind in EVERY_CLASS if issubclass(kind, errors.DatabaseError)]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_a_code_has_one_class(code: str, kind: type[errors.DatabaseError]) -> None:
    assert errors.error_class(code) is kind


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_a_known_code_beats_the_status_and_the_message(
    code: str, kind: type[errors.DatabaseError]
) -> None:
    if kind is not errors.DatabaseError:
        assert errors.error_class(code, 404, "permission denied for table t") is kind


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("code", [None, "", "SUP"])
def test_without_a_known_code_the_status_decides(
    status: int, kind: type[errors.DatabaseError], code: str | None
) -> None:
    assert errors.error_class(code, status, "") is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('new row for relation "t" violates check constraint "c"', errors.CheckViolationError),
        ('duplicate key value violates unique constraint "t_pkey"', errors.UniqueViolationError),
        ("permission denied for function create_health_check", errors.PermissionDeniedError),
        ("canceling statement due to statement timeout", errors.StatementTimeoutError),
        ('invalid input syntax for type uuid: "x"', errors.InvalidDataError),
    ],
)
def test_without_a_known_code_the_message_beats_the_status(
    message: str, kind: type[errors.DatabaseError]
) -> None:
    assert errors.error_class("SUP", 500, message) is kind


def test_only_what_may_pass_by_itself_is_retryable() -> None:
    assert {kind for kind in DATABASE_CLASSES if kind.retryable} == RETRYABLE


def test_every_class_is_public_and_drawn_in_the_tree() -> None:
    defined = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.PulsebaseError)
    }
    assert defined == set(errors.__all__)
    for name in defined:
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", DATABASE_CLASSES)
def test_an_error_is_one_line_with_its_code_and_its_advice(
    kind: type[errors.DatabaseError],
) -> None:
    text = str(kind("it broke\n  in two lines", code="XX000"))
    assert text.startswith("it broke in two lines [XX000]")
    assert text.endswith(kind.advice)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidValueError("latency_ms", -1, "a whole number"),
        errors.MissingExtraError("the monitor", "monitor"),
        errors.ConfigurationError("no"),
        errors.CheckViolationError(
            "no", code="23514", http_status=400, details="d", hint="h", retry_after_seconds=1.5
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_process_borders(error: errors.PulsebaseError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


class Unprintable:
    """An object whose repr fails, as that of a half-made object may."""

    def __repr__(self) -> str:
        """Fail."""
        message = "not ready"
        raise RuntimeError(message)


def _deep() -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(100_000):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [10**5000, "x" * 2_000_000, "\ud800", Unprintable(), b"\xff" * 1000, float("nan"), "a\nb"],
    ids=["huge int", "long text", "surrogate", "unprintable", "bytes", "nan", "two lines"],
)
def test_a_refused_value_is_shown_short_and_on_one_line(value: object) -> None:
    text = str(errors.InvalidValueError("field", value, "something else"))
    assert len(text) < 200
    assert "\n" not in text
    text.encode()


def test_a_refused_value_may_be_nested_deeper_than_python_can_print() -> None:
    value = _deep()
    try:
        assert len(str(errors.InvalidValueError("field", value, "less deep"))) < 200
    finally:
        while value:  # by hand: freeing it at once would overflow the stack on some builds
            value = value.pop("a")  # type: ignore[assignment]  # nested on purpose
