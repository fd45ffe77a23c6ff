"""Since when the database has answered this process, so that silence is not read as news.

Who reads a missing row as a fact (a job that did not report, a monitor that is gone) must know that
the row could have arrived: only what is newer than `since` says anything.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["Reachability"]


class Reachability:
    """Told of every call to the database; one for each process, shared by all who call.

    `since` is the time, in UTC, since which every call was answered, None while the last one was
    not. Before the first call it is the time at which this was made.
    """

    def __init__(self) -> None:
        self._since: datetime | None = datetime.now(UTC)

    @property
    def since(self) -> datetime | None:
        """Since when the database answers; None while it does not."""
        return self._since

    def succeeded(self) -> None:
        """The database answered a call; a refusal is an answer, too."""
        if self._since is None:
            self._since = datetime.now(UTC)

    def failed(self) -> None:
        """The database did not answer a call, or could not be asked."""
        self._since = None
