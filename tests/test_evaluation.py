"""Counts over the whole set, whatever the batch size; the model is left as found."""

import pytest
import torch
from tiny import TINY, tiny_data
from torch import Tensor
from torch.nn import functional

from bench import evaluation
from bench.contracts import Silence
from bench.evaluation import class_rows, predict, score
from bench.nets.weights import build_seeded
from bench.schema.page import confused_pairs

CPU = torch.device("cpu")
STATISTICS = ((0.25, 0.25, 0.25), (0.2, 0.2, 0.2))


def some_logits(count: int = 103, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, classes, generator=generator), torch.randint(0, classes, (count,), generator=generator)


def test_scores_equal_a_loop_over_the_images() -> None:
    logits, labels = some_logits()
    loss, confusion = 0.0, [[0] * 5 for _ in range(5)]
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        loss += float(row.exp().sum().log() - row[label])
        confusion[label][int(row.argmax())] += 1
    scores = score(logits, labels)
    assert scores.loss == pytest.approx(loss / 103, rel=1e-12)
    assert [list(row) for row in scores.confusion] == confusion
    assert (scores.correct, scores.total) == (sum(confusion[each][each] for each in range(5)), 103)


def test_a_mean_of_batch_means_would_be_another_figure() -> None:
    # G13, G29: the planted mistake gives another loss, so the test above would notice it.
    logits, labels = some_logits()
    pairs = zip(logits.split(50), labels.split(50), strict=True)
    means = [functional.cross_entropy(batch, target).item() for batch, target in pairs]
    assert sum(means) / len(means) != pytest.approx(score(logits, labels).loss, rel=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_predictions_do_not_depend_on_the_batch_size(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data, net = tiny_data(test=8), build_seeded(TINY, 4, 0)
    whole, _ = predict(net, data.test.images, STATISTICS, device=CPU, progress=Silence())
    monkeypatch.setattr(evaluation, "BATCH", batch)
    parts, _ = predict(net, data.test.images, STATISTICS, device=CPU, progress=Silence())
    assert torch.allclose(whole, parts, rtol=0, atol=1e-5)
    assert score(whole, data.test.labels).loss == pytest.approx(score(parts, data.test.labels).loss, abs=1e-6)


def test_prediction_uses_eval_mode_and_puts_every_training_flag_back() -> None:
    data, net = tiny_data(), build_seeded(TINY, 4, 0)
    net.train()
    net.layer3.eval()
    before = {name: module.training for name, module in net.named_modules()}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    predict(net, data.test.images, STATISTICS, device=CPU, progress=Silence())
    assert {name: module.training for name, module in net.named_modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_per_class_mean_equals_overall_accuracy_on_balanced_data() -> None:
    labels = torch.arange(5).repeat(40)
    scores = score(torch.randn(200, 5, generator=torch.Generator().manual_seed(1)), labels)
    rows = class_rows(scores.confusion, tuple("abcde"))
    assert (sum(row.total for row in rows), sum(row.predicted for row in rows)) == (200, 200)
    assert sum(row.recall.value for row in rows) / 5 == pytest.approx(scores.accuracy, abs=1e-12)


def test_confused_pairs_are_sorted_and_leave_out_what_is_right() -> None:
    confusion = ((90, 3, 0), (5, 80, 5), (0, 1, 99))
    assert confused_pairs(confusion) == [(1, 0, 5), (1, 2, 5), (0, 1, 3), (2, 1, 1)]
