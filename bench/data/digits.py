"""scikit-learn's bundled handwritten digits: real images that need no network."""

from __future__ import annotations

import numpy as np

from bench.contracts import SIZE
from bench.data.decoding import Pixels, resized
from bench.data.images import Decoded, Part

TEST_IMAGES = 360
SPLIT_SEED = 0


def read_digits(size: int = SIZE) -> Decoded:
    """1,797 digits of 8x8 pixels and 17 levels of grey, as RGB: 1,437 to train, 360 to test.

    The split is stratified and fixed. Nothing is downloaded or written.

    Args:
        size: pixels an edge that they are enlarged to.

    Source: Alpaydin & Kaynak 1998, doi:10.24432/C50P49, the test part, as scikit-learn's load_digits gives it.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    levels = np.round(found.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8), they are 0 to 16
    images = np.stack([resized(np.repeat(each[None], 3, axis=0), size) for each in levels])
    labels = found.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=SPLIT_SEED
    )
    return Decoded(
        classes=tuple(str(digit) for digit in range(10)),
        train=_part("train", images[train], labels[train]),
        test=_part("test", images[test], labels[test]),
        notes=(f"enlarged from 8x8 grey to {size}x{size} RGB (bilinear)",),
    )


def _part(split: str, images: Pixels, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Part:
    return Part(images, labels, tuple(f"{split}/{label}/{index:04d}" for index, label in enumerate(labels)))
