"""The packaged migrations one by one, and small questions to a database."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import psycopg

__all__ = ["OURS", "SEED", "apply", "one", "rows"]

SEED = ("service_health_checks", "alert_events")  # the tables of 012, which others rely on
ALERTING = (
    *("monitored_services", "alert_policies", "service_states", "alert_silences"),
    *("alert_silence_periods", "alert_acts", "alert_channels", "alert_routes"),
    *("alert_deliveries", "alert_messages", "alert_message_attempts"),
)
OURS = (*SEED, "monitors", *ALERTING)


def apply(url: str, *numbers: str) -> None:
    """Apply the files with these numbers (all, if none is given), each in one transaction."""
    folder = files("pulsebase") / "migrations" / "sql"
    scripts = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=str)
    with psycopg.connect(url, autocommit=True) as connection:
        for script in scripts:
            if not numbers or script.name[:3] in numbers:
                with connection.transaction():
                    connection.execute(script.read_text(encoding="utf-8").encode())


def rows(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def one(url: str, query: str, parameters: Any = None) -> Any:
    """The only value of a query."""
    ((value,),) = rows(url, query, parameters)
    return value
