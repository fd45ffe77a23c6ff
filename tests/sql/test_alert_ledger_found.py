"""What the ledger and a close look found, and was mended: each the shortest history of it."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alert_changes import Changes
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

OPS = "ops"

# Whoever brings the deliveries of this service up to date waits until the lock is free.
PAUSE = """
create function pause() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(4711);
    return new;
end $$;
create trigger pause before update on alert_deliveries
    for each row when (new.service_name = 'first') execute function pause()
"""


@pytest.fixture
def changes(database: str) -> Iterator[Changes]:
    """A channel without a window."""
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel(OPS)
        yield changes


def test_flapping_is_held_although_the_alert_at_which_it_began_is_over(changes: Changes) -> None:
    silence = changes.silence("api")
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == []
    changes.recovered_unheard(beginning)
    assert changes.kinds(OPS) == []
    assert changes.waiting("api") == [("flapping_started", "silence")]
    changes.lift(silence)
    assert changes.kinds(OPS) == ["flapping_started"], "it flaps still"
    changes.flapping_ended(beginning)
    assert changes.kinds(OPS) == ["flapping_ended"]


@pytest.mark.parametrize("is_over", [True, False])
def test_flapping_that_was_as_good_as_told_is_told_before_its_end(
    changes: Changes, is_over: bool
) -> None:
    beginning = changes.opened("api", change="flapping_started")
    if is_over:
        changes.recovered_unheard(beginning)
    changes.flapping_ended(beginning)
    changes.silence("api")
    assert changes.kinds(OPS) == ["flapping_started", "flapping_ended"]


def test_what_is_committed_while_a_claim_is_at_work_is_judged_by_the_next_one(
    changes: Changes, database: str
) -> None:
    """It is older than the claim, and nobody has asked yet whether it is held."""
    lifted = changes.silence("first")
    changes.silence("second")
    changes.opened("first")
    assert changes.kinds(OPS) == []
    changes.lift(lifted)
    changes.connection.execute(PAUSE)
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(database, autocommit=True) as claiming,
        psycopg.connect(database) as opening,
    ):
        opening.execute("select")  # so that what follows is committed below, and not before
        Changes(opening).opened("second")
        changes.connection.execute("select pg_advisory_lock(4711)")
        claimed = threads.submit(Changes(claiming).claim, OPS)
        wait_until(
            lambda: changes.value(
                "select count(*) from pg_stat_activity where pid = %s and wait_event = 'advisory'",
                [claiming.info.backend_pid],
            ),
            "the claim is in the middle of its work",
        )
        opening.commit()
        changes.connection.execute("select pg_advisory_unlock(4711)")
        told = [each["service_name"] for one in claimed.result() for each in one["deliveries"]]
    assert told == ["first"]
    assert changes.kinds(OPS) == []
    assert changes.waiting("second") == [("opened", "silence")]


def parent_that_fails_here_and_there(changes: Changes, **policy: Any) -> None:
    """A parent with three locations, of which one fails."""
    changes.service("db", {"down_open_checks": 2, **policy})
    changes.at_once("api", depends_on=("db",))
    for location in ("a", "b", "c"):
        changes.check("db", "healthy", details={"location": location})
    changes.check("db", "down", details={"location": "c"})
    changes.opened("api")
    assert changes.kinds(OPS) == [], "nothing is decided yet"


def test_a_location_that_the_others_have_outvoted_holds_no_children(changes: Changes) -> None:
    parent_that_fails_here_and_there(changes)
    for location in ("a", "b"):
        changes.check("db", "healthy", details={"location": location})
    changes.check("db", "down", details={"location": "c"})
    assert changes.status("db") == "healthy"
    assert changes.kinds(OPS) == ["opened"]


def test_a_location_that_is_gone_holds_no_children(changes: Changes) -> None:
    parent_that_fails_here_and_there(changes, location_fresh_seconds=5)
    for _ in range(3):
        changes.check("db", "healthy", details={"location": "a"})
        changes.check("db", "healthy", details={"location": "b"})
    assert changes.kinds(OPS) == ["opened"]


def test_a_parent_that_opens_nothing_holds_no_children(changes: Changes) -> None:
    """Or nobody would hear of either."""
    changes.service("db", {"enabled": False})
    changes.at_once("api", depends_on=("db",))
    changes.check("db", *["down"] * 5)
    changes.check("api", "down")
    assert changes.status("db") == "healthy"
    assert changes.kinds(OPS) == ["opened"]


def test_a_message_of_a_disabled_channel_has_its_whole_time_when_that_is_enabled(
    changes: Changes,
) -> None:
    changes.opened("api")
    (message,) = changes.claim(OPS)
    changes.finish(message, "failed")
    changes.value("select disable_alert_channel(%s)", [OPS])
    changes.pass_time(days=2)
    assert changes.claim(OPS) == []
    changes.value("select enable_alert_channel(%s)", [OPS])
    (again,) = changes.claim(OPS)
    assert again["id"] == message["id"]
    give_up_at = datetime.fromisoformat(again["give_up_at"])
    assert give_up_at > datetime.now(UTC) + timedelta(hours=23)


def test_what_a_channel_is_owed_outlives_a_mistake_in_its_configuration(changes: Changes) -> None:
    """It was held for long, and its channel was missing in a file for a moment."""
    silence = changes.silence("api")
    changes.opened("api")
    changes.pass_time(days=31)
    prune = "select delete_alert_messages_older_than(now() - interval '30 days')"
    changes.connection.execute("select publish_alert_channels('[]', '[]')")
    assert changes.value(prune) == 0
    changes.connection.execute("""select publish_alert_channels('[{"name": "ops"}]', '[]')""")
    changes.lift(silence)
    assert changes.kinds(OPS) == ["opened"]


def test_services_are_held_as_their_matchers_say_one_by_one(changes: Changes) -> None:
    """Thousands of services and hundreds of silences are looked at in sets."""
    choose = random.Random(4711)  # noqa: S311 -- the same choices every time
    for number in range(40):
        changes.connection.execute(
            "insert into monitored_services (service_name, labels) values (%s, %s)",
            [f"s{number}_%", json.dumps(some_labels(choose, "ab1*%"))],
        )
    for number in range(120):
        silence = changes.silence(kind=choose.choice(["silence", "maintenance"]))
        if number % 5:
            changes.connection.execute(
                "update alert_silences set matcher = %s where id = %s",
                [json.dumps(some_matcher(choose)), silence],
            )
        if number % 4 == 0:
            changes.lift(silence)
        assert changes.value(DIFFERING) == 0
        if number % 6:
            changes.lift(silence)


DIFFERING = """
with names as (
    select array_agg(service_name::text) || '{unknown}'::text[] as all_of_them
    from monitored_services
),
one_by_one as (
    select named.name, bool_or(silence.kind = 'maintenance') as is_maintenance
    from names
    cross join unnest(names.all_of_them) as named (name)
    left join monitored_services as known on known.service_name = named.name
    join alert_silences as silence on silence.lifted_at is null
        and pulsebase_matches_service(silence.matcher, named.name, known.labels)
    group by named.name
)
select count(*)
from one_by_one
full join (
    select muted.*
    from names
    cross join pulsebase_find_muted_services(names.all_of_them, now()) as muted
) as found on found.muted_service = one_by_one.name
where one_by_one.is_maintenance is distinct from found.is_maintenance
"""


def some_labels(choose: random.Random, values: str) -> dict[str, Any]:
    return {
        label: choose.choice([*values, 1, None, True])
        for label in ("team", "tier", "x")
        if choose.random() < 0.6
    }


def some_matcher(choose: random.Random) -> dict[str, Any]:
    """As people write them, and as somebody may have written them into the table by hand."""
    matcher: dict[str, Any] = {}
    if choose.random() < 0.6:
        names = [f"s{choose.randrange(40)}_%", "s1*", "*", "s_*", "unknown", "s?_%", "*%"]
        picked = choose.sample(names, choose.randrange(4))
        matcher["services"] = choose.choice([picked, picked, picked, names[0], None])
    if choose.random() < 0.7:
        labels = some_labels(choose, "ab1*%")
        matcher["labels"] = choose.choice([labels, labels, labels, {}, None, "none"])
    return matcher


def test_what_follows_a_delivery_that_somebody_decides_about_waits_for_it(
    changes: Changes, database: str
) -> None:
    incident = changes.opened("api", "service_degraded")
    changes.superseded(incident, "service_down")
    changes.opened("web")
    with psycopg.connect(database) as deciding:
        deciding.execute(
            "select from alert_deliveries where service_name = 'api'"
            " order by created_at limit 1 for update"
        )
        assert [each.service_name for each in changes.deliver(OPS)] == ["web"]
    assert [each.alert_type for each in changes.deliver(OPS)] == [
        "service_degraded",
        "service_down",
    ]


def test_each_step_comes_after_its_own_time_from_when_the_incident_began(changes: Changes) -> None:
    changes.route(OPS, alert_types=["service_degraded"], after_seconds=300)
    changes.route(OPS, alert_types=["service_down"], after_seconds=3600)
    incident = changes.opened("api", "service_degraded")
    changes.pass_time(minutes=2)
    changes.superseded(incident, "service_down")
    changes.pass_time(minutes=57)
    assert changes.kinds(OPS) == []
    changes.pass_time(minutes=1)
    assert changes.kinds(OPS) == ["opened"]


def test_what_has_its_end_before_it_is_told_although_a_silence_begins(changes: Changes) -> None:
    """And the incident goes on, with an alert that this channel does not get, and ends."""
    changes.route(OPS, alert_types=["service_degraded"])
    incident = changes.opened("api", "service_degraded")
    changes.superseded(incident, "service_down")
    changes.silence("api")
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_flapping_has_its_beginning_before_its_end_although_a_silence_begins(
    changes: Changes,
) -> None:
    """And the incident in which it kept still goes on, and ends."""
    incident = changes.opened("api", "service_degraded", change="flapping_started")
    changes.flapping_ended(incident)
    changes.silence("api")
    changes.superseded(incident, "service_down")
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["flapping_started", "flapping_ended", "resolved"]


def test_a_channel_that_is_gone_is_told_that_flapping_ended_in_trouble(changes: Changes) -> None:
    incident = changes.opened("api", "service_degraded", change="flapping_started")
    assert changes.kinds(OPS) == ["flapping_started"]
    changes.connection.execute("update alert_channels set is_published = false")
    changes.flapping_ended(incident)
    changes.superseded(incident, "service_down")
    assert changes.kinds(OPS) == ["flapping_ended", "resolved"]
