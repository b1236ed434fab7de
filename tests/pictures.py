"""Small batches of real images for tests: those that BENCH_DATA names, else scikit-learn's digits."""

import io
import os
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image
from sklearn.utils import Bunch
from torch import Tensor

ARCHIVE = Path(os.environ.get("BENCH_DATA", ""))
HAVE_REAL = ARCHIVE.is_file() and tarfile.is_tarfile(ARCHIVE)
SOURCE = pytest.param("real", marks=pytest.mark.images) if HAVE_REAL else pytest.param("digits")
MOST = 64
STRIDE = 701  # members are sorted by class, so take one here and one there


@cache
def pictures(count: int) -> Tensor:
    """(count, 3, 32, 32) float32, mean 0 and deviation 1 over all."""
    values = (from_archive() if HAVE_REAL else from_digits())[:count].float() / 255
    return (values - values.mean()) / values.std()


@cache
def from_archive() -> Tensor:
    """(MOST, 3, 32, 32) uint8 of all classes, from one pass through the archive."""
    found = []
    with tarfile.open(ARCHIVE, "r|*") as archive:
        for place, member in enumerate(archive):
            content = archive.extractfile(member) if place % STRIDE == 1 and member.isfile() else None
            if content is not None:
                with Image.open(io.BytesIO(content.read())) as image:
                    found.append(np.asarray(image.convert("RGB").resize((32, 32))))
            if len(found) == MOST:
                break
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)[order]


@cache
def from_digits() -> Tensor:
    """(MOST, 3, 32, 32) uint8."""
    small = torch.from_numpy(sklearn.datasets.load_digits().images[:MOST]).float().unsqueeze(1) * (255 / 16)
    return torch.nn.functional.interpolate(small, size=32, mode="bilinear").expand(-1, 3, -1, -1).to(torch.uint8)


def few_digits(patch: pytest.MonkeyPatch) -> None:
    """The data set `digits` in 200 images, 20 of them for testing, so that a training on it takes no second."""
    digits = sklearn.datasets.load_digits()
    few = Bunch(images=digits.images[:200], target=digits.target[:200])  # type: ignore[no-untyped-call]
    patch.setattr(sklearn.datasets, "load_digits", lambda: few)
    patch.setattr("bench.data.digits.TEST_IMAGES", 20)
