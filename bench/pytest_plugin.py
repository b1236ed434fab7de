"""Fixtures for whoever writes an explainer: the conformance kit as tests of a package of one's own.

pytest loads this module wherever bench is installed, so it imports nothing but pytest before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench.verifying.trial import Trial

Conformance = Callable[..., None]


@pytest.fixture(scope="session")
def conformance() -> Conformance:
    """`conformance(explainer)`: fails the test with every check that the explainer does not pass.

    `conformance(explainer, check)` runs one check and skips the test where that does not apply; `layer=` names other
    layers than layer1 to layer4 of the small net. The explainer is a registered name or path/to/file.py:attribute.
    """
    trials: dict[tuple[str, tuple[str, ...]], Trial] = {}

    def conforms(explainer: str, check: str | None = None, *, layer: str | Sequence[str] = ()) -> None:
        from bench.commands.verify import small_trial
        from bench.verifying.conformance import CHECKS, outcome_of

        layers = (layer,) if isinstance(layer, str) else tuple(layer)
        key = (explainer, layers)
        if key not in trials:
            trials[key] = small_trial(explainer, layers)
        found = [outcome_of(trials[key], name) for name in ((check,) if check else CHECKS)]
        reasons = [f"{each.name}: {each.words}" for each in found if each.status == "failed"]
        if reasons:
            pytest.fail(f"{explainer} does not keep the contract\n" + "\n".join(reasons), pytrace=False)
        if check and found[0].status == "not applicable":
            pytest.skip(found[0].words)

    return conforms


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `conformance_check` runs once for each check, under its name."""
    if "conformance_check" in metafunc.fixturenames:
        from bench.verifying.conformance import CHECKS

        metafunc.parametrize("conformance_check", list(CHECKS))
