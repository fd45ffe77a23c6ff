"""The kind `python`: call a function, and take what it returns or raises for the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_args

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.callables import Callables, Called, told
from pulsebase.probes.support.faults import excerpt, failed, fault
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.outcome import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look

__all__ = ["PythonProbe"]

_STATUSES: Final = get_args(Status)
_ANSWERS: Final = "None, True, False, a status, an Outcome, or a mapping with a status"
_ANSWER_KEYS: Final = frozenset({"status", "latency_ms", "details"})
_LONGEST_MILLISECONDS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PythonProbe(LatencyLimits):
    """Call `package.module:function` with `arguments`; it is imported at the first look.

    `degraded_above` and `down_above` are compared with the time of the whole call.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    callable: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the function without its arguments, which may be secret."""
        return f"PythonProbe({self.callable})"

    @property
    def host(self) -> str | None:
        """Whom the function asks is its own affair."""
        return None

    async def probe(self, look: Look) -> Outcome:
        """Call it once, and wait for it no longer than the timeout."""
        checked_at = datetime.now(UTC)
        try:
            called = await look.tools.use(Callables).call(
                self.callable,
                self.arguments,
                service_name=look.service_name,
                timeout_seconds=look.timeout_seconds,
            )
        except TimeoutError as error:
            return _down(checked_at, fault(error))
        if called.error is not None:
            return _down(checked_at, self._raised(called.error))
        try:
            return self._judge(called, checked_at)
        except (TypeError, ValueError, RecursionError) as error:
            return _down(checked_at, failed("result", _ANSWERS, self._shown(told(error))))

    def _raised(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, OSError):
            fault(error)  # raises where this machine is out of something
        return {"error": {"kind": "exception", "message": self._shown(told(error))}}

    def _judge(self, called: Called, checked_at: datetime) -> Outcome:
        value = called.value
        latency_ms: int | None = round(called.elapsed_seconds * 1000)
        details: dict[str, Any] = {}
        if isinstance(value, Outcome):
            return value
        if isinstance(value, Mapping):
            status, latency_ms, details = _answer_of(value, latency_ms)
        else:
            status = _status_of(value)
        if status == "healthy":
            status, too_slow = self.judge_latency(called.elapsed_seconds)
            details = details | too_slow
        elif not details:
            details = failed("result", "healthy", status if value is not False else "False")
        return Outcome(status=status, latency_ms=latency_ms, checked_at=checked_at, details=details)

    def _shown(self, text: str) -> str:
        return excerpt(text, _texts(self.arguments))

    def _problems(self) -> Iterator[InvalidValueError]:
        module, _, path = self.callable.partition(":")
        if not all(name.isidentifier() for name in (*module.split("."), *path.split("."))):
            rule = 'a module and a function in it, such as "package.module:function"'
            yield InvalidValueError("callable", self.callable, rule)
        for name in self.arguments:
            if not name.isidentifier():
                yield InvalidValueError("arguments", name, "named as Python names arguments")
        yield from self.latency_problems()


def _status_of(value: Any) -> Status:
    if value is None or value is True:
        return "healthy"
    if value is False:
        return "down"
    if isinstance(value, str) and value in _STATUSES:
        return cast("Status", str(value))
    message = f"it returned {_kind_of(value)}"
    raise ValueError(message)


def _answer_of(
    answer: Mapping[Any, Any], latency_ms: int | None
) -> tuple[Status, int | None, dict[str, Any]]:
    """The parts of a mapping; raises ValueError or TypeError for one that is no answer."""
    if unknown := [str(key) for key in answer if key not in _ANSWER_KEYS]:
        message = f"the mapping has the unknown key {unknown[0]}"
        raise ValueError(message)
    status, details = answer.get("status"), answer.get("details", {})
    if not isinstance(status, str) or status not in _STATUSES:
        message = f"the status of the mapping is {_kind_of(status)}"
        raise ValueError(message)
    if not isinstance(details, Mapping):
        message = f"the details of the mapping are {_kind_of(details)}"
        raise TypeError(message)
    given = answer.get("latency_ms", latency_ms)
    if given is not None and (type(given) is not int or not 0 <= given <= _LONGEST_MILLISECONDS):
        message = "the latency_ms of the mapping is no whole number from 0 on"
        raise ValueError(message)
    return cast("Status", str(status)), given, {str(key): value for key, value in details.items()}


def _kind_of(value: Any) -> str:
    return f"the text {value!r}" if isinstance(value, str) else f"a {type(value).__name__}"


def _down(checked_at: datetime, details: dict[str, Any]) -> Outcome:
    return Outcome(status="down", latency_ms=None, checked_at=checked_at, details=details)


def _texts(value: Any) -> Iterator[str]:
    """Every text in the arguments: any may be a secret."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list() | tuple():
            for inner in value:
                yield from _texts(inner)
        case _:
            return
