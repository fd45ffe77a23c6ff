"""Health checks and alert history in the Postgres you already have.

    import pulsebase

    with pulsebase.connect("postgresql://…") as connection:
        pulsebase.HealthCheckModel.create(connection, service_name="openai", status="healthy")

Every public name is here and is imported when it is first used, so that an application pays for
nothing that it does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulsebase.connection import AsyncConnection, Call, Connection, connect, connect_async
    from pulsebase.errors import (
        AuthenticationError,
        CheckViolationError,
        ConfigurationError,
        ConnectTimeoutError,
        DatabaseError,
        EmbeddedServerError,
        ForeignKeyViolationError,
        GatewayError,
        IntegrityError,
        InvalidDataError,
        InvalidValueError,
        LockTimeoutError,
        MalformedResponseError,
        MigrationError,
        MissingExtraError,
        MissingWhereError,
        NotFoundError,
        NotMigratedError,
        NotNullViolationError,
        PermissionDeniedError,
        ProjectPausedError,
        PulsebaseError,
        RateLimitedError,
        SerializationError,
        StaleSchemaCacheError,
        StatementTimeoutError,
        UnavailableError,
        UniqueViolationError,
    )
    from pulsebase.models.alert_act import AlertAct, AlertActModel
    from pulsebase.models.alert_channel import (
        AlertChannel,
        AlertChannelModel,
        NewAlertChannel,
        NewAlertRoute,
        RouteHours,
    )
    from pulsebase.models.alert_event import AlertEvent, AlertEventModel, AlertStatus, AlertType
    from pulsebase.models.alert_message import AlertMessage, AlertMessageModel
    from pulsebase.models.alert_policy import AlertPolicyModel, NewAlertPolicy
    from pulsebase.models.alert_silence import AlertSilence, AlertSilenceModel, MaintenanceWindow
    from pulsebase.models.health_check import (
        CreatedMany,
        HealthCheck,
        HealthCheckModel,
        LatestHealthCheck,
        NewHealthCheck,
        Status,
        StatusCounts,
    )
    from pulsebase.models.monitor import Monitor, MonitorModel, MonitorServices
    from pulsebase.models.monitored_service import (
        MonitoredService,
        MonitoredServiceModel,
        NewMonitoredService,
    )
    from pulsebase.models.schedules import CronSchedule, WeeklySchedule
    from pulsebase.models.service_state import ServiceState, ServiceStateModel
    from pulsebase.verbs import using

__version__ = "0.1.0"

__all__ = [
    "AlertAct",
    "AlertActModel",
    "AlertChannel",
    "AlertChannelModel",
    "AlertEvent",
    "AlertEventModel",
    "AlertMessage",
    "AlertMessageModel",
    "AlertPolicyModel",
    "AlertSilence",
    "AlertSilenceModel",
    "AlertStatus",
    "AlertType",
    "AsyncConnection",
    "AuthenticationError",
    "Call",
    "CheckViolationError",
    "ConfigurationError",
    "ConnectTimeoutError",
    "Connection",
    "CreatedMany",
    "CronSchedule",
    "DatabaseError",
    "EmbeddedServerError",
    "ForeignKeyViolationError",
    "GatewayError",
    "HealthCheck",
    "HealthCheckModel",
    "IntegrityError",
    "InvalidDataError",
    "InvalidValueError",
    "LatestHealthCheck",
    "LockTimeoutError",
    "MaintenanceWindow",
    "MalformedResponseError",
    "MigrationError",
    "MissingExtraError",
    "MissingWhereError",
    "Monitor",
    "MonitorModel",
    "MonitorServices",
    "MonitoredService",
    "MonitoredServiceModel",
    "NewAlertChannel",
    "NewAlertPolicy",
    "NewAlertRoute",
    "NewHealthCheck",
    "NewMonitoredService",
    "NotFoundError",
    "NotMigratedError",
    "NotNullViolationError",
    "PermissionDeniedError",
    "ProjectPausedError",
    "PulsebaseError",
    "RateLimitedError",
    "RouteHours",
    "SerializationError",
    "ServiceState",
    "ServiceStateModel",
    "StaleSchemaCacheError",
    "StatementTimeoutError",
    "Status",
    "StatusCounts",
    "UnavailableError",
    "UniqueViolationError",
    "WeeklySchedule",
    "__version__",
    "connect",
    "connect_async",
    "using",
]

_ELSEWHERE = {
    "connection": ("AsyncConnection", "Call", "Connection", "connect", "connect_async"),
    "models.alert_event": ("AlertEvent", "AlertEventModel", "AlertStatus", "AlertType"),
    "models.health_check": (
        "CreatedMany",
        "HealthCheck",
        "HealthCheckModel",
        "LatestHealthCheck",
        "NewHealthCheck",
        "Status",
        "StatusCounts",
    ),
    "models.monitor": ("Monitor", "MonitorModel", "MonitorServices"),
    "models.alert_act": ("AlertAct", "AlertActModel"),
    "models.alert_channel": (
        "AlertChannel",
        "AlertChannelModel",
        "NewAlertChannel",
        "NewAlertRoute",
        "RouteHours",
    ),
    "models.alert_message": ("AlertMessage", "AlertMessageModel"),
    "models.alert_policy": ("AlertPolicyModel", "NewAlertPolicy"),
    "models.alert_silence": ("AlertSilence", "AlertSilenceModel", "MaintenanceWindow"),
    "models.monitored_service": (
        "MonitoredService",
        "MonitoredServiceModel",
        "NewMonitoredService",
    ),
    "models.schedules": ("CronSchedule", "WeeklySchedule"),
    "models.service_state": ("ServiceState", "ServiceStateModel"),
    "verbs": ("using",),
}
_MODULE_OF = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that defines the name, once."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE_OF.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
