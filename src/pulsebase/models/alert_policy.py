"""Alert policies: the rows of `alert_policies`, by which an alert opens and closes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulsebase.connection import Call
from pulsebase.models import fields
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AlertPolicyModel", "NewAlertPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlertPolicy:
    """A policy, and the services that it is for; without a matcher, all.

    `alert_policy` holds the keys that it sets, such as `down_open_checks`.
    What it leaves out comes from the policies before it, and at last from the built-in one.
    """

    alert_policy: dict[str, Any]
    matcher: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check that both are plain JSON; the database judges the keys."""
        fields.json_object("alert_policy", self.alert_policy)
        fields.optional(fields.json_object, "matcher", self.matcher)


class AlertPolicyModel:
    """Keeps the policies.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def publish(*, policies: Iterable[NewAlertPolicy]) -> Call[int]:
        """Make these the policies, in their order, in the place of all others; how many changed.

        Raises InvalidDataError with a sentence that names the key and its bounds.
        """
        rows = [
            {"matcher": policy.matcher, "alert_policy": policy.alert_policy} for policy in policies
        ]
        arguments: dict[str, str | int | JsonText | None] = {"policies": JsonText(json.dumps(rows))}
        return Call(Request("publish_alert_policies", arguments), fields.count)

    @operation
    @staticmethod
    def find_by_service(service_name: str) -> Call[dict[str, Any]]:
        """The policy that a service has, all keys: the built-in one with all that changes it."""
        arguments: dict[str, str | int | JsonText | None] = {
            "service_name": fields.service_name(service_name)
        }
        return Call(Request("alert_policy_of", arguments), fields.decoder(dict))
