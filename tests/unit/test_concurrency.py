"""How many at once: in all, on one host, and nobody waits for somebody else's server."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from pulsebase.monitor.looking.concurrency import Admission


class Crowd:
    """Items that begin when they are let in, and end when the test says so."""

    def __init__(self, *, limit: int, host_limit: int) -> None:
        self.limit, self.host_limit = limit, host_limit
        self.running: dict[int, str | None] = {}
        self.begun: list[int] = []
        self.unwanted: set[int] = set()
        self.admission = Admission[int](self._begin, limit=limit, host_limit=host_limit)

    def _begin(self, item: int, host: str | None) -> bool:
        if item in self.unwanted:
            return False
        assert len(self.running) < self.limit
        assert host is None or Counter(self.running.values())[host] < self.host_limit
        self.running[item] = host
        self.begun.append(item)
        return True

    def end(self, item: int) -> None:
        self.admission.leave(self.running.pop(item))


def test_a_server_that_hangs_keeps_nobody_else_waiting() -> None:
    """Its services wait in a queue of their own and hold no place."""
    crowd = Crowd(limit=10, host_limit=3)
    for item in range(100):
        crowd.admission.enter(item, "hanging")
    for item in range(100, 105):
        crowd.admission.enter(item, "well")
    assert crowd.begun == [0, 1, 2, 100, 101, 102]
    crowd.end(100)
    assert crowd.begun[-1] == 103
    assert crowd.admission.next_ready() is None


def test_first_come_first_served_on_a_host_and_in_all() -> None:
    crowd = Crowd(limit=2, host_limit=1)
    for item in range(6):
        crowd.admission.enter(item, "ab"[item % 2])
    while crowd.running:
        crowd.end(min(crowd.running))
    assert crowd.begun == [0, 1, 2, 3, 4, 5]


def test_services_without_a_host_have_only_the_common_limit() -> None:
    crowd = Crowd(limit=4, host_limit=1)
    for item in range(6):
        crowd.admission.enter(item, None)
    assert crowd.begun == [0, 1, 2, 3]
    assert crowd.admission.waiting == 2


def test_a_higher_limit_lets_the_waiting_in_and_a_lower_one_waits_for_the_running() -> None:
    crowd = Crowd(limit=4, host_limit=1)
    for item in range(5):
        crowd.admission.enter(item, "a")
    crowd.host_limit = 3
    crowd.admission.set_limits(limit=4, host_limit=3)
    assert crowd.begun == [0, 1, 2]
    crowd.host_limit = 1
    crowd.admission.set_limits(limit=4, host_limit=1)
    crowd.end(0)
    assert crowd.begun == [0, 1, 2]
    crowd.end(1)
    crowd.end(2)
    assert crowd.begun == [0, 1, 2, 3]


def test_those_that_do_not_want_to_begin_any_more_keep_nobody_waiting() -> None:
    """As after a reload that took thousands of services away."""
    crowd = Crowd(limit=1, host_limit=1)
    for item in range(5000):
        crowd.admission.enter(item, "a")
    crowd.unwanted = set(range(1, 4999))
    crowd.end(0)
    assert crowd.begun == [0, 4999]
    assert crowd.admission.waiting == 0


@given(
    hosts=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60),
    ends=st.lists(st.integers(0, 1000), max_size=60),
    unwanted=st.sets(st.integers(0, 59)),
    limit=st.integers(1, 6),
    host_limit=st.integers(1, 4),
)
def test_everybody_gets_in_within_the_limits(
    hosts: list[str | None], ends: list[int], unwanted: set[int], limit: int, host_limit: int
) -> None:
    """Whatever comes and goes in whatever order; and no place stays empty that could be filled."""
    crowd = Crowd(limit=limit, host_limit=host_limit)
    arriving, leaving = deque(enumerate(hosts)), deque(ends)
    crowd.unwanted = unwanted
    while arriving or crowd.running:
        if arriving and (not leaving or leaving[0] % 2):
            crowd.admission.enter(*arriving.popleft())
            if leaving:
                leaving.popleft()
        elif crowd.running:
            choice = leaving.popleft() if leaving else 0
            crowd.end(sorted(crowd.running)[choice % len(crowd.running)])
        else:
            leaving.popleft()
        if len(crowd.running) < limit:
            full = {h for h, n in Counter(crowd.running.values()).items() if h and n >= host_limit}
            waiting = {item for item, host in enumerate(hosts) if host not in full}
            waiting -= {*crowd.begun, *unwanted, *(item for item, _ in arriving)}
            assert not waiting
    assert set(crowd.begun) == set(range(len(hosts))) - unwanted
    assert len(crowd.begun) == len(set(crowd.begun))
    assert (crowd.admission.running, crowd.admission.waiting) == (0, 0)
