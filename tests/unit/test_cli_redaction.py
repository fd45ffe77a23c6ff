from __future__ import annotations

import pytest

from pulsebase.cli.redaction import Redactor

CANARY = "c4nary-s3cret"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no database."""
    for name in ("PULSEBASE_URL", "DATABASE_URL", "SUPABASE_URL", "PULSEBASE_KEY", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "text",
    [
        f"key sb_secret_{CANARY} refused",
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Bearer {CANARY}'}}",
        f"headers {{'apikey': '{CANARY}'}}",
        f"postgresql://user:{CANARY}@host/db",
        f"postgresql://user:p@ss{CANARY}@host/db",
        f"postgresql://user:a/b{CANARY}@host/db",
        f"host=x password={CANARY} dbname=y",
        f"host=x password='{CANARY} and more' dbname=y",
        f"?user=x&password={CANARY}&sslmode=require",
    ],
)
def test_what_looks_like_a_secret_is_hidden_without_being_known(text: str) -> None:
    assert CANARY not in Redactor().text(text)


def test_a_jwt_is_hidden() -> None:
    assert Redactor().text(f"<{JWT}>") == "<***>"


@pytest.mark.parametrize(
    "spelling", [CANARY, "p%40ss%2Fw0rd", "p@ss/w0rd", "p%40ss/w0rd", "half", "rest-of-it"]
)
def test_a_known_password_is_hidden_in_every_spelling(spelling: str) -> None:
    redactor = Redactor.for_process(
        urls=[
            f"postgresql://u:{CANARY}@h/x",
            "postgresql://u:p%40ss%2Fw0rd@h/x",
            "postgresql://u:half#rest-of-it@h/x",
        ]
    )
    assert spelling not in redactor.text(f"cannot log in with {spelling}, sorry")


def test_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{CANARY}1@h/x")
    monkeypatch.setenv("PULSEBASE_KEY", f"{CANARY}2")
    monkeypatch.setenv("PGPASSWORD", f"{CANARY}3")
    assert CANARY not in Redactor.for_process().text(f"{CANARY}1 {CANARY}2 {CANARY}3")


def test_our_own_words_stay_readable_where_one_of_them_is_the_password() -> None:
    redactor = Redactor.for_process(urls=["postgresql://postgres:postgres@localhost/pulsebase"])
    sentence = "run: pulsebase db migrate; see postgresql://user@host:5432/name"
    assert redactor.text(sentence) == sentence
    assert redactor.text("postgres:postgres@") == "postgres:postgres@"
    assert "u:***@h" in redactor.text("postgresql://u:postgres@h/x").replace("//***", "//u:***")


def test_values_are_searched_to_the_bottom() -> None:
    redactor = Redactor((CANARY,))
    value = redactor.value(
        {"a": [1, None, {"b": (CANARY, 2.5)}], "password": "x", CANARY: ValueError(CANARY)}
    )
    assert value == {
        "a": [1, None, {"b": ["***", 2.5]}],
        "password": "***",
        "***": "ValueError('***')",
    }
