from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from pulsebase.migrations import packaged
from pulsebase.migrations.script import split

TRICKY = {
    "quotes": "select 'a;b', 'it''s; fine', \"odd;name\"; select 2",
    "escapes": r"select E'a\';b', e'\\'; select 'a\'; select 3",
    "dollars": "select $$;$$, $a$ $$;$$ ; $b$ $a$, $ü$;$ü$; select 4",
    "names with dollars": "select 1 as a$b$c; select 2 as d$b$e",
    "comments": "select 1 -- ; no\n; /* ; /* ; */ ; */ select 2 /* end */",
    "rule": """create rule r as on insert to t
        do also (insert into a values (1); delete from b); select 1""",
    "atomic": """create function f(a int) returns int language sql
        begin atomic select case when a > 0 then 1 else 2 end; select 3; end;
        create or replace procedure p() begin atomic insert into t values (1); end; select 1""",
    "a column called begin": "create table t (begin int, atomic int); select 1",
    "a function called begin": """create function begin() returns int
        language sql as 'select 1'; select 2""",
    "empty": ";;; \n -- nothing\n; select 1;;",
    "unicode": "select 'ü;😀' as \"größe;\"; select 'é'",
    "operators": "select 1 - -1, 2 */* c */ 3, a->>'b;', $1; select @ -1",
    "numbers": "select 1e5, 0x1f, 1_000, .5; select 2",
    "array": "select array[1, 2], (array['a;'])[1]; select 2",
    "no semicolon at the end": "select 1; select 2",
}


def parser() -> Any:
    return pytest.importorskip("postgast")


@pytest.mark.parametrize("script", TRICKY.values(), ids=TRICKY)
def test_statements_end_where_postgresql_says(script: str) -> None:
    theirs = [text.strip() for text in parser().split(script)]
    ours = [statement.text for statement in split(script)]
    assert [without_comments(text) for text in ours] == [without_comments(t) for t in theirs if t]


@pytest.mark.parametrize("file", packaged().files, ids=lambda file: str(file.id))
def test_statements_of_our_files_end_where_postgresql_says(file: Any) -> None:
    theirs = [text.strip() for text in parser().split(file.text)]
    ours = [statement.text for statement in file.statements]
    assert [without_comments(text) for text in ours] == [without_comments(t) for t in theirs]


def without_comments(text: str) -> list[int]:
    """The tokens of a statement, as PostgreSQL's scanner numbers them, without comments."""
    tokens = import_module("postgast").scan(text).tokens
    return [token.token for token in tokens if token.token not in {275, 276}]


def test_a_statement_knows_its_place() -> None:
    script = "-- first\nselect 1;\n\n  select\n2; select 3"
    found = list(split(script))
    assert [(s.line, script[s.start :].startswith(s.text)) for s in found] == [
        (2, True),
        (4, True),
        (5, True),
    ]


def test_an_open_quote_runs_to_the_end() -> None:
    for script in ("select 'a; select 2", "select $a$; select 2", 'select "; select 2', "/* ; "):
        assert len(list(split(script))) <= 1


def test_a_command_of_psql_is_a_statement_of_its_own() -> None:
    assert [s.words[0] for s in split("\\set a 1\nselect 1;\n\\i file.sql\nselect 2")] == [
        "\\",
        "select",
        "\\",
        "select",
    ]


def test_a_long_script_is_split_in_time_proportional_to_its_length() -> None:
    statement = "insert into t values (1, 'some text; here', $$and here;$$); -- why\n"
    assert sum(1 for _ in split(statement * 20_000)) == 20_000
