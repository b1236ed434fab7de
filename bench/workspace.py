"""Where a call works, and what the commands cannot know by themselves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.contracts import EngineSpec, ExplainerSpec, ModelSpec, Progress, Silence
from bench.registry.registry import Registry, discover


def default_cache() -> Path:
    """Where downloaded and decoded data sets lie."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("cambench", appauthor=False))


@dataclass(frozen=True)
class Workspace:
    """Where a call works and how it came about.

    Attributes:
        runs: folder of the run folders.
        cache: folder of downloaded and decoded data.
        started: UTC time of the call.
        command: the command line to store, as it was typed; empty for a call from Python.
        progress: who is told what goes on.
        save_every: seconds between two resume files of a training.
    """

    runs: Path = Path("runs")
    cache: Path = field(default_factory=default_cache)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    command: str = ""
    progress: Progress = field(default_factory=Silence)
    save_every: float = 60.0
    models: Registry[ModelSpec] = field(default_factory=lambda: discover("model", ModelSpec))
    explainers: Registry[ExplainerSpec] = field(default_factory=lambda: discover("explainer", ExplainerSpec))
    engines: Registry[EngineSpec] = field(default_factory=lambda: discover("engine", EngineSpec))

    @property
    def created(self) -> str:
        """ISO time of the call."""
        return self.started.isoformat(timespec="seconds")

    @property
    def timing(self) -> str:
        """Id of the timings of the call."""
        return self.started.strftime("%Y%m%dT%H%M%S%fZ")
