"""How a connection carries calls out: repeats, steps, pipelines and pages, in both colours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from pulsebase import errors
from pulsebase.connection import AsyncConnection, Call, Connection, Many, Pages, Steps
from pulsebase.transports.request import Request
from pulsebase.verbs import operation, procedure, stream

AT_ONCE = errors.UnavailableError("starting", retry_after_seconds=0.001)


@dataclass
class Script:
    """A transport that answers from a list; an exception in it is raised."""

    answers: list[Any]
    retries: bool = True
    sent: list[Request] = field(default_factory=list)

    def send(self, request: Request) -> Any:
        """The next answer."""
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Pipeline(Script):
    """The same, with many requests in one flight; the first answer is that of the flight."""

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """The next answer, once the requests were read."""
        before = len(self.sent)
        self.sent.extend(requests)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        assert len(answer) == len(self.sent) - before
        return list(answer)


class AsyncScript:
    """A script's async face."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.retries = script.retries

    async def send(self, request: Request) -> Any:
        """The next answer."""
        return self._script.send(request)

    async def close(self) -> None:
        """Nothing to close."""


class AsyncPipeline(AsyncScript):
    """A pipeline's async face."""

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """The next answer."""
        assert isinstance(self._script, Pipeline)
        return self._script.send_many(requests)


Run = Callable[..., Any]


def _run_sync(script: Script, verb: Any, *arguments: Any, **named: Any) -> Any:
    answer = verb(Connection(script), *arguments, **named)
    return list(answer) if isinstance(answer, Iterator) else answer


def _run_async(script: Script, verb: Any, *arguments: Any, **named: Any) -> Any:
    face = AsyncPipeline(script) if isinstance(script, Pipeline) else AsyncScript(script)

    async def main() -> Any:
        answer = verb(AsyncConnection(face), *arguments, **named)
        if hasattr(answer, "__aiter__"):
            return [row async for row in answer]
        return await answer

    return asyncio.run(main())


@pytest.fixture(params=[_run_sync, _run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Carries a verb out in one of the two colours."""
    chosen: Run = request.param
    return chosen


def _call(number: int = 0, *, repeatable: bool = True) -> Call[int]:
    return Call(Request("f", {"n": number}, repeatable), int)


@operation
def double(n: int = 0, *, repeatable: bool = True) -> Call[int]:
    """One call."""
    return _call(n, repeatable=repeatable)


@procedure
def total(numbers: Iterable[int]) -> Steps[int]:
    """Many calls in one flight, and then one more."""
    answers: list[int] = yield Many(_call(number) for number in numbers)
    last: int = yield _call(99)
    return sum(answers) + last


@stream
def pages() -> Pages[int]:
    """Pages of two."""
    return Pages(lambda last: Call(Request("page", {"last": last}), list), 2)


def test_a_repeatable_call_is_repeated_until_it_succeeds(run: Run) -> None:
    script = Script([AT_ONCE, AT_ONCE, AT_ONCE, 7])
    assert run(script, double) == 7
    assert len(script.sent) == 4


def test_it_is_given_up_after_four_attempts_with_the_last_error(run: Run) -> None:
    last = errors.GatewayError("still", retry_after_seconds=0.001)
    script = Script([AT_ONCE, AT_ONCE, AT_ONCE, last, 7])
    with pytest.raises(errors.GatewayError, match="still"):
        run(script, double)
    assert len(script.sent) == 4


@pytest.mark.parametrize(
    "error",
    [
        errors.CheckViolationError("no"),
        errors.AuthenticationError("no"),
        errors.ConnectTimeoutError("no"),
        errors.StatementTimeoutError("no"),
        errors.ProjectPausedError("no"),
        errors.MalformedResponseError("no"),
        errors.RateLimitedError("come back in an hour", retry_after_seconds=3600.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_not_pass_by_itself_is_raised_at_once(
    run: Run, error: errors.DatabaseError
) -> None:
    script = Script([error, 7])
    with pytest.raises(type(error)) as caught:
        run(script, double)
    assert caught.value is error
    assert len(script.sent) == 1


def test_a_call_that_is_not_repeatable_is_sent_once(run: Run) -> None:
    script = Script([AT_ONCE, 7])
    with pytest.raises(errors.UnavailableError):
        run(script, double, repeatable=False)
    assert len(script.sent) == 1


def test_nothing_is_repeated_inside_somebody_s_transaction(run: Run) -> None:
    script = Script([AT_ONCE, 7], retries=False)
    with pytest.raises(errors.UnavailableError):
        run(script, double)
    assert len(script.sent) == 1


def test_without_a_pipeline_many_calls_go_one_after_another(run: Run) -> None:
    script = Script([1, AT_ONCE, 2, 3])
    assert run(script, total, [5, 6]) == 6
    assert [request.arguments["n"] for request in script.sent] == [5, 6, 6, 99]


def test_a_pipeline_carries_many_calls_in_one_flight(run: Run) -> None:
    script = Pipeline([[1, 2], 3])
    assert run(script, total, iter([5, 6])) == 6
    assert [request.arguments["n"] for request in script.sent] == [5, 6, 99]


def test_a_flight_that_fell_down_is_repeated_call_by_call(run: Run) -> None:
    script = Pipeline([AT_ONCE, 1, 2, 3])
    assert run(script, total, iter([5, 6])) == 6
    assert [request.arguments["n"] for request in script.sent] == [5, 6, 5, 6, 99]


def _numbers_that_fail(error: Exception) -> Iterator[int]:
    yield 5
    raise error


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), errors.UnavailableError("mine")])
@pytest.mark.parametrize("kind", [Script, Pipeline])
def test_the_error_of_the_caller_s_own_iterable_reaches_the_caller(
    run: Run, error: Exception, kind: type[Script]
) -> None:
    """A part of the iterable must never pass for the whole of it."""
    script = kind([1, 2, 3])
    with pytest.raises(type(error)) as caught:
        run(script, total, _numbers_that_fail(error))
    assert caught.value is error


def test_pages_are_asked_for_until_one_is_not_full(run: Run) -> None:
    script = Script([[1, 2], [3, 4], [5]])
    assert run(script, pages) == [1, 2, 3, 4, 5]
    assert [request.arguments["last"] for request in script.sent] == [None, 2, 4]


def test_a_full_last_page_is_followed_by_an_empty_one(run: Run) -> None:
    assert run(Script([[1, 2], []]), pages) == [1, 2]


@pytest.mark.parametrize("first", ["openai", uuid4(), timedelta(days=30)], ids=type)
def test_without_a_connection_the_first_argument_is_the_verb_s_own(
    first: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSEBASE_URL", "postgresql://nobody@127.0.0.1:1/x?connect_timeout=2")
    seen = []

    @operation
    def look(value: str | UUID | timedelta, *, more: int = 0) -> Call[int]:
        seen.append((value, more))
        raise ZeroDivisionError

    anything: Any = look
    for arguments in ((first,), (Connection(Script([])), first), (None, first)):
        with pytest.raises(ZeroDivisionError):
            anything(*arguments, more=1)
    assert seen == [(first, 1)] * 3


@pytest.mark.parametrize(
    "thing", [object(), 5, {"url": "x"}, open], ids=lambda thing: str(type(thing))
)
def test_what_is_no_connection_is_refused_by_name(thing: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="cannot serve as a connection"):
        double(thing)  # type: ignore[call-overload]  # that is the question


def test_a_verb_gives_its_call_without_carrying_it_out() -> None:
    assert double.call(4).request == Request("f", {"n": 4})


def test_the_verbs_keep_their_names_and_docstrings() -> None:
    assert vars(double)["__name__"] == "double"
    assert double.__doc__ == "One call."
