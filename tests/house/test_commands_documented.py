"""The command line and its reference agree: every command, argument and option, both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from pulsebase.cli.app import COMMANDS, pulsebase

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
SHARED = {"--url", "--key", "--connect-timeout", "--json", "--no-color", "--verbose", "--help"}


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, with its full name."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, f"{path} {name}")


COMMAND_LINES = dict(leaves(pulsebase, "pulsebase"))


def section(name: str) -> str:
    """What the reference says below the heading of a command."""
    parts = re.split(r"^#{2,3} (.+)$", REFERENCE.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return sections.get(f"`{name}`", "")


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(name)
    assert text, f"docs/reference/cli.md has no heading `{name}`"
    for parameter in COMMAND_LINES[name].params:
        word = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else ""
        assert word in SHARED or word in text, f"{word} is not in the section of {name}"


def test_the_reference_documents_nothing_that_is_not_there() -> None:
    headings = re.findall(r"^#{2,3} `(pulsebase .+)`$", REFERENCE.read_text(), re.MULTILINE)
    assert set(headings) == set(COMMAND_LINES)


def test_the_shared_options_are_documented() -> None:
    text = REFERENCE.read_text()
    assert all(f"`{option}" in text for option in SHARED)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_page_says_what_the_command_says_of_itself(name: str) -> None:
    command = pulsebase.get_command(click.Context(pulsebase), name)
    assert command is not None
    paragraph = " ".join((command.help or "").partition("\n\n")[0].split())
    assert paragraph == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_every_option_has_a_help_text(name: str) -> None:
    options = [each for each in COMMAND_LINES[name].params if isinstance(each, click.Option)]
    assert all(option.help for option in options if not option.hidden)
