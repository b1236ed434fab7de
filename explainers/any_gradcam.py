"""Any class of pytorch-grad-cam's that takes a model and layers, by its name there.

Where the library's own steps can be stopped before its ReLU, scaling and resizing, the map is raw; else it is the
picture that the library's users get.
"""

# The library's classes are half typed, and wrongly where an array is called a Tensor; ours are checked all the same.
# mypy: disable-error-code="no-untyped-call, arg-type, attr-defined, misc, override"

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import signature
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from .by_name import Classes, Method, Question, RefusedError, parameters

STEPS = ("forward", "compute_cam_per_layer", "aggregate_multi_layers")  # of the library's base class


def ways(kind: Any) -> list[Method]:  # noqa: ANN401 (a class of the library)
    """How a class is called, raw before finished; nothing for one that takes no model."""
    made = parameters(kind)
    if "model" not in made:
        return []
    return [Method(True, partial(ask, kind, raw=raw)) for raw in (True, False)]


def ask(kind: Any, question: Question, *, raw: bool) -> Tensor:  # noqa: ANN401
    """(N, h, w) of a class for one target an image.

    Raises:
        RefusedError: it is not called with images and targets, or gives no raw map.
    """
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    called = parameters(getattr(kind, "forward", kind.__call__))
    if "target_layers" not in parameters(kind) or not {"input_tensor", "targets"} <= called.keys():
        words = f"it takes {', '.join(parameters(kind))}, then {', '.join(called)}"
        raise RefusedError(f"{words}: not layers, images and targets")
    images, targets = question.images, question.targets.tolist()
    with quiet(kind):
        cam = made(kind, question, raw=raw)
        if "target_idx" in called:  # it makes targets of its own for this class
            given = [cam(image[None], target_idx=target) for image, target in zip(images, targets, strict=True)]
        else:
            given = [cam(images, [ClassifierOutputTarget(target) for target in targets])]
    if raw != all(isinstance(each, list) for each in given):
        raise RefusedError("its steps are its own, so that none is left out")
    return torch.cat([torch.as_tensor(each[0] if raw else each) for each in given])


def made(kind: Any, question: Question, *, raw: bool) -> Any:  # noqa: ANN401
    """An object of a class, or of the same class stopped before its map is finished."""
    from pytorch_grad_cam.base_cam import BaseCAM

    options = {}
    if raw and issubclass(kind, BaseCAM) and all(getattr(kind, step) is getattr(BaseCAM, step) for step in STEPS):
        kind = stopped(kind)
    elif raw and base_of(kind):
        options = {"base_method": stopped(base_of(kind))}
    cam = kind(question.net, [question.layer], **options)
    if not raw or not getattr(cam, "detach", True):  # as its users have it, or for the gradient of a gradient
        question.net.requires_grad_(True)  # `borrowed` freezes them, and puts back what they were
    return cam


def base_of(kind: Any) -> Any:  # noqa: ANN401
    """The class that a class works with, unless told otherwise; None for one that works by itself."""
    return getattr(signature(kind).parameters.get("base_method"), "default", None)


def stopped(kind: Any) -> Any:  # noqa: ANN401
    """A class whose maps come out before ReLU, scaling and resizing, each layer's for itself."""
    from .replay import Raw

    return type(kind.__name__, (Raw, kind), {})


@contextmanager
def quiet(kind: Any) -> Iterator[None]:  # noqa: ANN401
    """Without the progress bars that some classes draw."""
    kinds = [*kind.__mro__, *getattr(base_of(kind), "__mro__", ())]
    with ExitStack() as stack:
        for module in {sys.modules[each.__module__] for each in kinds}:
            if hasattr(module, "tqdm"):
                stack.enter_context(patch.object(module, "tqdm", NoBar))
        yield


class NoBar:
    """Stands for the module `tqdm`."""

    @staticmethod
    def tqdm(steps: Iterable[Any]) -> Iterable[Any]:
        """The steps as they are."""
        return steps


def grad_cam() -> ModuleType:
    """The library, imported."""
    import pytorch_grad_cam

    module: ModuleType = pytorch_grad_cam
    return module


GRADCAMS = Classes("pytorch_grad_cam", "grad-cam", grad_cam, ways)
