"""Work that is counted: FLOP of convolutions and matrix products, on the way forward and back."""

from contextlib import nullcontext

from torch.utils.flop_counter import FlopCounterMode


class NoModules(nullcontext[None]):
    """Stands in for the counter's record of which module runs."""

    parents = ("Global",)


class TotalFlops(FlopCounterMode):
    """torch's counter without its hooks on gradients, which refuse a gradient by the input itself."""

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker = NoModules()  # type: ignore[assignment]
