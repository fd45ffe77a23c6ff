from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.connection import connect
from pulsebase.errors import MigrationError
from pulsebase.migrations import Migrator, packaged, read_folder
from pulsebase.migrations.writing import export, new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pulsebase.migrations import Catalog

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]

WORDS = [file.words for file in packaged().files]
APPLICATION: dict[str, str | bytes] = {
    f"{number:03d}_step": f"create table step_{number} (i int);" for number in range(1, 12)
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_goes_on_where_the_folder_ends(folder: Path, write: Write) -> None:
    write(APPLICATION)
    exported = export(folder)
    expected = [f"{number:03d}_{words}" for number, words in enumerate(WORDS, 12)]
    assert [file.id for file in exported] == expected
    assert all(file.written for file in exported)
    assert names(folder) == [f"{name}.sql" for name in (*APPLICATION, *expected)]
    assert [file.checksum for file in read_folder(folder).files[11:]] == [
        file.checksum for file in packaged().files
    ]


def test_an_export_into_an_empty_folder_starts_at_001(tmp_path: Path) -> None:
    export(tmp_path / "deep" / "migrations")
    assert [file.id for file in read_folder(tmp_path / "deep" / "migrations").files] == [
        f"{number:03d}_{words}" for number, words in enumerate(WORDS, 1)
    ]


def test_a_second_export_writes_only_what_is_new(folder: Path, write: Write) -> None:
    first = packaged().files[0]
    write({**APPLICATION, f"012_{first.words}": first.text.replace("\n", "\r\n"), "013_own": ""})
    assert [(file.id, file.written) for file in export(folder)] == [
        (f"012_{first.words}", False),
        *((f"{number:03d}_{words}", True) for number, words in enumerate(WORDS[1:], 14)),
    ]
    assert not any(file.written for file in export(folder))


def test_an_export_overwrites_nothing(folder: Path, write: Write) -> None:
    write({f"001_{WORDS[0]}": "select 'something else'"})
    assert export(folder)[0].id == f"002_{WORDS[0]}"
    assert (folder / f"001_{WORDS[0]}.sql").read_text() == "select 'something else'"


def test_a_folder_that_cannot_be_read_gets_no_files(folder: Path) -> None:
    (folder / "Bad name.sql").write_text("")
    with pytest.raises(MigrationError, match="rename it"):
        export(folder)
    assert names(folder) == ["Bad name.sql"]


def test_exported_files_are_applied_under_their_new_names(
    empty_database: str, folder: Path, write: Write, sql: Sql
) -> None:
    write(APPLICATION)
    export(folder)
    with connect(empty_database) as connection:
        assert Migrator(connection, read_folder(folder)).apply().count == 11 + len(WORDS)
        assert sql("select max(id) from migrations")[0][0].startswith(f"{11 + len(WORDS):03d}_")
        assert Migrator(connection, packaged()).apply().files == ()


def test_exported_files_are_the_same_as_the_originals_applied_before(
    empty_database: str, folder: Path, sql: Sql
) -> None:
    with connect(empty_database) as connection:
        Migrator(connection, packaged()).apply()
        export(folder)
        path = new(folder, "own table")
        path.write_text("create table own_table (i int);")
        applied = Migrator(connection, read_folder(folder)).apply()
        assert [file.id for file in applied.files] == [path.stem]
    assert sql("select to_regclass('own_table') is null") == [(False,)]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("create users", "001_create_users"),
        ("Add e-mail; drop fax!", "001_add_e_mail_drop_fax"),
        ("Größe ändern", "001_grosse_andern"),
        ("../../etc/passwd", "001_etc_passwd"),
    ],
)
def test_a_new_file_is_named_after_its_words(folder: Path, words: str, name: str) -> None:
    assert new(folder, words).stem == name
    assert names(folder) == [f"{name}.sql"]
    assert read_folder(folder).files[0].statements == ()


def test_a_new_file_takes_the_next_number(folder: Path, write: Write) -> None:
    write(APPLICATION)
    assert new(folder, "more").name == "012_more.sql"


def test_a_new_file_needs_words_and_a_number(folder: Path, write: Write) -> None:
    with pytest.raises(MigrationError, match="no letters or digits"):
        new(folder, "!?")
    write({"999_last": ""})
    with pytest.raises(MigrationError, match="three digits"):
        new(folder, "more")


def test_words_with_a_line_break_stay_inside_the_comment(tmp_path: Path) -> None:
    """What follows the break must not become SQL."""
    path = new(tmp_path, "a\ndrop table users;\r\x0bdrop table x;")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("--") for line in lines)


def test_an_export_that_has_no_room_for_all_writes_nothing(tmp_path: Path) -> None:
    """Half an export could never be finished."""
    (tmp_path / "998_last.sql").write_text("select 1;\n")
    with pytest.raises(MigrationError, match="three digits"):
        export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["998_last.sql"]
