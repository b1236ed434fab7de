"""scikit-learn's bundled handwritten digits: real images that need no network."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bench.contracts import SIZE
from bench.data.images import Decoded, Part, Pixels

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
    images = np.stack([_enlarged(image, size) for image in found.images])
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


def _enlarged(image: np.ndarray[tuple[int, ...], np.dtype[np.float64]], size: int) -> Pixels:
    """(8, 8) of 0..16 to (3, size, size) uint8."""
    levels = np.round(image * (255 / 16)).astype(np.uint8)
    large = Image.fromarray(levels).resize((size, size), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(large)[None], 3, axis=0)


def _part(split: str, images: Pixels, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Part:
    return Part(images, labels, tuple(f"{split}/{label}/{index:04d}" for index, label in enumerate(labels)))
