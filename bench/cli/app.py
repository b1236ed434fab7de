"""The application: which verbs there are, under which heading and in which order."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from bench import __version__, request as requests
from bench.cli import commands
from bench.cli.console import Answer
from bench.cli.options import Kinds
from bench.cli.session import Group, add_command
from bench.workspace import Workspace

Verb = tuple[Kinds, Callable[[Any, Workspace], Answer], bool]

app = typer.Typer(
    name="bench",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train image classifiers, explain their errors with several libraries, and check which maps can be trusted.",
    epilog="Start with bench demo: it shows everything on handwritten digits, offline, in minutes.",
)
VERBS: tuple[Verb, ...] = (  # what a verb means, what it does, whether it makes a page that can be opened
    ({"": requests.DemoRequest}, commands.demo, True),
    ({"": requests.TrainRequest}, commands.train, True),
    ({"": requests.AdoptRequest}, commands.adopt, True),
    ({"": requests.ExplainRequest, "image": requests.ExplainPicturesRequest}, commands.explain, True),
    ({"": requests.CompareRequest}, commands.compare, True),
    ({"": requests.ReportRequest}, commands.report, True),
    ({"": requests.ExportRequest}, commands.export, False),
    (
        {
            "": requests.JudgeRequest,
            "faithfulness": requests.FaithfulnessRequest,
            "known_answers": requests.KnownAnswersRequest,
        },
        commands.judge,
        False,
    ),
    ({"": requests.TimeRequest}, commands.time_, False),
    ({"": requests.VerifyRequest}, commands.verify, False),
    ({"": requests.EvaluateRequest}, commands.evaluate, False),
    ({"": requests.ListRequest}, commands.list_, False),
    ({"": requests.ShowRequest}, commands.show, False),
    ({"": requests.DoctorRequest}, commands.doctor, False),
    ({"": requests.SchemaRequest}, commands.schema, False),
    ({"": requests.RmRequest}, commands.remove, False),
    ({"": requests.LrFindRequest}, commands.lr_find, False),
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


for _kinds, _command, _opens in VERBS:
    add_command(app, _kinds, _command, opens=_opens)
