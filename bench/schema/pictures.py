"""Everything a page of one's own pictures shows, as plain values. Standard library only."""

from dataclasses import dataclass

from bench.schema.run import Status


@dataclass(frozen=True)
class PictureMap:
    """One raw map of one picture, quantised: value = low + level / 255 * (high - low).

    Attributes:
        explainer, layer: whose map it is.
        target: the class it speaks for.
        finished: it is a library's own picture in 0..1, shown as it is.
        height, width: of the grid.
        low, high: smallest and largest raw value.
        levels: height * width bytes, row by row.
    """

    explainer: str
    layer: str
    target: str
    finished: bool
    height: int
    width: int
    low: float
    high: float
    levels: bytes
    status: Status


@dataclass(frozen=True)
class PictureView:
    """One picture with what the model says of it.

    Attributes:
        file: name, hostile text.
        width, height: of the file, in pixels.
        done: what was done to it before the model saw it, in words.
        preview: the picture as it is, reduced, as a WebP file.
        edge: pixels an edge of what the model saw.
        pixels: edge * edge * 3 bytes, RGB, row by row: what the model saw.
        top: the most probable classes with their probabilities, the most probable first.
    """

    file: str
    width: int
    height: int
    done: tuple[str, ...]
    preview: bytes
    edge: int
    pixels: bytes
    top: tuple[tuple[str, float], ...]
    maps: tuple[PictureMap, ...]


@dataclass(frozen=True)
class PicturesPage:
    """A page of one's own pictures.

    Attributes:
        run, model: whose maps they are.
        pipeline: what happens to a raw map before it is seen, in words.
        provenance: (label, value) rows.
    """

    schema: int
    title: str
    created: str
    run: str
    model: str
    pictures: tuple[PictureView, ...]
    pipeline: str
    provenance: tuple[tuple[str, str], ...]
