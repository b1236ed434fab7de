"""What `--fail-if` may say: what can be read, and what is offered for what cannot."""

import pytest
from hypothesis import given, strategies as some

from bench.errors import UsageError
from bench.request import CompareRequest, TimeRequest
from bench.thresholds import Rate, quoted, read_threshold

A, B = Rate("accuracy", ("a",)), Rate("accuracy", ("b",))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("accuracy < 0.92", (Rate("accuracy"), "<", None, 1.0, 0.92)),
        ("accuracy[a]>.5e2", (A, ">", None, 1.0, 50.0)),
        ("accuracy[a] < accuracy[b]", (A, "<", B, 1.0, 0.0)),
        (" accuracy[b]<accuracy[a]-0.01 ", (B, "<", A, 1.0, -0.01)),
        ("accuracy[a] > 0.9*accuracy[b]", (A, ">", B, 0.9, 0.0)),
        ("recall[a, cat] < 1", (Rate("recall", ("a", "cat")), "<", None, 1.0, 1.0)),
        ("recall[a,ice cream ] < 1", (Rate("recall", ("a", "ice cream")), "<", None, 1.0, 1.0)),
        ("recall[a,'say \"x\"'] < 1", (Rate("recall", ("a", 'say "x"')), "<", None, 1.0, 1.0)),
        ('recall["runs/my [net], 2","red, pink"] < 1',
         (Rate("recall", ("runs/my [net], 2", "red, pink")), "<", None, 1.0, 1.0)),
        ("forward[my.py:NET(width=10, act='relu')] > 3",
         (Rate("forward", ("my.py:NET(width=10, act='relu')",)), ">", None, 1.0, 3.0)),
        ("explain[timm:resnet34@cifar@64,captum,layer4.1.bn2] < 2",
         (Rate("explain", ("timm:resnet34@cifar@64", "captum", "layer4.1.bn2")), "<", None, 1.0, 2.0)),
    ],
)  # fmt: skip
def test_the_four_forms_are_read_with_names_in_quotes_where_need_be(text: str, found: tuple[object, ...]) -> None:
    read = read_threshold(text)
    assert (read.left, read.sign, read.right, read.factor, read.offset) == found
    assert read.text == text.strip()


@given(some.text(min_size=1))
def test_any_name_in_quotes_is_read_as_it_is(name: str) -> None:
    assert read_threshold(f"recall[a,{quoted(name)}] < 1").left.parts == ("a", name)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ", it ends too soon"),
        ("accuracy", ", it ends too soon"),
        ("accuracy[a < 3", " from '< 3' on"),
        ("accuracy[a] = 3", " from '= 3' on"),
        ("accuracy[a] <= 3", " from '<= 3' on"),
        ("3 < accuracy[a]", ""),
        ("accuracy[a] < 2 * 3", " from '3' on"),
        ("accuracy[a] < -3", " from '-3' on"),
        ("accuracy[a] < 1 < 2", " from '< 2' on"),
        ("accuracy[a] < 3 accuracy[b]", " from 'accuracy[b]' on"),
        ("0.9 * accuracy[a] < accuracy[b]", ""),
        ("accuracy[a] < accuracy[b] + 1", " from '+ 1' on"),
        ("accuracy[a] < 1 and accuracy[b] < 2", " from 'and accuracy[b] < 2' on"),
        ("recall[a,] < 1", " from '] < 1' on"),
        ("recall[a,it's] < 1", " from ''s] < 1' on"),
        ("accuracy[] < 1", " from '] < 1' on"),
        ("accuracy < 92 %", " from '%' on"),
    ],
)
def test_anything_else_is_refused_from_where_on_it_cannot_be_read(text: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_threshold(text)
    assert caught.value.message == f"cannot read the threshold '{text}'{where}"


@pytest.mark.parametrize(
    ("asked", "example"),
    [(lambda text: CompareRequest(("a", "b"), fail_if=text), "accuracy[b] < accuracy[a] - 0.01"),
     (lambda text: TimeRequest(fail_if=text), "forward[a] < 0.9 * forward[b]")],
)  # fmt: skip
def test_a_request_refuses_one_that_cannot_be_read_with_an_example_of_its_own(asked: object, example: str) -> None:
    with pytest.raises(UsageError, match="cannot read the threshold 'fast'") as caught:
        asked("fast")  # type: ignore[operator]
    assert example in caught.value.try_
