"""What it takes to make a run again, in words."""

from __future__ import annotations

import json

from bench.contracts import RunRecord
from bench.store import CHECKPOINT


def provenance(record: RunRecord) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What it takes to make the run again."""
    settings = ", ".join(f"{key} {_plain(value)}" for key, value in record.config.items() if value is not None)
    versions = record.environment.get("versions")
    rows = (
        ("command", record.command),
        ("config", settings),
        ("started", record.created),
        ("data", f"{record.data.get('name')} from {record.data.get('source')}"),
        ("data sha256", str(record.data.get("digest", ""))),
        ("checkpoint sha256", record.artefacts.get(CHECKPOINT, "")),
        ("machine", f"{record.environment.get('device')}, {record.environment.get('system')}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in _pairs(versions))),
    )
    return record.name, rows


def _pairs(value: object) -> list[tuple[object, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
