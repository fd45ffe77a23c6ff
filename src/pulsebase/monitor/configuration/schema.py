"""The JSON Schema of the configuration file, for editors: made from the same dataclasses.

It is declared as draft 2020-12 and uses only what draft 4 has too, since that is what editors of
TOML understand: `enum` with one entry for `const`, `anyOf` for the branches of the kinds, and
nothing beside a `$ref`. What only the reader can judge (a regular expression, a limit that is less
than another) is not in it.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import ConfigurationError, MissingExtraError
from pulsebase.monitor.configuration.alerts import AlertKeys, AlertsTable, PolicyKeys
from pulsebase.monitor.configuration.channels import ChannelKeys
from pulsebase.monitor.configuration.maintenance import MaintenanceKeys
from pulsebase.monitor.configuration.pace import MOST_LABELS, SharedKeys
from pulsebase.monitor.configuration.routes import RouteKeys
from pulsebase.monitor.configuration.services import DEFAULT_KIND
from pulsebase.monitor.configuration.sizes import Size, format_size
from pulsebase.monitor.configuration.values import DatabaseKeys, MonitorKeys
from pulsebase.notifiers import load_notifier_kind
from pulsebase.probes import load_probe_kind, probe_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["configuration_schema"]

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Forms that stand in many places, by name.
_SHARED_FORMS: Final[dict[str, Any]] = {"duration": Duration, "size": Size}
# Wherever a text has a form, it may also be a reference to what has it.
_REFERENCE: Final[Schema] = {"type": "string", "pattern": r"\$\{"}
_FORMS: Final = frozenset({"enum", "pattern", "format", "minLength", "maxLength"})
# A scheme of each kind of channel.
_SCHEMES: Final = {"webhook": "https", "apprise": "mailto"}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 100}


class _Generator(GenerateJsonSchema):
    """pydantic's generator without defaults, which are added here in the words of the file."""

    def default_schema(self, schema: Any) -> Schema:
        """What the value is; pydantic would write a duration in a form of its own."""
        return self.generate_inner(schema["schema"])


def configuration_schema() -> tuple[Schema, list[str]]:
    """The schema, and a remark for every kind that is left out since it cannot be loaded."""
    kinds: dict[str, type] = {}
    notifiers: dict[str, type] = {}
    remarks: list[str] = []
    for name in probe_kinds():
        try:
            kinds[name] = load_probe_kind(name)
        except (MissingExtraError, ConfigurationError) as error:
            remarks.append(f'the kind "{name}" is left out: {error}')
    for name, scheme in _SCHEMES.items():
        try:
            notifiers[name] = load_notifier_kind(scheme)
        except MissingExtraError as error:
            remarks.append(f'channels of the kind "{name}" are left out: {error}')
    return _file_schema(kinds, notifiers), remarks


def _file_schema(kinds: Mapping[str, type], notifiers: Mapping[str, type]) -> Schema:
    definitions = {"reference": _REFERENCE}
    for name, form in _SHARED_FORMS.items():
        definitions[name] = _or_reference(TypeAdapter(form).json_schema())
    shared = _table(SharedKeys, definitions)
    shared["properties"]["labels"]["maxProperties"] = MOST_LABELS
    definitions["alerts"] = _table(AlertKeys, definitions)
    services = {name: _service(name, kind, shared, definitions) for name, kind in kinds.items()}
    groups = {name: _group(one) for name, one in services.items()}
    definitions |= {f"service-{name}": one for name, one in services.items()}
    definitions |= {f"group-{name}": one for name, one in groups.items()}
    group = {"type": "object", "anyOf": [_pointer(f"group-{name}") for name in groups]}
    service = {"type": "object", "anyOf": [_pointer(f"service-{name}") for name in services]}
    return {
        "$schema": _DIALECT,
        "title": "The configuration file of pulsebase",
        "type": "object",
        "properties": {
            "database": _table(DatabaseKeys, definitions),
            "monitor": _table(MonitorKeys, definitions),
            "defaults": shared | {"description": "What services use that do not say otherwise."},
            "groups": {
                "description": "What services have in common that name the group.",
                "type": "object",
                "additionalProperties": group,
            },
            "services": {
                "description": "What is watched: one table for each service.",
                "type": "array",
                "minItems": 1,
                "items": service,
            },
            **_alerting(notifiers, definitions),
        },
        "required": ["services"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _alerting(notifiers: Mapping[str, type], definitions: dict[str, Schema]) -> Schema:
    """The tables that say when alerts open, and who is told."""
    alerts = _table(AlertsTable, definitions)
    alerts["properties"]["policies"] = {
        "description": "What differs for some services, one after another.",
        "type": "array",
        "items": _table(PolicyKeys, definitions),
    }
    channel = _table(ChannelKeys, definitions)
    for name, kind in notifiers.items():
        definitions[f"channel-{name}"] = _channel(name, kind, channel, definitions)
    channels = {"type": "object", "anyOf": [_pointer(f"channel-{name}") for name in notifiers]}
    tables = {
        "channels": ("Whom to tell: one table for each channel.", channels),
        "routes": ("Which alerts go to which channels.", _table(RouteKeys, definitions)),
        "maintenance": (
            "When nobody is told, since it is meant not to work.",
            _table(MaintenanceKeys, definitions),
        ),
    }
    lists = {
        name: {"description": about, "type": "array", "items": items}
        for name, (about, items) in tables.items()
    }
    return {"alerts": alerts | {"description": "When alerts open and close."}, **lists}


def _channel(name: str, kind: type, shared: Schema, definitions: dict[str, Schema]) -> Schema:
    """The branch of one kind of channel, which goes by its URL."""
    table = _table(kind, definitions, prefix=f"{name}-")
    web = {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}
    url = web if name == "webhook" else {"type": "string", "pattern": "://"}
    return {
        **table,
        "title": f'A channel of the kind "{name}"',
        "properties": {**shared["properties"], **table["properties"], "url": _or_reference(url)},
        "required": ["name", "url"],
    }


def _service(name: str, kind: type, shared: Schema, definitions: dict[str, Schema]) -> Schema:
    """The branch of one kind; a group may bring whatever a service must have, and the kind too."""
    table = _table(kind, definitions, prefix=f"{name}-")
    needed = table.pop("required", [])
    own = [*needed] if name == DEFAULT_KIND else ["kind", *needed]
    common = {
        "name": _or_reference(_NAME),
        "kind": {"type": "string", "enum": [name]},
        "group": {"type": "string"},
        "alerts": {"anyOf": [{"type": "boolean"}, _pointer("alerts")]},
        "depends_on": {"type": "array", "items": {"type": "string"}},
    }
    return {
        **table,
        "title": f'A service of the kind "{name}"',
        "properties": {**common, **shared["properties"], **table["properties"]},
        "required": ["name"],
        "anyOf": [{"required": own}, {"required": ["group"]}],
    }


def _group(service: Schema) -> Schema:
    """The branch of one kind for a group: the same keys, none of them required."""
    left_out = {"name", "group"}
    kept = {key: about for key, about in service["properties"].items() if key not in left_out}
    [name] = kept["kind"]["enum"]
    own = {
        "type": "object",
        "title": f'A group of services of the kind "{name}"',
        "properties": kept,
        "additionalProperties": False,
    }
    return own if name == DEFAULT_KIND else own | {"required": ["kind"]}


def _table(kind: type, definitions: dict[str, Schema], *, prefix: str = "") -> Schema:
    """The schema of one dataclass; those within it go to the definitions, under their names."""
    template = f"#/$defs/{prefix}{{model}}"
    schema = TypeAdapter(kind).json_schema(schema_generator=_Generator, ref_template=template)
    for name, inner in schema.pop("$defs", {}).items():
        definitions[f"{prefix}{name}"] = _plain(inner, definitions)
    plain: Schema = _plain(schema, definitions)
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    for key, default in _defaults(kind, hints).items():
        plain["properties"][key] |= {"default": default}
    return plain


def _defaults(kind: Any, hints: Mapping[str, Any]) -> Schema:
    found = {one.name: one.default for one in fields(kind)} if is_dataclass(kind) else {}
    return {
        name: _written(default, hints[name])
        for name, default in found.items()
        if default is not None and default is not MISSING
    }


def _written(default: Any, hint: Any) -> Any:
    """A default as it would stand in the file."""
    match default:
        case timedelta():
            return format_duration(default)
        case tuple():
            return [_written(entry, None) for entry in default]
        case int() if hint is Size:
            return format_size(default)
        case _:
            return default


def _plain(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    """The schema without titles made of names, and without null, which TOML has not."""

    def inside(key: str, value: Any) -> Any:
        match key, value:
            case "anyOf", list():
                return [_plain(one, definitions) for one in value]
            case "properties", dict():
                return {name: _plain(about, definitions) for name, about in value.items()}
            case (("items" | "additionalProperties"), dict()):
                return _plain(value, definitions)
            case _:
                return value

    if not isinstance(schema, dict):
        return schema
    plain = {key: inside(key, value) for key, value in schema.items() if key != "title"}
    if "anyOf" in plain:
        branches = [one for one in plain.pop("anyOf") if one != {"type": "null"}]
        return plain | (branches[0] if len(branches) == 1 else {"anyOf": branches})
    if plain.get("type") == "string" and _FORMS & plain.keys():
        return _named(_or_reference(plain), definitions)
    return plain


def _named(form: Schema, definitions: Mapping[str, Schema]) -> Schema:
    names = (name for name in _SHARED_FORMS if definitions[name] == form)
    return next(map(_pointer, names), form)


def _or_reference(schema: Schema) -> Schema:
    return {"anyOf": [schema, _pointer("reference")]}


def _pointer(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
