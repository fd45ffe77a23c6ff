"""`pulsebase monitors`: who is there, how each is, and what each probes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from pulsebase import MonitorModel, MonitorServices, connect
from pulsebase.monitor.sharing.rendezvous import Candidate, ServiceSet, share_sizes
from tests.acceptance.cli_process import pulsebase

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICES = ServiceSet.of(f"service-{number}" for number in range(1234))


def beat(
    url: str, number: int, name: str, services: ServiceSet | None = SERVICES, **fields: Any
) -> UUID:
    """A monitor that has beaten once."""
    identifier = UUID(int=number)
    values = {"heartbeat_interval": timedelta(seconds=5), "version": "1", "name": name, **fields}
    with connect(url) as connection:
        MonitorModel.beat(connection, id=identifier, **values)
        if services is not None:
            packed = MonitorServices(services.digest, services.hashes)
            MonitorModel.publish_services(connection, identifier, services=packed)
    return identifier


def told(url: str) -> dict[str, Any]:
    """The JSON document's monitors by their names."""
    ended = pulsebase("monitors", "--json", "--url", url)
    assert (ended.code, ended.err) == (0, "")
    return {each["name"]: each for each in json.loads(ended.out)["monitors"]}


def probed(monitors: dict[str, Any], names: Sequence[str]) -> list[int | None]:
    """How many services each of these probes."""
    return [monitors[name]["probed_count"] for name in names]


def test_each_monitor_has_its_share(database: str) -> None:
    """Worked out as the monitors themselves do; a far one probes everything."""
    ids = [beat(database, number, name) for number, name in enumerate("abc", 1)]
    beat(database, 9, "far", location="far")
    sizes = share_sizes([Candidate(each, SERVICES) for each in ids])
    monitors = told(database)
    assert probed(monitors, "abc") == [sizes[each] for each in ids]
    assert sum(sizes.values()) == monitors["far"]["probed_count"] == 1234
    assert monitors["a"]["state"] == "running"


def test_dead_and_new_monitors_are_shown_as_what_they_are(database: str) -> None:
    for number, name in enumerate(("alive", "silent", "gone"), 1):
        beat(database, number, name)
    beat(database, 4, "new", None)
    with psycopg.connect(database) as connection:
        connection.execute(
            "update monitors set last_seen_at = last_seen_at - interval '1 hour',"
            " gone_at = case name when 'gone' then now() end where name in ('silent', 'gone')"
        )
    monitors = told(database)
    assert [monitors[name]["state"] for name in ("alive", "silent", "gone", "new")] == [
        "running",
        "silent",
        "gone",
        "running",
    ]
    assert probed(monitors, ("gone", "new")) == [None, None]
    assert sum(count or 0 for count in probed(monitors, ("alive", "silent"))) == 1234


def test_people_are_shown_a_table(database: str) -> None:
    beat(database, 1, "one\u202eeno")
    ended = pulsebase("monitors", "--url", database)
    heading, line = ended.out.splitlines()
    assert heading.split() == [
        "MONITOR", "LOCATION", "STATE", "SINCE", "SEEN", "SERVICES", "PROBES",
    ]  # fmt: skip
    assert line.startswith("one\\u202eeno")
    assert line.split()[-2:] == ["1,234", "1,234"]


def test_without_monitors_it_says_so(database: str) -> None:
    ended = pulsebase("monitors", "--url", database)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "no monitor is running; see: pulsebase run --help\n"


def test_without_the_table_it_says_what_to_run(empty_database: str) -> None:
    ended = pulsebase("monitors", "--url", empty_database)
    assert ended.code == 1
    assert "pulsebase db migrate" in ended.err
