from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase import connect
from pulsebase.migrations import Migrator, packaged
from tests.acceptance.cli_process import Ended, pulsebase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.lite_server import LiteServer
    from tests.support.pgbouncer import PgBouncer
    from tests.support.postgres_server import PostgresServer
    from tests.support.postgrest_server import PostgrestServer


def examined(*arguments: str, **settings: Any) -> tuple[Ended, dict[str, list[dict[str, str]]]]:
    """What the doctor found, by topic."""
    ended = pulsebase("doctor", "--json", *arguments, **settings)
    topics: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(ended.out)["findings"]:
        topics.setdefault(finding["topic"], []).append(finding)
    return ended, topics


def problems(topics: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return [each for found in topics.values() for each in found if each["level"] == "problem"]


@pytest.fixture
def sound_database(empty_database: str) -> str:
    """A database that the migrator has made ready."""
    with connect(empty_database) as connection:
        Migrator(connection, packaged()).apply()
    return empty_database


def test_a_sound_installation_has_no_problems(sound_database: str) -> None:
    ended, topics = examined("--url", sound_database)
    assert (ended.code, problems(topics)) == (0, [])
    assert {"address", "reachable", "server", "clock", "migrations", "functions", "access"} <= set(
        topics
    )
    assert "from --url" in topics["address"][0]["text"]


def test_the_doctor_names_the_variable_and_those_it_does_not_use(database: str) -> None:
    env = {"DATABASE_URL": database, "SUPABASE_URL": "https://x.supabase.co"}
    _, topics = examined(env=env)
    assert "from DATABASE_URL" in topics["address"][0]["text"]
    assert topics["address"][1]["text"] == "SUPABASE_URL is set, too, and not used"


def test_an_empty_database_is_to_be_migrated(empty_database: str) -> None:
    ended, topics = examined("--url", empty_database)
    assert ended.code == 1
    assert topics["migrations"][0]["remedy"] == "run: pulsebase db migrate"
    assert "012_create_monitoring_tables.sql" in topics["migrations"][0]["text"]


def test_grants_to_strangers_are_found_with_what_revokes_them(
    postgres: PostgresServer, database: str
) -> None:
    name = database.rpartition("/")[2]
    postgres.execute(
        "grant select on public.alert_events to anon;"
        "alter table public.alert_events disable row level security;"
        "grant execute on function public.find_health_check(uuid) to authenticated",
        database=name,
    )
    ended, topics = examined("--url", database)
    assert ended.code == 1
    remedies = " ".join(finding["remedy"] for finding in topics["access"])
    assert "revoke all on public.alert_events from anon" in remedies
    assert "alter table public.alert_events enable row level security" in remedies
    assert "authenticated may execute" in " ".join(each["text"] for each in topics["access"])


def test_a_role_whose_rows_are_hidden_is_told(postgres: PostgresServer, database: str) -> None:
    postgres.execute(
        "create role blinkered login;"
        "grant select, insert, update, delete on all tables in schema public to blinkered;"
        "grant execute on all functions in schema public to blinkered",
        database=database.rpartition("/")[2],
    )
    _, topics = examined("--url", database.replace("postgres@", "blinkered@"))
    assert any("row level security hides" in found["text"] for found in topics["access"])


def test_a_transaction_pooler_is_recognised(pgbouncer: PgBouncer, sound_database: str) -> None:
    url = f"{pgbouncer.url(sound_database.rpartition('/')[2])}?pgbouncer=true"
    ended, topics = examined("--url", url)
    assert (ended.code, problems(topics)) == (0, [])
    assert "transaction pooler" in topics["pooler"][0]["text"]


def test_over_https_the_service_key_is_all_it_takes(postgrest: PostgrestServer) -> None:
    ended, topics = examined("--url", postgrest.url, env={"PULSEBASE_KEY": postgrest.service_key})
    assert (ended.code, problems(topics)) == (0, [])
    assert "is a JWT of the role service_role" in topics["key"][0]["text"]
    assert postgrest.service_key not in ended.everything
    assert topics["access"][0]["level"] == "ok"


def test_the_new_keys_are_known(lite: LiteServer) -> None:
    ended, topics = examined("--url", lite.url, "--key", lite.service_key)
    assert "is a secret key" in topics["key"][0]["text"]
    assert not [each for each in problems(topics) if each["topic"] in {"key", "reachable"}]
    assert lite.service_key not in ended.everything
    _, topics = examined("--url", lite.url, "--key", lite.anon_key)
    assert "publishable" in problems(topics)[0]["text"]


def test_tables_open_to_strangers_are_found_over_https(
    postgres: PostgresServer, database: str, start_postgrest: Callable[[str], PostgrestServer]
) -> None:
    postgres.execute(
        "grant select on public.service_health_checks to anon",
        database=database.rpartition("/")[2],
    )
    server = start_postgrest(database)
    _, topics = examined("--url", server.url, "--key", server.service_key)
    assert "only row level security" in topics["access"][0]["text"]
    assert "revoke all on public.service_health_checks" in topics["access"][0]["remedy"]


def made_key(**claims: object) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256"}, claims))
    head, body = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("key", "level", "words"),
    [
        (made_key(role="anon"), "problem", "of the role anon"),
        (made_key(role="service_role", exp=1_000_000_000), "problem", "expired at 2001-09-09"),
        (made_key(role="service_role", exp=time.time() + 86_400), "warning", "expires at"),
        (made_key(role="service_role", ref="abc"), "problem", "belongs to another project"),
        ("sb_publishable_abcdefgh", "problem", "publishable key"),
        ("whatever", "problem", "neither an sb_secret_ key nor a JWT"),
        ("a.!!!.c", "problem", "neither an sb_secret_ key nor a JWT"),
    ],
)
def test_a_wrong_key_is_recognised_before_it_is_sent(key: str, level: str, words: str) -> None:
    url = "https://xyz.supabase.co.invalid" if "expire" in words else "https://xyz.supabase.co"
    _, topics = examined("--url", url, "--key", key, "--connect-timeout", "1s")
    assert any(each["level"] == level and words in each["text"] for each in topics["key"])


def test_a_key_must_not_travel_unencrypted() -> None:
    _, topics = examined("--url", "http://monitoring.invalid", "--key", "sb_secret_x")
    assert topics["encryption"][0]["level"] == "problem"


def test_an_embedded_database_is_not_made_by_looking(tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    ended, topics = examined("--url", f"embedded://{folder}")
    assert ended.code == 1
    assert "pulsebase db migrate" in topics["embedded"][0]["remedy"]
    assert not folder.exists()


def test_an_address_that_cannot_be_used_ends_the_examination() -> None:
    ended, topics = examined("--url", "mysql://localhost/x")
    assert ended.code == 1
    assert problems(topics)[0]["topic"] == "address"


def test_for_people_the_remedy_stands_below_the_problem(empty_database: str) -> None:
    lines = pulsebase("doctor", "--url", empty_database).out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[place + 1].strip() == "→ run: pulsebase db migrate"
    assert lines[-1].startswith("1 problem")
