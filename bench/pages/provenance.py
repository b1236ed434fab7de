"""What it takes to make a run again, in words."""

import json
from collections.abc import Sequence

from bench.schema.page import Difference
from bench.schema.run import Code, Environment, RunRecord
from bench.store.paths import CHECKPOINT


def provenance(record: RunRecord) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What it takes to make the run again."""
    origins, given = record.request.origins, record.settings.items()
    settings = ", ".join(_setting(key, value, origins.get(key, "")) for key, value in given if value not in (None, []))
    rows = (
        ("command", record.command),
        ("config", settings),
        ("started", record.created),
        ("data", f"{record.data.name} from {record.data.source}"),
        *((name, words) for name, words in _notes(record) if words),
        ("data sha256", record.data.digest),
        ("checkpoint sha256", record.artefacts.get(CHECKPOINT, "")),
        ("machine", ", ".join(_parts(record.environment))),
        *(("processes", _processes(record.environment)) for _ in range(record.environment.processes > 1)),
        ("code", _code(record.environment.code)),
        ("versions", ", ".join(f"{name} {number}" for name, number in record.environment.versions.items())),
    )
    return record.name, rows


def _parts(environment: Environment) -> tuple[str, ...]:
    """The device, what lies between it and torch where that is known, and torch's switches."""
    gpu = {"capability": environment.capability, "": environment.gpu_memory, "driver": environment.driver}
    gpu |= {"CUDA": environment.cuda, "cuDNN": environment.cudnn}
    facts = [f"{name} {value}".strip() for name, value in gpu.items() if value]
    switches = [f"{name} {value}" for name, value in environment.flags.items()]
    return (environment.device, *facts, environment.system, *switches)


def _processes(environment: Environment) -> str:
    """How many trained the run together, and what batch norms saw of a batch."""
    saw = {"synchronised": "the whole batch", "local": "that part alone", "own": "that part alone"}
    norms = f"; batch norms saw {saw[environment.norms]}" if environment.norms in saw else ""
    return f"{environment.processes}, each with a part of every batch{norms}"


def _notes(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Files and weights that were found, taken and left out, what was done to the images, and doubts."""
    data, notes = record.data, "; ".join(record.notes)
    return ("data files", data.inventory), ("data notes", "; ".join(data.notes)), ("weights", notes)


def differences(records: Sequence[RunRecord]) -> tuple[Difference, ...]:
    """Settings, parts of the machine and versions in which runs differ; nothing for one run.

    What is not known of every machine is no difference: earlier versions noted less of it.
    """
    groups = (
        ("setting", [record.settings for record in records]),
        ("machine", [_machine(record.environment) for record in records]),
        ("version", [dict(record.environment.versions) for record in records]),
    )
    return tuple(
        Difference(group, key, values)
        for group, tables in groups
        for key in dict.fromkeys(str(key) for table in tables for key in table)
        if len(set(values := tuple(_plain(table.get(key)) for table in tables))) > 1
        and (group != "machine" or all(table.get(key) for table in tables))
    )


def _machine(environment: Environment) -> dict[str, object]:
    """Everything of an environment but its versions; the commit and whether it was changed as words."""
    apart = ("versions", "code", "flags")
    facts = {key: value for key, value in vars(environment).items() if key not in apart}
    return facts | dict(environment.flags) | {"code": _code(environment.code)}


def _code(code: Code) -> str:
    """The commit the code was at; runs made before that was kept, and installed packages, have none."""
    if not code.commit:
        return "no git checkout known"
    return f"commit {code.commit}" + (", with changes of its own" if code.dirty else "")


def _setting(key: str, value: object, origin: str) -> str:
    """A setting and, where it was not the default's or the recipe's, where it came from."""
    source = f" ({origin})" if origin in ("flag", "env", "file") else ""
    return f"{key} {_plain(value)}{source}"


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else "–" if value is None else str(value)
