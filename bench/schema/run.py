"""What run.json and a cell hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

# How a raw map came out. A dead map has no positive value, so its ReLU is zero everywhere.
STATUSES = ("ok", "dead", "constant", "non-finite")

Status = Literal["ok", "dead", "constant", "non-finite"]


@dataclass(frozen=True)
class Cell:
    """One explainer at one layer of one checkpoint.

    Attributes:
        schema: version of the file.
        checkpoint: sha256 of the checkpoint file.
        explainer, revision, layer: which cell it is.
        versions: backend and torch versions.
        device, dtype: where and in what the maps were computed.
        timing: id of the timing that holds the rate, empty for none.
        ids: (R,) int64 test ids, ascending, then by class.
        classes: (R,) int64, the class each map speaks for.
        raw: (R, h, w) maps.
        logits: (R, K) of the model that was explained.
        status: (R,) uint8, index into STATUSES.
        output: what `raw` holds, as in `ExplainerSpec`: raw maps, or a library's finished `picture` in 0..1.
        steps: of a `picture`: how the library made it, in words.
    """

    schema: int
    checkpoint: str
    explainer: str
    revision: int
    layer: str
    versions: Mapping[str, str]
    device: str
    dtype: str
    timing: str
    ids: Integers
    classes: Integers
    raw: Floats
    logits: Floats
    status: Integers
    output: str = "layer"
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """run.json: what was run, on what, with which result.

    Attributes:
        schema: version of the file.
        name: folder name.
        status: `created`, `training`, `done`, `failed` or `interrupted`.
        created: ISO time of the start, UTC.
        command: the command line.
        model: registered name or FILE.py:NAME.
        config: resolved settings.
        origins: where each setting came from (`flag`, `env`, `file`, `recipe` or `default`).
        data: name, source, digest, classes, mean, std, mirror, sizes of the splits, notes.
        environment: versions, machine, device.
        metrics: results: epochs run, accuracy, loss, rates.
        artefacts: sha256 by file name.
        message: why it failed; empty otherwise.
    """

    schema: int
    name: str
    status: str
    created: str
    command: str
    model: str
    config: Mapping[str, object]
    origins: Mapping[str, str]
    data: Mapping[str, object]
    environment: Mapping[str, object]
    metrics: Mapping[str, object] = field(default_factory=dict)
    artefacts: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
