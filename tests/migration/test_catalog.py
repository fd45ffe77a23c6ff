from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pulsebase.errors import MigrationError
from pulsebase.migrations import packaged, read_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pulsebase.migrations import Catalog

    Write = Callable[[dict[str, str | bytes]], Catalog]


def test_the_packaged_files_start_at_012_and_have_no_gap() -> None:
    numbers = [file.number for file in packaged().files]
    assert numbers == list(range(12, 12 + len(numbers)))


def test_an_id_is_the_file_name_without_its_ending(write: Write) -> None:
    (file,) = write({"007_create_users_2": "select 1"}).files
    assert (file.id, file.number, file.words) == ("007_create_users_2", 7, "create_users_2")


def test_line_ends_and_a_byte_order_mark_change_no_checksum(write: Write) -> None:
    plain = write({"001_a": "select 1;\nselect 2;\n"}).files[0]
    windows = write({"001_a": b"\xef\xbb\xbfselect 1;\r\nselect 2;\r\n"}).files[0]
    old_mac = write({"001_a": b"select 1;\rselect 2;\r"}).files[0]
    assert plain.checksum == windows.checksum == old_mac.checksum
    assert windows.text == plain.text


def test_another_text_has_another_checksum(write: Write) -> None:
    assert write({"001_a": "select 1"}).files != write({"001_a": "select 2"}).files


def test_a_folder_may_start_anywhere(write: Write) -> None:
    assert [file.number for file in write({"500_a": "", "501_b": ""}).files] == [500, 501]


def test_other_files_in_the_folder_are_none_of_ours(folder: Path, write: Write) -> None:
    write({"001_a": "select 1"})
    for name in ("README.md", ".001_b.sql.swp", ".hidden.sql", "001_b.sql~"):
        (folder / name).write_text("?")
    (folder / "002_folder.sql").mkdir()
    assert [file.id for file in read_folder(folder).files] == ["001_a"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1_a", "three digits, not 1"),
        ("0001_a", "three digits, not 4"),
        ("create_users", "three digits, not none"),
        ("20240101120000_a", "three digits, not 14"),
        ("001", "words must follow"),
        ("001_", "words must follow"),
        ("001-a", "an underscore"),
        ("001_Create", "lower-case"),
        ("001_a__b", "single underscores"),
        ("001_a b", "lower-case"),
        ("001_ä", "lower-case"),
        ("V1__a", "three digits, not none"),
    ],
)
def test_a_misnamed_file_is_refused_with_the_reason(write: Write, name: str, reason: str) -> None:
    with pytest.raises(MigrationError, match=reason) as caught:
        write({name: "select 1"})
    assert "rename it like" in str(caught.value)


def test_an_ending_in_capitals_is_refused(folder: Path) -> None:
    (folder / "001_a.SQL").write_text("select 1")
    with pytest.raises(MigrationError, match=r"must be \.sql in lower case"):
        read_folder(folder)


def test_two_files_with_one_number_are_refused(write: Write) -> None:
    with pytest.raises(MigrationError, match=r"001_a\.sql and 001_b\.sql have the same number"):
        write({"001_a": "", "001_b": ""})


def test_a_gap_is_refused_with_the_missing_number(write: Write) -> None:
    with pytest.raises(MigrationError, match="002 is missing"):
        write({"001_a": "", "003_c": ""})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"select 1;\nselect '\xe4'", r"001_a\.sql:2: byte 18 is not UTF-8"),
        ("select 1".encode("utf-16"), "is not UTF-8"),
        (b"select 1;\n\nselect '\0'", r"001_a\.sql:3: a NUL byte"),
    ],
)
def test_what_postgresql_cannot_read_is_refused_with_its_line(
    write: Write, content: bytes, reason: str
) -> None:
    with pytest.raises(MigrationError, match=reason):
        write({"001_a": content})


def test_the_first_line_takes_a_file_out_of_the_transaction(write: Write) -> None:
    catalog = write({"001_a": "\n-- pulsebase: no transaction\nvacuum;", "002_b": "select 1"})
    assert [file.transaction for file in catalog.files] == [False, True]


def test_a_misspelt_option_is_refused(write: Write) -> None:
    with pytest.raises(MigrationError, match="is not known; write: -- pulsebase: no transaction"):
        write({"001_a": "-- pulsebase: no transactions\nvacuum;"})


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="is not a folder"):
        read_folder(tmp_path / "nowhere")
