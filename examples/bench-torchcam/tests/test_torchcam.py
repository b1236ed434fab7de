"""What a plug-in's own tests look like: the conformance kit of bench, and what its library is known to get wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench.verifying.toy_net

SMALL = f"{bench.verifying.toy_net.__file__}:SMALL"  # a ResNet18 of width 8: trained in seconds
TRAIN = f"train --model {SMALL} --data digits --recipe demo --epochs 1 --run short"


def test_each_claim_of_the_contract_holds(conformance: Callable[..., None], conformance_check: str) -> None:
    conformance("torchcam", conformance_check)  # at the ends of layer1 to layer4


def test_inside_a_block_it_is_not_grad_cam(conformance: Callable[..., None]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"reference: not Grad-CAM: apart by .* at layer4.1.bn2"):
        conformance("torchcam", "reference", layer="layer4.1.bn2")


def test_judge_names_the_activation_that_was_overwritten(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        command = [sys.executable, "-m", "bench", *words, "--runs-dir", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*TRAIN.split())
    names = ("--explainer", "torchcam", "--layer", "layer4", "--layer", "layer4.1.bn2")
    found = json.loads(run("judge", "short", *names, "--limit", "4", "--json"))["verdicts"]
    verdicts = {one["layer"]: one for one in found}
    assert verdicts["layer4"]["verdict"] in ("same", "same up to rounding")
    assert verdicts["layer4.1.bn2"]["verdict"] == "wrong"
    assert "overwritten in place" in verdicts["layer4.1.bn2"]["words"]
