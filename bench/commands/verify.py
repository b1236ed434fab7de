"""`bench.verify`: the conformance kit over plug-ins, on a small net or on a run's."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.data.transforms import prepare
from bench.errors import MissingError, UsageError, did_you_mean
from bench.explaining.plan import DEFAULT_LAYERS, INPUT_LAYER, check_layers
from bench.fields import names
from bench.nets.trained import data_of_run, open_run
from bench.request import ALL, VerifyRequest
from bench.store.predictions import choose_ids
from bench.verifying.conformance import CHECKS, Outcome, outcomes_of
from bench.verifying.toy_net import CLASSES, SMALL, small_images, small_net
from bench.verifying.trial import Stage, Trial
from bench.workspace import Workspace

IMAGES = 3
REFERENCE = "reference"


@dataclass(frozen=True)
class Verified:
    """What the kit found about one explainer.

    Attributes:
        explainer: the name the user gave.
        layers: at which it was tried.
        outcomes: one a check.
        seconds: what that took.
    """

    explainer: str
    layers: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The checks that failed; none for an explainer that keeps its contract."""
        return tuple(each for each in self.outcomes if each.status == "failed")


def verify(request: VerifyRequest, workspace: Workspace) -> tuple[Verified, ...]:
    """Try whether explainers keep the contract, on three images, on the CPU.

    Without a run they are tried on a net of width 8 and images made for the purpose, at layer1 to layer4; on a run's
    model at its last two.

    Returns:
        One for each explainer, in the order asked for. A plug-in that breaks is a result, not an error; with `all`
        so is one that does not load.

    Raises:
        UsageError: an explainer, layer or run that is not there.
        MissingError: an explainer asked for by its name that does not load.
    """
    asked, layers, run = names(request.explainer), names(request.layer), request.run
    if not asked:
        raise UsageError("no explainer named", try_="bench verify all")
    everyone = ALL in asked
    wanted = tuple(workspace.explainers) if everyone else asked
    specs = {name: _spec_of(name, workspace, forgiving=everyone) for name in wanted}
    stage = small_stage(layers) if run is None else run_stage(run, layers, request.data, workspace)
    with threads(1 if run is None else torch.get_num_threads()):
        return tuple(_verified(name, spec, stage, workspace) for name, spec in specs.items())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads within a block: the small net's layers are too small to be shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spec_of(name: str, place: Workspace, *, forgiving: bool) -> ExplainerSpec | str:
    """The plug-in, or why it does not load."""
    try:
        return place.explainers[name]
    except MissingError as error:
        if not forgiving:
            raise
        return error.message


def _verified(name: str, spec: ExplainerSpec | str, stage: Stage, place: Workspace) -> Verified:
    if isinstance(spec, str):
        return Verified(name, (), (Outcome("loads", "failed", spec),), 0.0)
    started, trial, outcomes = time.monotonic(), trial_of(name, spec, stage, place), []
    with place.progress.track(f"verify {name}", len(CHECKS)) as task:
        for outcome in outcomes_of(trial):
            outcomes.append(outcome)
            task.advance(note=outcome.name)
    return Verified(name, trial.layers, tuple(outcomes), time.monotonic() - started)


def trial_of(name: str, spec: ExplainerSpec, stage: Stage, place: Workspace) -> Trial:
    """A plug-in on a stage; an input method at `input`, and the reference held against something else than itself."""
    layers = (INPUT_LAYER,) if spec.output == "input" else stage.layers
    known = REFERENCE in place.explainers and name != REFERENCE and bool(spec.claims)
    reference = place.explainers[REFERENCE].explain if known else None
    return Trial(**{**vars(stage), "layers": layers}, spec=spec, reference=reference)


def small_trial(name: str, layers: Sequence[str] = (), workspace: Workspace | None = None) -> Trial:
    """A plug-in on the small net."""
    place = workspace or Workspace()
    return trial_of(name, place.explainers[name], small_stage(layers), place)


def small_stage(layers: Sequence[str] = ()) -> Stage:
    """The small net with images made for the purpose; always the same.

    Raises:
        UsageError: a layer that it does not have.
    """
    net, images = small_net(), small_images(IMAGES)
    known = [name for name, _ in net.named_modules() if name]
    for layer in layers:
        if layer not in known:
            raise UsageError(
                f"'{layer}' is not a layer of the small net{did_you_mean(layer, known)}",
                try_="--layer layer4.1.bn2, or --run RUN for another model",
            )
    return Stage(net, tuple(layers) or SMALL.layers, images, targets_of(net, images), CLASSES)


def run_stage(run: str, layers: Sequence[str], data: str | None, place: Workspace) -> Stage:
    """A run's model, and the first of the images it got wrong, or of all where it got too few wrong.

    Raises:
        StoreError: no such run, or it did not finish.
        UsageError: a layer that its model does not have.
    """
    trained = open_run(run, "cpu", place)
    chosen = tuple(layers) or trained.spec.layers[-DEFAULT_LAYERS:]
    check_layers(trained, chosen)
    predictions = trained.run.predictions
    ids = choose_ids(predictions, "wrong", IMAGES)
    ids = ids if len(ids) == IMAGES else choose_ids(predictions, "all", IMAGES)
    pictures = data_of_run(trained.record, data, place).test.images[torch.from_numpy(ids)]
    images = prepare(pictures, trained.statistics)
    return Stage(trained.model, chosen, images, targets_of(trained.model, images), len(trained.classes))


def targets_of(model: nn.Module, images: Tensor) -> Tensor:
    """(N, 2) the class that each image is taken for, and another one, which differs from image to image."""
    with torch.no_grad():
        logits = model(images)
    classes, first = logits.shape[1], logits.argmax(dim=1)
    steps = 1 + torch.arange(len(images)) % max(1, classes - 1)
    return torch.stack([first, (first + steps) % classes], dim=1)
