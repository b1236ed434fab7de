"""The pages as text: what is escaped, how large they get, what is said when something is not there."""

import html
import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from gallery_items import items_of
from page_factory import HOSTILE, estimate, make_page, quantise, render_page, with_items
from PIL import Image

from bench.reports import charts, derived, filters
from bench.reports.payload import COLUMNS, shard_json, shards_of, sprite_sheet
from bench.reports.render import inside, notebook_html, page_json, script
from bench.reports.tables import document
from bench.reports.telling import telling_errors
from bench.schema.page import EpochPoint, Estimate, Finding, Score, VerdictView
from bench.schema.verdicts import Verdict, why

TAG = re.compile(r"<(script|img|iframe|object|link)\b[^>]*>")


def text_of(page: str) -> str:
    """What a reader of a page sees: no script, no style, no tags, spaces as one."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_same_page_gives_the_same_bytes_and_asks_for_nothing_from_outside(kind: str) -> None:
    page = render_page(make_page(kind))
    assert (page, page_json(make_page(kind))) == (render_page(make_page(kind)), page_json(make_page(kind)))
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)
    assert "http://" not in page and "https://" not in page and "default-src 'none'" in page


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_hostile_names_are_text_in_the_markup_and_in_the_data(kind: str) -> None:
    page = make_page(kind, classes=HOSTILE)
    hostile = replace(
        with_items(page, (replace(item, file=HOSTILE[1]) for item in items_of(page))),
        title=HOSTILE[1],
        findings=(Finding(HOSTILE[0], HOSTILE[1], 'x" onclick="alert(1)', "", HOSTILE[3]),),
        runs=tuple(replace(run, run=HOSTILE[0], model=HOSTILE[1]) for run in page.runs),
        provenance=((HOSTILE[0], ((HOSTILE[1], HOSTILE[1]),)),),
    )
    rendered = render_page(hostile)
    picture = re.compile(r'<img src="data:image/webp;base64,[^"]*" width="\d+" [^<>]*>')
    drawing = re.compile(r'<img class="drawn (light|dark)" src="data:image/svg')
    tags = [match[0] for match in TAG.finditer(rendered) if not drawing.match(match[0])]
    drawn = sum(len(one.tiles) for one in telling_errors(hostile))
    assert sum(picture.fullmatch(tag) is not None for tag in tags) == len(page.gallery.ids) + drawn
    assert [tag for tag in tags if not picture.fullmatch(tag)] == [
        '<link rel="icon" href="data:,">', "<script>", '<script type="application/json" id="data">',
        '<script type="application/json" id="shard0">', "<script>",
    ]  # fmt: skip
    assert "onclick" not in re.sub(r"&#34;.*?&#34;", "", rendered.split('id="data"')[0]).replace('x" onclick', "")
    assert data_of(rendered)["files"] == [HOSTILE[1]] * len(page.gallery.ids)
    assert data_of(rendered)["classes"] == list(HOSTILE) and "<script>alert(1)</script>" in text_of(rendered)


def test_verdicts_and_scores_stand_in_the_matrix_with_their_cause_and_a_link_to_the_maps() -> None:
    page = make_page("comparison")
    wrong = Verdict(
        "captum", "layer4", 1, "wrong", words="the sign <is> reversed", instead="use another", difference=0.5
    )
    elsewhere = Verdict("own, one", "layer4.1.bn2", 1, "same", difference=0.0, moved=3e-7)
    scores = (
        Score(1, "captum", "layer4", 0.42, 0.38, 0.46, 0.1, 24, "above"),
        Score(1, "random", "layer4", None, None, None, None, 3, "no evidence"),
    )
    judged = replace(page, verdicts=(VerdictView(1, wrong), VerdictView(1, elsewhere)), scores=scores)
    shown = render_page(judged)
    text = text_of(shown)
    for words in (f"wrong {' '.join(why(wrong).split())}", "the sign <is> reversed", "same no maps on this page",
                  "hiding 0.420 (0.380 to 0.460), other images 0.100"):  # fmt: skip
        assert words in text
    assert '<a href="#x=captum&amp;l=layer4&amp;m=1">' in shown and '<b class="verdict bad">wrong</b>' in shown
    assert "verdict" not in render_page(replace(page, verdicts=())).split("</style>")[1].split("<script>")[0]


def row_of(page: str, name: str) -> str:
    """The first line of a table of the page, as text, that begins with a name."""
    rows = (text_of(row) for row in re.findall(r"<tr.*?</tr>", page, re.S))
    return next(row for row in rows if re.match(rf"(\d+ )?{name} ", row))


def test_speeds_stand_with_interval_ratio_and_timing_id_and_what_noise_forbids_is_struck_out() -> None:
    page = make_page("comparison", classes=("cat", "dog"))
    shown = render_page(page)
    section = shown.split('<h2 id="speed">')[1].split("</section>")[0]
    told = text_of(section)
    assert "Timing T1 : some CPU, 2 threads, 12 rounds, batch 4, channels_last. Spread over 10 %: m2." in told
    assert "Taken 2026-11-21 02:52 UTC by bench time" in told
    arms = {one.arm.name: one.arm for one in page.speeds[0].arms}
    second, ratio = arms["forward[m1]"], arms["forward[m1]"].ratio
    row, first = row_of(section, "timm_resnet18"), derived.view_of(page).labels[0]
    for words in (f"{second.rate:.2f} {second.low:.2f} to", f"{ratio.value:.3f}× (slower)", f"of {first}"):
        assert words in row
    struck = next(row for row in re.findall(r"<tr.*?</tr>", section, re.S) if "spread over" in row)
    assert re.search(r"<s>[\d.]+×</s><small class=\"bad\">spread over 25 %</small>", struck)
    assert [row.count('class="grey"') for row in re.findall(r"<tr.*?>", section) if "grey" in row] == [1, 1]
    assert "unsettled" in section
    models = shown.split('<h2 id="models">')[1].split("</section>")[0]
    assert f"{second.rate:.2f}" in row_of(models, "timm_resnet18") and "812" in row_of(models, "timm_resnet18")
    assert "timing T1" in text_of(models)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_without_a_timing_no_rate_is_compared_and_a_comparison_shows_none(kind: str) -> None:
    shown = render_page(make_page(kind, speeds=False))
    assert 'id="speed"' not in shown
    tables = text_of(shown.split('id="models"')[1].split('id="curves"')[0])
    assert kind == "run" or "images/s" not in tables
    words = "were not measured in turns and cannot be compared" if kind == "comparison" else "speeds are not compared"
    assert words in text_of(shown) and "×</small>" not in shown and "ms an image" not in shown


def test_a_cell_of_the_matrix_shows_the_rate_in_turns_where_there_is_one() -> None:
    page = make_page("run", explainers=("gradcam", "captum"))
    rows = [spot for row in derived.view_of(page).matrix[0] for spot in row.spots if spot]
    timed = [(spot.cell.explainer, spot.cell.layer) for spot in rows if spot.speed and spot.cell]
    layer = page.speeds[0].arms[-1].arm.layer
    assert timed == [("gradcam", layer), ("captum", layer)] and len({cell.layer for cell in page.cells}) > 1
    rate = next(one.arm.rate for one in page.speeds[0].arms if one.arm.what == "explain")
    assert f"{filters.rate(1000 / rate)} ms" in render_page(page)


def test_finding_links_only_to_places_the_page_has() -> None:
    found = (Finding("", "here", "#errors", "", ""), Finding("", "nowhere", "x", "", ""))
    rendered = render_page(replace(make_page(), findings=found))
    assert '<a href="#errors">here</a>' in rendered and "nowhere</a>" not in rendered


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_every_place_a_finding_may_link_to_exists(kind: str) -> None:
    page = make_page(kind)
    anchors = {anchor for anchor in derived.view_of(page).anchors if not re.fullmatch(r"i\d+", anchor)}
    assert anchors <= set(re.findall(r'id="([^"]+)"', render_page(page)))


@pytest.mark.slow
def test_thousand_noise_pictures_with_eight_maps_each_stay_under_ten_megabytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(1000, 32, 32, 3), dtype=np.uint8)  # nothing compresses less
    assert len(render_page(make_page(images=1000, pixels=noise)).encode()) < 10_000_000


def test_script_is_small_enough_to_read() -> None:
    assert len(script().encode()) < 40_000 and script() in render_page(make_page(images=1))


def test_raw_maps_travel_within_half_a_level_of_their_range() -> None:
    raw = np.random.default_rng(1).normal(size=(8, 8))
    page = make_page(images=1, explainers=("captum",), layers=(("layer3", 8),))
    item = replace(items_of(page)[0], maps=(quantise(raw, role="predicted"),))
    cell = json.loads(shard_json(shards_of(with_items(page, [item]))[0], inside))["cells"][0]
    low, high = (np.frombuffer(b64decode(cell[end]), "<f4")[0] for end in ("low", "high"))
    levels = np.frombuffer(b64decode(cell["levels"]), np.uint8).reshape(8, 8)
    assert np.abs(low + levels / 255 * (high - low) - raw).max() <= 0.51 / 255 * (raw.max() - raw.min())


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_finished_pictures_are_named_with_their_steps_and_marked_in_the_data(kind: str) -> None:
    page = make_page(kind=kind, images=2, explainers=("captum", "captum_shipped"))
    cells = tuple(
        replace(cell, picture=True, steps=("nearest value", "ReLU")) if "shipped" in cell.explainer else cell
        for cell in page.cells
    )
    made = render_page(replace(page, cells=cells))
    assert text_of(made).count("skips the post-processing of this page: nearest value; ReLU.") == 1
    assert "own finished picture" not in text_of(render_page(page))
    assert [cell["picture"] for cell in data_of(made)["cells"]] == [cell.picture for cell in cells]


def test_verdicts_of_a_run_stand_in_a_table_with_their_reasons() -> None:
    page = make_page(images=1)
    text = text_of(render_page(page))
    for judged in page.verdicts:
        reason = " ".join((why(judged.verdict) or "–").split())
        assert f"{judged.verdict.verdict} {reason} 0.5 1.0e-6 8" in text
    assert "Verdicts" in text and "Verdicts" not in text_of(render_page(replace(page, verdicts=())))


def test_sprite_sheet_holds_every_picture_without_loss_and_refuses_one_of_another_size() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, size=(40, 32, 32, 3), dtype=np.uint8)
    pixels = np.asarray(Image.open(BytesIO(sprite_sheet([picture.tobytes() for picture in pictures], 32))))
    for k, picture in enumerate(pictures):
        row, column = divmod(k, COLUMNS)
        assert (pixels[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] == picture).all()
    with pytest.raises(ValueError, match="image data"):
        sprite_sheet([b"123"], 32)


def test_no_error_to_explain_is_told_as_a_result() -> None:
    page = replace(make_page(images=0), wanted=0)
    flawless = replace(page, runs=(replace(page.runs[0], correct=page.runs[0].total),))
    assert "No errors to explain, which is a result." in text_of(render_page(flawless))
    assert "No image has been explained yet. 12 images could be." in text_of(render_page(replace(page, wanted=12)))


@pytest.mark.parametrize(("runs", "explainers"), [(1, ("captum",)), (2, ()), (6, ("a", "b", "c"))])
def test_comparison_of_any_number_of_runs_and_explainers(runs: int, explainers: tuple[str, ...]) -> None:
    text = text_of(render_page(make_page("comparison", runs=runs, explainers=explainers, images=2, gaps=True)))
    assert ("No explainer was run." in text) == (not explainers)


def test_what_was_never_measured_is_a_dash_and_what_is_missing_is_said() -> None:
    page = make_page("comparison", gaps=True)
    cells = (replace(page.cells[0], ms_per_image=None), *page.cells[2:])  # one not timed, one not there
    item = replace(items_of(page)[0], maps=())
    text = text_of(render_page(with_items(replace(page, cells=cells, speeds=()), [item])))
    assert all(words in text for words in ("not computed", "2 maps missing", " – "))


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_accuracy_stands_three_ways_with_intervals_and_says_whose_gallery_and_maps_are(kind: str) -> None:
    page = make_page(kind)
    text = text_of(render_page(page))
    assert re.search("[Tt]he gallery, the maps and all other figures of this page see each image once", text)
    for one in page.runs[0].averages:
        low, high = filters.percent(one.accuracy.low), filters.percent(one.accuracy.high)
        interval = f"{filters.percent(one.accuracy.value)} {low} to {high}".replace(filters.NBSP, " ")
        assert one.name in text and interval in text


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_runs_without_averages_make_a_page_that_names_none_and_a_comparison_has_the_same_axis(kind: str) -> None:
    page = make_page(kind)
    old = replace(page, runs=tuple(replace(run, averages=()) for run in page.runs))
    text = text_of(render_page(old).split('id="glossary"')[0]) + document(old, "markdown")
    assert not any(words in text for words in ("mirror average", "Several views", "By the mean logits"))
    assert kind == "run" or derived.view_of(page).accuracy_axis == derived.view_of(old).accuracy_axis


def test_one_run_without_averages_has_a_dash_where_others_have_theirs() -> None:
    page = make_page("comparison")
    some = replace(page, runs=(page.runs[0], replace(page.runs[1], averages=()), page.runs[2]))
    rows = re.findall(r"<tr>.*?</tr>", render_page(some).split('id="averages"')[1].split("</table>")[0], re.S)
    assert [row.count("<td>–</td>") for row in rows] == [0, 0, 2, 0]


def test_markdown_tells_the_averages_and_whose_the_tables_are() -> None:
    page = make_page()
    first, averages = document(page, "markdown").splitlines()[0], page.runs[0].averages
    shares = [f"{one.name} {filters.percent(one.accuracy.value)}".replace(filters.NBSP, " ") for one in averages]
    assert all(each in first for each in shares) and first.endswith("The tables see each image once, as it is.")


def test_one_epoch_without_validation_is_drawn_and_a_run_without_epochs_says_so() -> None:
    rendered = render_page(make_page(epochs=1, validation=False, speeds=False))
    assert rendered.count('class="drawn light"') == rendered.count('class="drawn dark"') == 4
    assert "by epoch, in nats: training ends at" in rendered
    assert "No epoch was recorded." in text_of(render_page(make_page(epochs=0)))


def test_curve_leaves_out_values_that_are_not_finite() -> None:
    points = [EpochPoint(epoch, loss, 0.1, None, None, 1.0, 0.1) for epoch, loss in ((1, math.nan), (2, 2.0))]
    assert charts.series_of(points, "loss")[0].values == ((2, 2.0),)


def test_drawings_are_the_same_bytes_twice_and_differ_between_light_and_dark() -> None:
    series = (charts.Series("x", 1, False, ((1, 0.513), (2, 0.987))),)
    one, two = (charts.curve_chart.__wrapped__(series, title="accuracy", percent=True) for _ in range(2))
    assert (one.light, one.dark) == (two.light, two.dark)
    assert charts.THEMES["light"].colours[0].encode() in one.light
    assert charts.THEMES["dark"].colours[0].encode() in one.dark and one.light != one.dark
    assert b"http" not in re.sub(rb'(xmlns(:\w+)?|rdf:resource)="[^"]*"|<!DOCTYPE[^>]*>', b"", one.light)


def test_accuracy_axis_stays_within_nought_and_one() -> None:
    axis = charts.axis_of([estimate(0.999, 0.05), estimate(0.93)])
    assert (axis.low, axis.high, axis.at(1.2)) == (pytest.approx(0.92), 1.0, 100)


@pytest.mark.parametrize(
    ("low", "high", "ends"), [(0.8888, 0.9032, ["88.5 %", "90.5 %"]), (0.86, 0.93, ["86 %", "94 %"])]
)
def test_the_ends_of_an_axis_are_written_as_they_are(low: float, high: float, ends: list[str]) -> None:
    axis = charts.axis_of([Estimate((low + high) / 2, low, high)])
    assert [filters.percent(each, axis.digits).replace("\xa0", " ") for each in (axis.low, axis.high)] == ends


def test_many_classes_are_not_drawn_as_a_matrix() -> None:
    rendered = render_page(make_page(classes=[f"class {k}" for k in range(50)], images=2))
    assert 'class="confusion"' not in rendered and "A matrix of 50 classes is too large to read" in rendered


def test_json_twin_gives_every_value_back() -> None:
    page = make_page("comparison", gaps=True, images=3)
    twin = json.loads(page_json(page))
    assert (next(iter(twin)), twin["title"]) == ("schema", page.title)
    assert [run["accuracy"]["value"] for run in twin["runs"]] == [run.accuracy.value for run in page.runs]
    assert [[one["correct"] for one in run["averages"]] for run in twin["runs"]] == [
        [one.correct for one in run.averages] for run in page.runs
    ]
    told, gallery = twin["gallery"], page.gallery
    assert twin["schema"] == 2 and b64decode(told["pixels"]) == b"".join(item.pixels for item in items_of(page))
    assert (told["ids"], told["files"], told["true"]) == (list(gallery.ids), list(gallery.files), list(gallery.true))
    for cell, maps in zip(told["maps"], gallery.maps, strict=True):
        assert [b64decode(cell[name]) for name in ("levels", "roles", "statuses")] == [
            maps.levels, maps.roles, maps.statuses
        ]  # fmt: skip
        assert (cell["items"], cell["low"], cell["high"]) == (list(maps.items), list(maps.low), list(maps.high))
    for said, one in zip(told["said"], gallery.said, strict=True):
        assert (said["predicted"], said["top_shares"]) == (list(one.predicted), [list(row) for row in one.top_shares])
    assert [[k < 0 for k in said["predicted"]] for said in told["said"]] == [
        [item.predictions[run] is None for item in items_of(page)] for run in range(len(page.runs))
    ]


def test_json_twin_is_valid_json_when_values_are_not_finite() -> None:
    page = make_page(images=1)
    broken = replace(page, runs=(replace(page.runs[0], loss=math.nan),))
    twin = json.loads(page_json(broken), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert twin["runs"][0]["loss"] is None


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_a_notebook_is_shown_sentences_figures_and_pictures_and_names_stay_text(kind: str) -> None:
    page = make_page(kind, classes=HOSTILE)
    page = with_items(replace(page, title=HOSTILE[1]), (replace(item, file=HOSTILE[0]) for item in items_of(page)))
    shown = notebook_html(page, "file:///somewhere/report.html")
    assert {match[1] for match in TAG.finditer(shown)} == {"img"} and shown.count("<img ") == 6
    text = text_of(shown)
    assert "style" not in re.sub(r'src="[^"]*"', "", shown) and HOSTILE[1] in html.unescape(shown)
    assert all(finding.link in text for finding in page.findings)
    assert filters.percent(page.runs[0].accuracy.value).replace(filters.NBSP, " ") in text


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (filters.percent(0.9412), "94.12\u00a0%"),
        (filters.percent(None), "–"),
        (filters.points(-0.0056), "−0.56"),
        (filters.rate(4120.4), "4,120"),
        (filters.rate(29.94), "29.9"),
        (filters.rate(math.inf), "–"),
        (filters.small(3.9e-7), "3.9e-7"),
        (filters.small(0.571), "0.57"),
        (filters.small(0), "0"),
        (filters.p_value(0.0001), "<\u00a00.001"),
        (filters.p_value(0.0421), "0.042"),
        (filters.correlation(-0.12), "−0.120"),
        (filters.correlation(None), "–"),
        (filters.moment("2026-11-21T04:15:00Z"), "2026-11-21 04:15 UTC"),
        (filters.moment("yesterday"), "yesterday"),
        (filters.plural(1, "class", "classes"), "1 class"),
        (filters.plural(2, "class", "classes"), "2 classes"),
        (filters.one_line("a\nb\u202ec"), "a b c"),
    ],
)
def test_figures_in_words(told: str, expected: str) -> None:
    assert told == expected


def test_many_pairs_of_explainers_are_folded_away_and_few_are_not() -> None:
    page = make_page("run")
    few, many = (replace(page, agreements=page.agreements[:1] * count) for count in (40, 41))
    assert "All 41 pairs" in render_page(many) and "All 40 pairs" not in render_page(few)
