"""Jinja in a sandbox: templates of the configuration over what there is to say.

Values are escaped for the format of the channel, and none of them is ever read as a template.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.styles import style_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jinja2 import Template
    from jinja2.runtime import Context

    from pulsebase.notifiers.support.styles import Format

__all__ = ["VARIABLES", "TemplateFailedError", "render", "template_problem"]

# What a template may name; the reference has a line for each.
VARIABLES: Final = frozenset(
    {"channel", "default_body", "default_title", "message_id", "notice", "notices", "now"}
)
_LONGEST_OUTPUT: Final = 256 * 1024
# Of all loops of a template together, which is far less than a second.
_MOST_ROUNDS: Final = 500_000
_LONGEST_RANGE: Final = 10_000
_BOUNDED: Final = "_bounded"
_ROUNDS: Final = "_rounds"
# Each makes a text of any length out of a number.
_PADDING: Final = frozenset(
    {"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"}
)
_PADDING_FILTERS: Final = ("batch", "center", "format", "indent", "slice", "tojson")


class TemplateFailedError(Exception):
    """A template could not be rendered, or had no end."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply numbers; a text or a list times a number could fill the memory."""
        if operator == "**" or not all(isinstance(one, int | float) for one in (left, right)):
            message = f'"{operator}" is for numbers in a template, and not for powers'
            raise SecurityError(message)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:  # noqa: ARG002 -- Jinja's signature
        """No guarded `format`, which pads as well: it is no safe attribute, as the others."""
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use it."""
        pads = isinstance(obj, str) and attr in _PADDING
        return not pads and super().is_safe_attribute(obj, attr, value)


def template_problem(template: str | None, field: str) -> Iterable[InvalidValueError]:
    """What is wrong with a template before it is used: its syntax, and names that nobody knows."""
    if template is None:
        return
    environment = _environment("text")
    try:
        parsed = environment.parse(template)
        named = meta.find_undeclared_variables(parsed)
        refers = any(True for _ in meta.find_referenced_templates(parsed))
        environment.from_string(template)  # finds filters that are not there
    except TemplateError as error:
        yield InvalidValueError(field, template, f"a Jinja template ({error.message})")
    except RecursionError:
        yield InvalidValueError(field, template, "a Jinja template of reasonable depth")
    else:
        if refers:
            yield InvalidValueError(field, template, "one template, without include and import")
        if unknown := sorted(named - VARIABLES - set(environment.globals)):
            bound = f"a template that names nothing but {', '.join(sorted(VARIABLES))}"
            yield InvalidValueError(field, unknown[0], bound)


def render(template: str, variables: Mapping[str, Any], form: Format) -> str:
    """The text of a template; raises TemplateFailedError with a reason, whatever goes wrong."""
    parts: list[str] = []
    room = _LONGEST_OUTPUT
    try:
        for part in _compiled(template, form).generate(**variables, **{_ROUNDS: count(1)}):
            parts.append(part)
            room -= len(part)
            if room < 0:
                break
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise TemplateFailedError(reason) from error
    if room < 0:
        message = f"its text is longer than {_LONGEST_OUTPUT:,} characters"
        raise TemplateFailedError(message)
    return "".join(parts)


@lru_cache(maxsize=256)
def _compiled(template: str, form: Format) -> Template:
    """The template, in which every loop counts its rounds."""
    environment = _environment(form)
    parsed = environment.parse(template)
    for loop in parsed.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _BOUNDED, [], [], None, None, lineno=loop.lineno)
    return environment.from_string(parsed)


@cache
def _environment(form: Format) -> _Sandbox:
    style = style_of(form)

    def finalize(value: Any) -> Any:
        return style.escape(str(value)) if not isinstance(value, Markup) else str(value)

    environment = _Sandbox(
        undefined=StrictUndefined,
        autoescape=form == "html",
        finalize=finalize if form == "markdown" else None,
    )
    environment.globals["range"] = _bounded_range
    environment.filters[_BOUNDED] = _bounded
    for name in _PADDING_FILTERS:
        del environment.filters[name]
    del environment.globals["lipsum"]
    return environment


def _bounded_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _LONGEST_RANGE:
        message = f"a range of more than {_LONGEST_RANGE:,}"
        raise SecurityError(message)
    return found


@pass_context
def _bounded(context: Context, entries: Iterable[Any]) -> Iterator[Any]:
    rounds: Any = context.resolve(_ROUNDS)
    for entry in entries:
        if next(rounds) > _MOST_ROUNDS:
            message = f"its loops take more than {_MOST_ROUNDS:,} rounds"
            raise SecurityError(message)
        yield entry
