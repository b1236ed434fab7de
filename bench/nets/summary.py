"""What a model is made of: the classic table of its modules, parameters and multiplications."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Layer
from bench.registry.layer_shapes import shapes_of
from bench.registry.layouts import as_built, known_layouts
from bench.registry.looking import noting

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
HEADS = ("module", "kind", "output", "parameters")
GIGA = 1e9


@dataclass(frozen=True)
class Row:
    """One run of one module.

    Attributes:
        name: dotted name in the model.
        kind: class name.
        shape: of its output, for one image; empty when that is no tensor.
        parameters: of the module itself, counted at its first run only, so that rows add up to the total.
        inside: of the module and all modules in it.
        classic: convolution, norm, block or linear layer, which the short table shows.
        macs: multiplications of the pass until its output was there.
        map: (C, h, w) of what explainers are shown of it; its shape where it is no map.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    inside: int
    classic: bool
    macs: int
    map: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """A model in figures.

    Attributes:
        kind: class name of the model.
        input_shape: of the image it was run on.
        rows: every run of every module but the model itself, in the order in which they finish.
        parameters, trainable: of the whole model.
        macs: multiplications of one forward pass of one image, in convolutions and matrix products.
    """

    kind: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    macs: int


def summarise(model: nn.Module, input_size: int = 32) -> Summary:
    """Run one black image through the model in eval mode and note what every module gave. Leaves it as found.

    Args:
        model: takes (1, 3, input_size, input_size).
        input_size: pixels an edge.

    Raises:
        ContractError: the model cannot take such an image; says why.
    """
    rows: list[Row] = []
    layouts = known_layouts(model) or {}
    seen: set[nn.Module] = set()

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        parameters = 0 if module in seen else count(module, own=True)
        inside, macs = count(module, own=False), counter.get_total_flops() // 2
        seen_as = layouts[name].shape if name in layouts else shape
        rows.append(Row(name, type(module).__name__, shape, parameters, inside, is_classic(module), macs, seen_as))
        seen.add(module)

    with as_built(model), noting(model, note), FlopCounterMode(display=False) as counter:
        shapes_of(model, input_size)
    return Summary(
        kind=type(model).__name__,
        input_shape=(3, input_size, input_size),
        rows=tuple(rows),
        parameters=count(model, own=False),
        trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        macs=counter.get_total_flops() // 2,
    )


def layers_in(summary: Summary, names: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of these names, and the image as the layer `input`, with what the summary shows of them."""
    last, edge = {row.name: row for row in summary.rows}, summary.input_shape[1]
    found = []
    for name in names:
        row = last.get(name)
        shape = row.map if row is not None and len(row.map) == 3 else summary.input_shape
        behind = 1 - row.macs / max(1, summary.macs) if row is not None else 1.0
        found.append(Layer(name, shape, pixels=edge, behind=behind, work=max(1, summary.macs)))
    return tuple(found)


def shown_rows(summary: Summary, *, all: bool = False) -> list[Row]:
    """The classic rows, or all of them."""
    return [row for row in summary.rows if all or row.classic]


def totals(summary: Summary, *, all: bool = False) -> tuple[str, ...]:
    """What stands below the rows that are shown."""
    count = len(shown_rows(summary, all=all))
    hidden = len(summary.rows) - count
    shown = f"{count} rows" + (f", {hidden} more with --all" if hidden else "")
    return (
        f"{shown}; in brackets: already counted in the rows above",
        f"{summary.parameters:,} parameters, {summary.trainable:,} trainable",
        f"{summary.macs / GIGA:.4f} GMAC a forward pass and image",
    )


def texts_of(row: Row) -> tuple[str, str, str, str]:
    """A row as text; parameters that other rows have counted stand in brackets."""
    figure = f"{row.parameters:,}" if row.parameters or not row.inside else f"({row.inside:,})"
    return row.name, row.kind, by(row.shape), figure


def by(shape: tuple[int, ...]) -> str:
    """`64 x 32 x 32`."""
    return " x ".join(map(str, shape))


def is_classic(module: nn.Module) -> bool:
    """A convolution, a norm, a linear layer, or a block: parts with weights, joined by code of its own."""
    if isinstance(module, (*CONVOLUTIONS, *NORMS, nn.Linear)):
        return True
    has_parts = any(True for _ in module.children())
    return has_parts and not isinstance(module, CONTAINERS) and count(module, own=False) > 0


def count(module: nn.Module, *, own: bool) -> int:
    """Parameters of the module; `own`: without those of the modules in it."""
    return sum(parameter.numel() for parameter in module.parameters(recurse=not own))
