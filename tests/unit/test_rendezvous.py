"""Rendezvous hashing: everybody answers alike, evenly, and a change moves only what it must."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.monitor.sharing.rendezvous import Candidate, ServiceSet, owner_of, service_hash

names = st.text(max_size=30).filter(lambda text: text.isprintable())
monitor_ids = st.lists(st.uuids(), min_size=1, max_size=9, unique=True)

HASHES = [service_hash(f"service-{number}") for number in range(10_000)]

FOR_EVER = [3, 1, 3, 1, 1]
DIGEST_FOR_EVER = "c72c09697bfab4a78e8c466b19266508"


def owners(identifiers: list[UUID]) -> list[UUID | None]:
    """Who has each of ten thousand services."""
    candidates = [Candidate(identifier) for identifier in identifiers]
    return [owner_of(hashed, candidates) for hashed in HASHES]


@given(name=names, identifiers=monitor_ids)
def test_the_order_of_the_monitors_does_not_matter(name: str, identifiers: list[UUID]) -> None:
    there = [Candidate(identifier) for identifier in identifiers]
    assert owner_of(service_hash(name), there) == owner_of(service_hash(name), there[::-1])


@given(name=names, identifiers=monitor_ids, newcomer=st.uuids())
def test_a_newcomer_takes_or_changes_nothing(
    name: str, identifiers: list[UUID], newcomer: UUID
) -> None:
    """Nothing moves between two monitors that were there before."""
    there = [Candidate(identifier) for identifier in identifiers]
    before = owner_of(service_hash(name), there)
    after = owner_of(service_hash(name), [*there, Candidate(newcomer)])
    assert after in {before, newcomer}


@given(name=names, identifiers=monitor_ids)
def test_what_a_leaving_monitor_did_not_have_stays(name: str, identifiers: list[UUID]) -> None:
    there = [Candidate(identifier) for identifier in identifiers]
    hashed = service_hash(name)
    owner = owner_of(hashed, there)
    for leaving in there:
        rest = [candidate for candidate in there if candidate is not leaving]
        if leaving.id != owner:
            assert owner_of(hashed, rest) == owner


@given(known=st.sets(names, max_size=40), unknown=names)
def test_a_set_holds_exactly_its_names(known: set[str], unknown: str) -> None:
    found = ServiceSet.of(known)
    assert len(found) == len(known)
    assert all(service_hash(name) in found for name in known)
    assert (service_hash(unknown) in found) == (unknown in known)


@given(known=st.lists(names, max_size=40))
def test_equal_sets_have_equal_digests_in_any_order(known: list[str]) -> None:
    assert ServiceSet.of(known) == ServiceSet.of(reversed(known))
    assert ServiceSet.of(known).digest != ServiceSet.of([*known, "one more \x00"]).digest


@given(name=names, others=st.sets(names, max_size=10), identifiers=monitor_ids)
def test_a_service_belongs_only_to_one_that_has_it(
    name: str, others: set[str], identifiers: list[UUID]
) -> None:
    """Whoever has the highest weight: who does not know the service does not probe it."""
    without = ServiceSet.of(others - {name})
    knowing = Candidate(uuid4(), ServiceSet.of([name]))
    there = [Candidate(identifier, without) for identifier in identifiers]
    assert owner_of(service_hash(name), [*there, knowing]) == knowing.id
    assert owner_of(service_hash(name), there) is None


@pytest.mark.parametrize("monitors", [2, 3, 8, 20])
def test_the_services_are_spread_evenly(monitors: int) -> None:
    """Each share is within five standard deviations of the mean."""
    counts = Counter(owners([UUID(int=number) for number in range(monitors)]))
    mean = len(HASHES) / monitors
    deviation = (mean * (1 - 1 / monitors)) ** 0.5
    assert len(counts) == monitors
    assert all(abs(count - mean) < 5 * deviation for count in counts.values()), counts


def test_a_join_moves_its_fair_share_and_no_more() -> None:
    identifiers = [UUID(int=number) for number in range(8)]
    before, after = owners(identifiers[:7]), owners(identifiers)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {identifiers[7]}
    assert len(moved) == pytest.approx(len(HASHES) / 8, rel=0.15)


def test_the_answer_is_the_same_for_ever() -> None:
    """Monitors of different versions, on different machines, share one database."""
    identifiers = [UUID(int=number) for number in range(1, 4)]
    found = [
        owner_of(service_hash(name), [Candidate(identifier) for identifier in identifiers])
        for name in ("openai", "räksmörgås", "a", "b", "c")
    ]
    assert [owner.int for owner in found if owner] == FOR_EVER
    assert ServiceSet.of(["openai", "räksmörgås"]).digest == DIGEST_FOR_EVER


def test_every_process_gives_the_same_answer() -> None:
    """Python's own `hash` is another one in each process; it has no part in this."""
    script = (
        "from pulsebase.monitor.sharing.rendezvous import *; from uuid import UUID; "
        "there = [Candidate(UUID(int=n)) for n in range(5)]; "
        "print([owner_of(service_hash(f's{n}'), there).int for n in range(50)])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
