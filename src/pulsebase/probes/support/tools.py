"""What probes share while a monitor runs: opened on first use, closed together.

A probe is a value and owns nothing. What is worth keeping between two probes (a transfer engine, a
resolver, a TLS context) is a tool: a class with a constructor without arguments and `aclose()`.
What only the monitor can make, such as a view of the database, it gives when it makes the tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["ProbeTools", "Tool"]


class Tool(Protocol):
    """Something that probes share; it is made inside the running event loop."""

    async def aclose(self) -> None:
        """Let go of everything; transfers still under way are cancelled."""
        ...


ToolT = TypeVar("ToolT", bound=Tool)


class ProbeTools:
    """Opens each tool once, when the first probe asks for it, and closes all of them.

    async with ProbeTools() as tools:
        outcome = await probe.probe(Look(service_name="a", timeout_seconds=10, tools=tools))

    `given` holds tools that are open already, by the class that probes ask for; they are closed
    with the others.
    """

    def __init__(self, *, given: Mapping[type[Any], Tool] | None = None) -> None:
        self._open: dict[type[Any], Tool] = dict(given or {})

    def use(self, kind: type[ToolT]) -> ToolT:
        """The shared tool of this class."""
        if (tool := self._open.get(kind)) is None:
            tool = self._open[kind] = kind()
        return cast("ToolT", tool)

    async def aclose(self) -> None:
        """Close every tool, the last opened first."""
        while self._open:
            _, tool = self._open.popitem()
            await tool.aclose()

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every tool."""
        await self.aclose()
