"""Contact sheets: what a data set holds, and what a model sees of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from PIL import Image, ImageDraw
from PIL.ImageFont import load_default  # Pillow's own, which is there on every machine
from torch import Tensor

from bench.contracts import Augmentation, Dataset
from bench.data.transforms import augment, denormalise, fill_colour, normalise

PAPER, INK, SOFT = (255, 255, 255), (28, 30, 34), (106, 112, 122)
MARGIN, GAP, TITLE, CAPTION = 24, 4, 17, 13
MAX_NAME = 24  # characters of a class name
MAX_CLASSES = 100
PAIRS_A_ROW = 8


def class_sheet(dataset: Dataset, *, per_class: int = 10, scale: int = 2) -> Image.Image:
    """The first training images of every class, a row each, with the class's name and its number of images.

    Args:
        dataset: its class names are hostile text: cut to 24 characters, unprintable ones replaced.
        per_class: images a row, at least 1; fewer where a class has fewer.
        scale: pixels of the sheet for one of an image.

    Returns:
        RGB. Of more than 100 classes the first 100 are shown, and the sheet says so.
    """
    names = [printable(name) for name in dataset.classes[:MAX_CLASSES]]
    sizes = dataset.train.labels.bincount(minlength=len(dataset.classes)).tolist()
    small = load_default(CAPTION)
    left = MARGIN + 12 + int(max(small.getlength(text) for text in (*names, "50,000 images")))
    cell = 32 * scale + GAP
    top = MARGIN + TITLE + CAPTION + 26
    title = f"{printable(dataset.name, 40)}: {len(dataset.train):,} training images of {len(dataset.classes)} classes"
    caption = f"the first {per_class} of each class"
    if len(names) < len(dataset.classes):
        caption += f", {len(names)} of {len(dataset.classes)} classes"
    width = max(left + per_class * cell - GAP, 2 * MARGIN + int(load_default(TITLE).getlength(title)))
    sheet = _paper(width + MARGIN, top + len(names) * cell - GAP + MARGIN, title, caption)
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        y = top + row * cell
        middle = y + 16 * scale
        draw.text((MARGIN, middle - 1), name, INK, small, anchor="ls")
        draw.text((MARGIN, middle + 3), f"{sizes[row]:,} images", SOFT, small, anchor="lt")
        ids = (dataset.train.labels == row).nonzero().flatten()[:per_class]
        for column, picture in enumerate(_pictures(dataset.train.images[ids], scale)):
            sheet.paste(picture, (left + column * cell, y))
    return sheet


def augment_sheet(
    dataset: Dataset, augmentation: Augmentation, generator: torch.Generator, *, count: int = 40, scale: int = 2
) -> Image.Image:
    """Training images beside what a model sees of them: the very tensors of a batch, taken back to pixels.

    Args:
        dataset: its mean and standard deviation normalise and denormalise.
        augmentation: of the recipe; not mirrored where the data set forbids it, as in training.
        generator: draws what is drawn for one batch of `count` images.
        count: images, spread evenly over the training split.
        scale: pixels of the sheet for one of an image.

    Returns:
        RGB; each pair is the original and, right of it, what the model sees.

    Raises:
        UsageError: an augmentation that `augment` refuses.
    """
    augmentation = taken(augmentation, dataset)
    originals, seen = seen_by_model(dataset, augmentation, generator, count=count)
    edge = 32 * scale
    pair = 2 * edge + GAP // 2
    columns = min(PAIRS_A_ROW, len(originals))
    rows = -(-len(originals) // columns)
    top = MARGIN + TITLE + CAPTION + 26
    title = f"{printable(dataset.name, 40)}: what the model sees"
    caption = "left the image, right its augmented copy: " + describe(augmentation)
    text = max(int(load_default(TITLE).getlength(title)), int(load_default(CAPTION).getlength(caption)))
    width = max(columns * (pair + 3 * GAP) - 3 * GAP, text) + 2 * MARGIN
    sheet = _paper(width, top + rows * (edge + 3 * GAP) - 3 * GAP + MARGIN, title, caption)
    pairs = zip(_pictures(originals, scale), _pictures(seen, scale), strict=True)
    for index, (original, augmented) in enumerate(pairs):
        x = MARGIN + index % columns * (pair + 3 * GAP)
        y = top + index // columns * (edge + 3 * GAP)
        sheet.paste(original, (x, y))
        sheet.paste(augmented, (x + edge + GAP // 2, y))
    return sheet


def taken(augmentation: Augmentation, dataset: Dataset) -> Augmentation:
    """What training makes of an augmentation: nothing is mirrored that the data set forbids."""
    return augmentation if dataset.mirror else replace(augmentation, flip="none")


def seen_by_model(
    dataset: Dataset, augmentation: Augmentation, generator: torch.Generator, *, count: int
) -> tuple[Tensor, Tensor]:
    """(N, 3, 32, 32) uint8 originals, and the same through augment, normalise and denormalise."""
    import torch

    total = len(dataset.train)
    ids = torch.arange(min(count, total)) * total // min(count, total)
    originals = dataset.train.images[ids]
    batch = augment(originals, augmentation, fill=fill_colour(dataset.mean), generator=generator)
    values = normalise(batch, dataset.mean, dataset.std)
    return originals, denormalise(values, dataset.mean, dataset.std)


def describe(augmentation: Augmentation) -> str:
    """An augmentation in words."""
    words = []
    if augmentation.translate:
        words.append(f"translate {augmentation.translate}: moved by up to that many pixels, the border reflected")
    if augmentation.flip != "none":
        again = ", the other half in the next epoch" if augmentation.flip == "alternating" else ""
        words.append("each image mirrored with probability one half" + again)
    if augmentation.cutout:
        words.append(f"a square of {augmentation.cutout} pixels in the mean colour")
    return ", ".join(words) or "no augmentation"


def printable(name: str, longest: int = MAX_NAME) -> str:
    """Hostile text for one line: unprintable characters become "?", and it is cut."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _paper(width: int, height: int, title: str, caption: str) -> Image.Image:
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, load_default(TITLE), anchor="lt")
    draw.text((MARGIN, MARGIN + TITLE + 8), caption, SOFT, load_default(CAPTION), anchor="lt")
    return sheet


def _pictures(images: Tensor, scale: int) -> list[Image.Image]:
    """(N, 3, H, W) uint8 as pictures, enlarged without smoothing."""
    rows = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    size = (rows.shape[2] * scale, rows.shape[1] * scale)
    return [Image.fromarray(row).resize(size, Image.Resampling.NEAREST) for row in rows]
