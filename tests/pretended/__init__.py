"""A GPU that is not there: everything computes on the CPU, and behaves as on the device that it says it is on.

    from pretended import pretended

    with pretended("cuda", capability=(7, 5)) as machine:
        net.to(machine.device)                     # "cuda:0"; torch.cuda says that there is a GPU of that kind
        with machine.counting() as count:
            net(images.to(machine.device)).sum().item()
    count.operations                               # Counter of kernels by name; views are none
    count.waits                                    # Counter of (what, "bench/training/loop.py:150")
    machine.refused                                # what was refused, also where somebody swallowed the error

Values are real. What a real device refuses is refused: tensors of two devices in one operation, `numpy()` of a tensor
of the device, a generator of another device, float64 on MPS, kernels that the wheel does not have, more memory than
there is. What makes the host wait for the device is counted by the line of the house that asked. A copy to the host
that does not wait holds junk until somebody has waited.

Keywords of `pretended`: those of `Machine`. A T4 is `capability=(7, 5)`; two GPUs are `count=2`; a wheel without
kernels is `capability=(6, 0), archs=("sm_75", "sm_80")`; 64 MiB of memory are `memory=2**26`.

Products in half precisions are made as by tensor cores: inputs and result are rounded, sums are float32. Autocast casts
what CUDA's lists name, forward and backward. bf16 products below capability 8.0 are an error: there they are emulated.

Not pretended: torch.compile, CUDA graphs, channels-last speed, libraries that ask the driver themselves (NVML).
"""

from pretended.machine import Count, Machine
from pretended.patches import pretended
from pretended.tensors import PretendedTensor

__all__ = ["Count", "Machine", "PretendedTensor", "pretended"]
