"""The public functions: each takes the fields of its request as keywords, and does what its command does.

The first field may stand without its name. `workspace=` says where to work and who is told.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from bench.commands import (
    adopt as _adopt,
    compare as _compare,
    demo as _demo,
    evaluate as _evaluate,
    explain as _explain,
    explain_pictures as _explain_pictures,
    export as _export,
    faithfulness as _faithfulness,
    judge as _judge,
    known_answers as _known_answers,
    lr_find as _lr_find,
    report as _report,
    sweep as _sweep,
    timing as _timing,
    train as _train,
    verify as _verify,
)
from bench.errors import did_you_mean
from bench.fields import Request
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
    KnownAnswersRequest,
    LrFindRequest,
    ReportRequest,
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
        return _asked(kind, command, args, kwargs)

    found: Callable[Given, Found] = _described(call, kind, command)
    return found


def many_runs(kind: Callable[Given, Wanted], command: Callable[[Wanted, Workspace], Found]) -> ManyRuns[Given, Found]:
    """The same of a command that takes several runs."""

    def call(*runs: Any, **kwargs: Any) -> Found:  # noqa: ANN401 (the overloads say what it takes)
        return _asked(kind, command, runs if len(runs) < 2 else [runs], kwargs)

    found: Any = _described(call, kind, command)
    first, *rest = found.__signature__.parameters.values()
    runs = first.replace(kind=inspect.Parameter.VAR_POSITIONAL, default=inspect.Parameter.empty)
    found.__signature__ = found.__signature__.replace(parameters=[runs, *rest])
    return found  # type: ignore[no-any-return]


def _asked(
    kind: Callable[..., Wanted],
    command: Callable[[Wanted, Workspace], Found],
    args: Sequence[Any],
    given: Mapping[str, Any],
) -> Found:
    """What comes of a call; a TypeError about its keywords speaks of the function that was called."""
    try:
        request = kind(*args, **given)
    except TypeError as reason:
        known = tuple(inspect.signature(kind).parameters)
        near = next((did_you_mean(each, known) for each in given if each not in known), "")
        raise TypeError(str(reason).replace(f"{kind.__name__}.__init__", command.__name__) + near) from None
    return command(request, request.workspace or Workspace())


def _described(call: Any, kind: Any, command: Callable[..., Any]) -> Any:  # noqa: ANN401
    """What `help` shows of it: the request's fields, and what the command says of what it gives."""
    known, told, fields = inspect.signature(kind).parameters, inspect.signature(command), kind.typed()
    shown = [known[each.name].replace(annotation=each.hint) for each in fields]
    where = known["workspace"].replace(annotation=Workspace | None)
    summary, returns, rest = (inspect.getdoc(command) or "").partition("\n\nReturns:")
    lines = [f"    {each.name}: {each.option.help}" for each in fields]
    arguments = "\n".join(["Args:", *lines, "    workspace: where to work, and who is told."])
    call.__name__ = call.__qualname__ = command.__name__
    call.__doc__ = f"{summary}\n\n{arguments}{returns}{rest}"
    call.__signature__ = told.replace(parameters=sorted([*shown, where], key=lambda each: each.kind))
    return call


adopt = keywords(AdoptRequest, _adopt.adopt)
compare = many_runs(CompareRequest, _compare.compare)
demo = keywords(DemoRequest, _demo.demo)
evaluate = keywords(EvaluateRequest, _evaluate.evaluate)
explain = keywords(ExplainRequest, _explain.explain)
explain_pictures = keywords(ExplainPicturesRequest, _explain_pictures.explain_pictures)
export = many_runs(ExportRequest, _export.export)
faithfulness = keywords(FaithfulnessRequest, _faithfulness.faithfulness)
find_learning_rate = keywords(LrFindRequest, _lr_find.find_learning_rate)
judge = keywords(JudgeRequest, _judge.judge)
known_answers = keywords(KnownAnswersRequest, _known_answers.known_answers)
measure = keywords(TimeRequest, _timing.measure)
report = many_runs(ReportRequest, _report.report)
sweep = keywords(TrainRequest, _sweep.sweep)
train = keywords(TrainRequest, _train.train)
verify = keywords(VerifyRequest, _verify.verify)
