"""The public functions: each takes the fields of its request as keywords, and does what its command does.

The first field may stand without its name. `workspace=` says where to work and who is told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from bench.commands.adopt import adopt as _adopt
from bench.commands.compare import compare as _compare
from bench.commands.demo import demo as _demo
from bench.commands.evaluate import evaluate as _evaluate
from bench.commands.explain import explain as _explain
from bench.commands.explain_pictures import explain_pictures as _explain_pictures
from bench.commands.export import export as _export
from bench.commands.faithfulness import faithfulness as _faithfulness
from bench.commands.judge import judge as _judge
from bench.commands.lr_find import find_learning_rate as _find_learning_rate
from bench.commands.report import report as _report
from bench.commands.sweep import sweep as _sweep
from bench.commands.timing import measure as _measure
from bench.commands.train import train as _train
from bench.commands.verify import verify as _verify
from bench.request import (
    AdoptRequest,
    CompareRequest,
    DemoRequest,
    EvaluateRequest,
    ExplainPicturesRequest,
    ExplainRequest,
    ExportRequest,
    FaithfulnessRequest,
    JudgeRequest,
    LrFindRequest,
    ReportRequest,
    Request,
    TimeRequest,
    TrainRequest,
    VerifyRequest,
)
from bench.workspace import Workspace

Given = ParamSpec("Given")
Wanted = TypeVar("Wanted", bound=Request)
Wanted_contra = TypeVar("Wanted_contra", bound=Request, contravariant=True)
Found = TypeVar("Found")
Found_co = TypeVar("Found_co", covariant=True)


class ManyRuns(Protocol[Given, Found_co]):
    """A function that takes several runs, one after the other or as a list."""

    @overload
    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Found_co: ...
    @overload
    def __call__(self, first: str, second: str, /, *args: Given.args, **kwargs: Given.kwargs) -> Found_co: ...


def keywords(kind: Callable[Given, Wanted], command: Callable[[Wanted, Workspace], Found]) -> Callable[Given, Found]:
    """A command as a function of its request's fields."""

    def call(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        return _run(kind(*args, **kwargs), command)

    found: Callable[Given, Found] = _described(call, kind, command)
    return found


def many_runs(kind: Callable[Given, Wanted], command: Callable[[Wanted, Workspace], Found]) -> ManyRuns[Given, Found]:
    """The same of a command that takes several runs."""

    def call(*runs: Any, **kwargs: Any) -> Found:  # noqa: ANN401 (the overloads say what it takes)
        several = runs[0] if len(runs) == 1 else runs
        return _run(kind(*([several] if runs else []), **kwargs), command)  # type: ignore[arg-type]

    found: ManyRuns[Given, Found] = _starred(_described(call, kind, command))
    return found


def _run(request: Wanted, command: Callable[[Wanted, Workspace], Found]) -> Found:
    return command(request, request.workspace or Workspace())


def _described(call: Any, kind: Any, command: Callable[..., Any]) -> Any:  # noqa: ANN401
    """What `help` and editors show: the request's fields with their types and help, and what the command gives."""
    typed = {each.name: each for each in kind.typed()}
    given = inspect.signature(kind).parameters.values()
    shown = [each.replace(annotation=typed[each.name].hint) for each in given if each.name in typed]
    where = inspect.Parameter("workspace", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Workspace | None)
    call.__signature__ = inspect.Signature([*shown, where])
    call.__name__ = call.__qualname__ = command.__name__
    lines = [f"    {name}: {each.option.help}" for name, each in typed.items()]
    call.__doc__ = "\n".join([inspect.getdoc(command) or "", "", "Args:", *lines])
    return call


def _starred(call: Any) -> Any:  # noqa: ANN401
    """The same, its first field as many as one likes."""
    first, *rest = call.__signature__.parameters.values()
    runs = first.replace(kind=inspect.Parameter.VAR_POSITIONAL, default=inspect.Parameter.empty)
    call.__signature__ = call.__signature__.replace(parameters=[runs, *rest])
    return call


adopt = keywords(AdoptRequest, _adopt)
compare = many_runs(CompareRequest, _compare)
demo = keywords(DemoRequest, _demo)
evaluate = keywords(EvaluateRequest, _evaluate)
explain = keywords(ExplainRequest, _explain)
explain_pictures = keywords(ExplainPicturesRequest, _explain_pictures)
export = keywords(ExportRequest, _export)
faithfulness = keywords(FaithfulnessRequest, _faithfulness)
find_learning_rate = keywords(LrFindRequest, _find_learning_rate)
judge = keywords(JudgeRequest, _judge)
measure = keywords(TimeRequest, _measure)
report = many_runs(ReportRequest, _report)
sweep = keywords(TrainRequest, _sweep)
train = keywords(TrainRequest, _train)
verify = keywords(VerifyRequest, _verify)
