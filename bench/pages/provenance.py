"""What it takes to make a run again, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from bench.schema.page import Difference
from bench.schema.run import RunRecord
from bench.store.runs import CHECKPOINT


def provenance(record: RunRecord) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What it takes to make the run again."""
    settings = ", ".join(_setting(record, key) for key, value in record.config.items() if value is not None)
    versions = record.environment.get("versions")
    rows = (
        ("command", record.command),
        ("config", settings),
        ("started", record.created),
        ("data", f"{record.data.get('name')} from {record.data.get('source')}"),
        ("data sha256", str(record.data.get("digest", ""))),
        ("checkpoint sha256", record.artefacts.get(CHECKPOINT, "")),
        ("machine", f"{record.environment.get('device')}, {record.environment.get('system')}"),
        ("code", _code(record.environment)),
        ("versions", ", ".join(f"{name} {number}" for name, number in _pairs(versions))),
    )
    return record.name, rows


def differences(records: Sequence[RunRecord]) -> tuple[Difference, ...]:
    """Settings, parts of the machine and versions in which runs differ; nothing for one run."""
    groups = (
        ("setting", [record.config for record in records]),
        ("machine", [_machine(record.environment) for record in records]),
        ("version", [dict(_pairs(record.environment.get("versions"))) for record in records]),
    )
    return tuple(
        Difference(group, key, values)
        for group, tables in groups
        for key in dict.fromkeys(str(key) for table in tables for key in table)
        if len(set(values := tuple(_plain(table.get(key)) for table in tables))) > 1
    )


def _machine(environment: Mapping[str, object]) -> dict[str, object]:
    """Everything of an environment but its versions; the commit and whether it was changed as words."""
    plain = {key: value for key, value in environment.items() if key not in ("versions", "code")}
    return {**plain, "code": _code(environment)}


def _code(environment: Mapping[str, object]) -> str:
    """The commit the code was at; runs made before that was kept, and installed packages, have none."""
    code = environment.get("code")
    if not isinstance(code, dict) or not code.get("commit"):
        return "no git checkout known"
    return f"commit {code['commit']}" + (", with changes of its own" if code.get("dirty") else "")


def _setting(record: RunRecord, key: str) -> str:
    """A setting and, where it was not the default's or the recipe's, where it came from."""
    origin = record.origins.get(key, "")
    source = f" ({origin})" if origin in ("flag", "env", "file") else ""
    return f"{key} {_plain(record.config[key])}{source}"


def _pairs(value: object) -> list[tuple[object, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else "–" if value is None else str(value)
