"""Which database the arguments and the environment name, and that a target keeps its secrets."""

from __future__ import annotations

import pytest

from pulsebase.errors import ConfigurationError
from pulsebase.settings import Target, resolve

CANARY = "cAnArY5ecret"
KEY = f"sb_secret_{CANARY}"
POSTGRES = "postgresql://u@db.example:5432/app"
HTTPS = "https://abcdef.supabase.co"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "embedded://"),
        ({"PULSEBASE_URL": "", "DATABASE_URL": POSTGRES}, POSTGRES),
        ({"DATABASE_URL": POSTGRES, "SUPABASE_URL": HTTPS}, POSTGRES),
        ({"PULSEBASE_URL": "embedded:///x", "DATABASE_URL": POSTGRES}, "embedded:///x"),
        ({"SUPABASE_URL": f"{HTTPS}/", "SUPABASE_SECRET_KEY": KEY}, HTTPS),
    ],
    ids=["nothing", "empty is not set", "DATABASE_URL first", "PULSEBASE_URL first", "Supabase"],
)
def test_the_environment_is_asked_in_order(environ: dict[str, str], url: str) -> None:
    assert resolve(environ=environ).url == url


def test_an_argument_beats_the_environment() -> None:
    environ = {"PULSEBASE_URL": HTTPS, "PULSEBASE_KEY": "other"}
    assert resolve(POSTGRES, environ=environ).url == POSTGRES
    assert resolve(None, KEY, environ=environ).key == KEY


@pytest.mark.parametrize(
    "names",
    [
        ("PULSEBASE_KEY", "SUPABASE_SECRET_KEY"),
        ("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
        ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY"),
        ("SUPABASE_SERVICE_KEY", "UNRELATED"),
    ],
)
def test_keys_are_asked_in_order(names: tuple[str, str]) -> None:
    assert resolve(HTTPS, environ={names[0]: " first\n", names[1]: "second"}).key == "first"


@pytest.mark.parametrize(
    ("given", "url", "pooler"),
    [
        ("postgres://u:p@h/db", "postgresql://u:p@h/db", False),
        ("postgresql+psycopg://u@h/db", "postgresql://u@h/db", False),
        ("POSTGRESQL://u@h/db", "postgresql://u@h/db", False),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db?host=/run/postgresql", False),
        ("postgresql://u@h:6543/db", "postgresql://u@h:6543/db", True),
        ("postgresql://h/db?pgbouncer=true&schema=x", "postgresql://h/db", True),
        (
            "postgresql://h/db?pgbouncer=false&sslmode=require",
            "postgresql://h/db?sslmode=require",
            False,
        ),
        ("postgresql://h/?options=-c%20a%3D1", "postgresql://h/?options=-c%20a%3D1", False),
        ("postgresql://h1:5432,h2:5433/db", "postgresql://h1:5432,h2:5433/db", False),
        ("postgresql://h1,h2:6543/db", "postgresql://h1,h2:6543/db", True),
        ("postgresql://u:p%40ss@[::1]:5432/db", "postgresql://u:p%40ss@[::1]:5432/db", False),
        ("https://h.example/base/", "https://h.example/base", False),
        ("embedded:///a folder", "embedded:///a folder", False),
    ],
)
def test_a_url_is_taken_as_other_tools_write_it(given: str, url: str, pooler: bool) -> None:
    target = resolve(given, KEY)
    assert (target.url, target.transaction_pooler) == (url, pooler)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"postgresql://u:{CANARY}@db.example/x", "db.example:5432"),
        ("postgresql://db.example:6543", "db.example:6543"),
        ("postgresql://u@[::1]/x", "[::1]:5432"),
        ("postgresql://h1:1,h2/x", "h1:1,h2:5432"),
        ("postgresql:///x?host=/run/postgresql&port=5433", "/run/postgresql"),
        ("postgresql:///x?host=db.example", "db.example:5432"),
        ("postgresql:///x", "localhost:5432"),
        (HTTPS, "abcdef.supabase.co:443"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://127.0.0.1:3000/base", "127.0.0.1:3000"),
    ],
)
def test_the_address_is_host_and_port(url: str, address: str) -> None:
    assert resolve(url, KEY).address == address


SECRET_URLS = [
    f"postgresql://u:{CANARY}@h/db",
    f"postgresql://{CANARY}@h/db",
    f"postgresql://u@h/db?password={CANARY}",
    f"postgresql://u@h/db?sslpassword={CANARY}&options=-c%20x%3D{CANARY}",
    f"postgresql://u:{CANARY}@[::1]:6543/db",
    f"postgresql:///db?host=/run&password={CANARY}",
]
UNUSABLE_URLS = [
    f"postgresql://u:{CANARY}@[::1/db",
    f"postgresql:u:{CANARY}@h/db",
    f"postgresql://u:{CANARY} {CANARY}@h/db",
    f"postgresql://u:{CANARY}\x00@h/db",
    f"https://u:{CANARY}@h.example",
    f"https://{CANARY}@h.example",
    f"https://h.example?apikey={CANARY}",
    f"https://h.example/#{CANARY}",
    f"https://h.example:{CANARY}/",
    f"https://u:{CANARY}@",
    f"https:///{CANARY}",
    f"https://h {CANARY}.example",
    f"mysql://u:{CANARY}@h/db",
    f"u:{CANARY}@h/db",
    f"{CANARY}:u@h/db",
    f"//u:{CANARY}@h",
    f"host=h password={CANARY}",
    f"{CANARY}",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_target_never_shows_a_secret(url: str) -> None:
    target = resolve(url, KEY)
    for text in (repr(target), str(target), target.address, f"{target}"):
        assert CANARY not in text


@pytest.mark.parametrize("url", UNUSABLE_URLS, ids=range(len(UNUSABLE_URLS)))
@pytest.mark.parametrize("source", ["argument", "DATABASE_URL"])
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str, source: str) -> None:
    argument = url if source == "argument" else None
    with pytest.raises(ConfigurationError) as caught:
        resolve(argument, KEY, environ={source: url})
    assert CANARY.lower() not in str(caught.value).lower()
    assert str(caught.value).startswith("the URL" if source == "argument" else source)


def test_an_https_url_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_SECRET_KEY or --key"):
        resolve(HTTPS, environ={})


@pytest.mark.parametrize(
    "key", [f"{CANARY} {CANARY}", f"{CANARY}é", f"a\n{CANARY}", f"a\x00{CANARY}"]
)
def test_a_key_that_no_server_can_have_made_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(HTTPS, key)
    assert CANARY not in str(caught.value)


def test_targets_with_the_same_parts_are_equal() -> None:
    assert resolve(POSTGRES) == Target(url=POSTGRES)
    assert len({resolve(POSTGRES), resolve(POSTGRES)}) == 1
