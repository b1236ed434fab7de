"""Layer-wise relevance propagation by zennit's rules, also where a net adds, averages or clips without a module.

zennit sets its rules on modules. The sum of a residual block is none, nor is a mean that is a function; left alone, a
sum would hand the whole relevance on to both sides. So those calls get zennit's rule for sums here.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from bench.contracts import ExplainerSpec
from bench.errors import ContractError, MissingError

from .layers import shape_of
from .pixels import check_reached, pixels
from .rescale import OF_ONE_VALUE

STABILIZER = 1e-6  # zennit's
CLOSE = 1e-3  # of the largest logit: how far norms that are merged into convolutions may move the logits
ADDING = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__})
AVERAGING = frozenset({torch.mean, Tensor.mean, F.avg_pool2d, F.adaptive_avg_pool2d})
# Two activations in one value: no rule says how much of it is due to either.
PRODUCTS = frozenset(
    {
        *(torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__),
        *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, torch.einsum, F.scaled_dot_product_attention),
    }
)
NOT_MERGED = "lrp cannot merge this network's norms into its convolutions: they do not follow each other"
INSTEAD = "--explainer deeplift, which knows more functions"


def lrp(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """LRP epsilon-plus: the logit handed back from layer to layer, in shares.

        convolutions: R_i = sum over j of (x_i w_ij)+ / (sum over i of (x_i w_ij)+, and b_j+) x R_j      (z-plus)
        linear layers, sums, means: the same without the +                                              (epsilon)
        ReLU and its like: R_i = R_j

    Norms are merged into the convolutions before them, which leaves the logits as they are.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits; what biases take is lost on the way.

    Raises:
        MissingError: zennit is not installed.
        ContractError: as in `saliency`; a net for which there is no rule (attention, gates, other norms), or whose
            norms cannot be merged; names what.

    Source: Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2019; zennit.composites.EpsilonPlus.
    """
    try:
        from zennit.composites import EpsilonPlus
    except ImportError as reason:
        raise MissingError("lrp needs zennit, which is not installed", try_="pip install 'cambench[lrp]'") from reason
    with pixels(model, layers, images, targets) as request:
        check_known(model)
        check_reached(model, images)  # where no gradient is recorded, zennit's hooks fail
        with torch.no_grad():
            wanted, net = model(request.images[:1]), merged(model)
        with EpsilonPlus(epsilon=STABILIZER, stabilizer=STABILIZER).context(net):

            def relevance(inputs: Tensor, target: Tensor) -> Tensor:
                with Rules():
                    logits = net(inputs)
                check_merged(logits[:1], wanted)
                chosen = logits.gather(1, target[:, None])
                (shares,) = torch.autograd.grad(chosen, inputs, chosen.detach())
                return shares.sum(1)

            return request.maps(relevance)


def merged(model: nn.Module) -> nn.Module:
    """A copy in which every norm does nothing, since the convolution before it does its work.

    zennit's own way leaves each norm dividing by the root of 1 + 1e-5.

    Raises:
        ContractError: a norm that no convolution of as many channels stands before.
    """
    copy = deepcopy(model)
    last: nn.Module = copy
    for leaf in (each for each in copy.modules() if not list(each.children())):
        if isinstance(leaf, BatchNorm):
            mean, variance = leaf.running_mean, leaf.running_var
            if mean is None or variance is None or not isinstance(last, nn.Conv2d) or len(mean) != last.out_channels:
                raise ContractError(NOT_MERGED, try_=INSTEAD)
            norm = (mean, variance, leaf.eps, leaf.weight, leaf.bias)
            last.weight, last.bias = fuse_conv_bn_weights(last.weight, last.bias, *norm)
            neutral = ((mean, 0.0), (variance, 1 - leaf.eps), (leaf.weight, 1.0), (leaf.bias, 0.0))
            for values, value in neutral:
                if values is not None:  # a norm may have no weights
                    values.fill_(value)
        last = leaf
    return copy.requires_grad_(False)


def check_known(model: nn.Module) -> None:
    """ContractError for the first module with parameters of its own for which zennit has no rule."""
    for name, module in model.named_modules():
        known = isinstance(module, (BatchNorm, nn.Conv2d, nn.Linear))
        if not known and next(module.parameters(recurse=False), None) is not None:
            raise ContractError(f"lrp has no rule for '{name}', a {type(module).__name__}", try_=INSTEAD)


def check_merged(logits: Tensor, wanted: Tensor) -> None:
    """ContractError where the net with its norms merged does not give the logits that it gave before."""
    if not torch.allclose(logits, wanted, rtol=0, atol=CLOSE * float(wanted.abs().max())):
        raise ContractError(NOT_MERGED, try_=INSTEAD)


class Rules(TorchFunctionMode):
    """Gives the rules to calls that are no modules."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Torch asks here for every function it runs; not for what runs in here."""
        options = kwargs or {}
        values = [each for each in args if isinstance(each, Tensor) and each.requires_grad]
        if func in PRODUCTS and len(values) > 1:
            raise ContractError(
                f"lrp has no rule for a product of activations ({' and '.join(map(shape_of, values))})", try_=INSTEAD
            )
        if (func in ADDING and len(values) == 2) or (func in AVERAGING and len(values) == 1):
            made = Shared.apply(lambda *given: given_to(func, given, args, options), *values)
        elif func in OF_ONE_VALUE and len(values) == 1:
            made = Passed.apply(lambda given: given_to(func, (given,), args, options), *values)
        else:
            return func(*args, **options)
        # Whoever wrote in place may go on with what was given, not with what came back.
        in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
        return values[0].copy_(made) if in_place or options.get("inplace") else made


def given_to(
    func: Callable[..., Any], tensors: Sequence[Tensor], args: tuple[Any, ...], options: dict[str, Any]
) -> Tensor:
    """A call with copies of the tensors that record gradients in the place of those."""
    rest = iter(tensors)
    made: Tensor = func(
        *(next(rest).clone() if isinstance(each, Tensor) and each.requires_grad else each for each in args), **options
    )
    return made


class Shared(torch.autograd.Function):
    """A call that hands relevance back in the shares that each value has in the result."""

    @staticmethod
    def forward(ctx: Any, call: Callable[..., Tensor], *values: Tensor) -> Tensor:  # noqa: ANN401 (torch's own)
        """The result of the call."""
        with torch.enable_grad():
            # Copies, since what was given may be written over.
            ctx.values = [each.detach().clone().requires_grad_() for each in values]
            ctx.result = call(*ctx.values)
        result: Tensor = ctx.result.detach().clone()
        return result

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:  # noqa: ANN401
        """Value x gradient of the result, where that hands back the relevance over the result."""
        result = ctx.result.detach()
        part = relevance / (result + STABILIZER * torch.where(result < 0, -1.0, 1.0))
        slopes = torch.autograd.grad(ctx.result, ctx.values, part)
        return None, *((value * slope).detach() for value, slope in zip(ctx.values, slopes, strict=True))


class Passed(torch.autograd.Function):
    """A call that hands all relevance back."""

    @staticmethod
    def forward(ctx: Any, call: Callable[..., Tensor], value: Tensor) -> Tensor:  # noqa: ANN401
        """The result of the call."""
        return call(value.detach())

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:  # noqa: ANN401
        """The same to the value."""
        return None, relevance


LRP = ExplainerSpec(
    name="lrp",
    explain=lrp,
    source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; zennit.composites.EpsilonPlus",
    backend="zennit",
    output="input",
    cost=lambda layer: 6.0,
    max_batch=32,
)
