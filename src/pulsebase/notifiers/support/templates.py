"""Jinja in a sandbox: templates of the configuration over what there is to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jinja2 import TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pulsebase.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["VARIABLES", "template_problem"]

# What a template may name; the reference has a line for each.
VARIABLES: Final = frozenset(
    {
        "channel",
        "default_body",
        "default_title",
        "notice",
        "notices",
        "now",
        "message_id",
    }
)


def template_problem(template: str | None, field: str) -> Iterable[InvalidValueError]:
    """What is wrong with a template before it is used: its syntax, and names that nobody knows."""
    if template is None:
        return
    environment = ImmutableSandboxedEnvironment()
    try:
        named = meta.find_undeclared_variables(environment.parse(template))
    except TemplateError as error:
        yield InvalidValueError(field, template, f"a Jinja template ({error.message})")
        return
    if unknown := sorted(named - VARIABLES - set(environment.globals)):
        bound = f"a template that names nothing but {', '.join(sorted(VARIABLES))}"
        yield InvalidValueError(field, unknown[0], bound)
