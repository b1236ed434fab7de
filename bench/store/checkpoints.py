"""Weights as safetensors, with what belongs to them in the file's head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.store.files import check_schema, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_SCHEMA = 1


def write_checkpoint(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    """Write weights with their metadata as safetensors; gives the file's sha256."""
    import torch
    from safetensors.torch import save

    # Tied weights are one tensor under two keys, which safetensors refuses: each key gets a copy of its own.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    header = {"bench": json.dumps({"schema": CHECKPOINT_SCHEMA, **metadata}, allow_nan=False)}
    data = save(tensors, metadata=header)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()  # of what was meant, so that what a disk made otherwise of it is found out


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and metadata of a checkpoint; StoreError where it is missing, damaged or not ours."""
    from safetensors import safe_open

    if not path.is_file():
        raise StoreError(f"no checkpoint {path}", try_="bench train --model cifar_resnet18")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("bench", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise StoreError(f"{path} is not a safetensors file: {reason}") from reason
    if not isinstance(header, dict):
        raise StoreError(f"{path} was not written by bench: it lacks the names of its classes")
    check_schema(header, CHECKPOINT_SCHEMA, path)
    return state, header
