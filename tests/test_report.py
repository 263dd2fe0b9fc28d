"""The pages: complete, self-contained, and their figures are those of the data."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from symgnn.errors import InputError
from symgnn.skeleton import Layout, load_layout
from symgnn.viz import Chart, ClipView, Example, Forecast, Recognition, ReportData, body_of, clip_page, report_page, write_page
from symgnn.viz.clip import player_data

VOID = {"meta", "input", "br", "link", "img"}
MARKUP = 'a "quoted" </script><script>alert(1)</script> & name'


class Page(HTMLParser):
    """A page taken apart; an element that is not closed, or closed by another's end, is an error."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            for parent in set(self.open):
                if parent == tag:
                    self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.elements if found == tag]


def check_self_contained(html: str) -> None:
    """Nothing in the page makes a browser ask for anything outside it."""
    page = Page(html)
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        loading = {"src", "href", "xlink:href", "srcset", "action", "poster", "background", "ping"} & attrs.keys()
        assert not loading, f"<{tag} {loading}>"
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(|EventSource", html)
    (policy,) = (attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


@pytest.fixture(scope="module")
def data() -> ReportData:
    rng = np.random.default_rng(0)
    layout = load_layout("cmu")
    joints = layout.num_nodes
    walk = rng.normal(size=(1, joints, 3)) + 0.05 * rng.normal(size=(35, joints, 3)).cumsum(axis=0)
    walk = walk.astype(np.float32)
    walk[3, 5] = np.nan
    actional = rng.random((joints, joints))
    sure, unsure = {"walk": 0.8, "jump_high": 0.15, "sit": 0.05}, {"walk": 0.6, "jump_high": 0.3, "sit": 0.1}
    curve = ([0.0, 10.0], [2.0, 1.0])
    return ReportData(
        title="A title & more",
        layout=layout,
        space="xyz",
        class_names=("walk", "jump_high", "sit"),
        frame_ms=40.0,
        observed=10,
        moments={80: 2, 400: 10, 1000: 25},
        recognition=Recognition(np.array([[9, 1, 0], [2, 7, 1], [0, 0, 10]]), (0.7, 0.95)),
        forecast=Forecast(
            "distance",
            "cm",
            {80: 1.25, 400: 4.5, 1000: 9.75},
            {80: 2.5, 400: 9.0, 1000: 7.5},
            30,
            {"walk": ({80: 1.0, 400: 4.0, 1000: 9.0}, {80: 2.0, 400: 8.0, 1000: 7.0})},
        ),
        examples=(
            Example("clip one", walk[:10], walk[10:], walk[10:] + np.float32(0.01), "walk", sure),
            Example("clip two", walk[:10], walk[10:], walk[10:] * np.float32(1.1), "sit", unsure),
        ),
        actional={"all clips": actional / actional.sum(axis=1, keepdims=True)},
        links=7,
        charts=(Chart("Prediction loss", "Lower is better.", "step", {"training": curve, "held out": curve}),),
        notes=("Made-up motion.",),
        facts={"preset": "demo", "command": "symgnn demo <folder>"},
    )


def test_the_report_is_whole_and_asks_for_nothing(data: ReportData):
    html = report_page(data)
    check_self_contained(html)
    page = Page(html)
    headings = page.texts["h2"]
    assert headings == [
        "What the model sees",
        "What is the person doing?",
        "Where will every joint be?",
        "See for yourself",
        "Which joints the model links by itself",
        "How training went",
        "The facts",
    ]
    assert page.texts["h1"] == ["A title & more"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in html
    assert "nan" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL).lower()


def test_every_figure_has_a_caption_and_words_for_those_who_cannot_see_it(data: ReportData):
    page = Page(report_page(data))
    assert len(page.all("figure")) == len(page.texts["figcaption"]) == 7
    assert all(len(caption) > 10 for caption in page.texts["figcaption"])
    drawings = page.all("svg")
    assert len(drawings) >= 5 + 6 + 1 + 1 + 1
    for drawing in drawings:
        assert drawing.get("aria-hidden") == "true" or len(drawing.get("aria-label") or "") > 10


def test_the_figures_are_those_of_the_data(data: ReportData):
    html = report_page(data)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "26 of 30 test clips" in words
    assert words.count("86.7 %") >= 2  # 26 / 30, in the tile and in the text
    assert "33.3 %" in words  # guessing among three
    assert "between 70.0 % and 95.0 %" in words
    # 1 - 1.25/2.5, 1 - 4.5/9, 1 - 9.75/7.5
    for row in ("80 ms 1.25 2.50 50 %", "400 ms 4.50 9.00 50 %", "1000 ms 9.75 7.50 −30 %"):
        assert row in words
    assert "4.50 cm prediction error after 400 ms; a frozen body: 9.00 cm (ours is 50 % smaller)" in words
    assert "(ours is 30 % larger)" in words
    assert "beats the frozen body except at 1000 ms" in words
    assert "walk 1.00 4.00 9.00" in words and "walk, frozen 2.00 8.00 7.00" in words
    assert "2 clips of “jump high” called “walk”" in words
    assert "The model calls it walk (right)" in words and "The model calls it walk (wrong: it is sit)" in words
    assert "80.0 %" in words and "15.0 %" in words
    assert "25 times a second" in words and "the last 0.4 seconds" in words and "in the next 1 s?" in words
    for label in ("80 ms", "400 ms", "1000 ms"):
        assert html.count(f">{label}</text>") == 2  # a panel in each example


def test_the_links_listed_are_the_strongest(data: ReportData):
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", report_page(data)))
    matrix, names = data.actional["all clips"], data.layout.node_names
    entries = sorted(
        ((matrix[to, source], names[source], names[to]) for to in range(26) for source in range(26) if to != source),
        reverse=True,
    )
    listed = re.findall(r"(\w+) → (\w+) ([\d.]+) ([\d.]+) ×", words)
    assert listed == [(source, to, f"{weight:.3f}", f"{26 * weight:.1f}") for weight, source, to in entries[:7]]


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [({80: 1.0, 400: 1.0}, "at every moment"), ({80: 3.0, 400: 9.5}, "has not learned to predict")],
)
def test_the_verdict_is_honest(data: ReportData, errors: dict[int, float], verdict: str):
    assert data.forecast is not None
    assert verdict in report_page(replace(data, forecast=replace(data.forecast, model=errors)))


def test_parts_without_data_are_left_out(data: ReportData):
    bare = replace(data, recognition=None, actional={}, charts=(), facts={}, examples=())
    page = Page(report_page(bare))
    assert page.texts["h2"] == ["Where will every joint be?"]
    assert "helps the other" not in report_page(bare)
    assert data.forecast is not None
    only = replace(bare, forecast=replace(data.forecast, zero_velocity={}))
    assert "h2" not in Page(report_page(only)).texts
    recognising = replace(data, forecast=None, examples=tuple(replace(example, predicted=None) for example in data.examples))
    words = report_page(recognising)
    assert "See for yourself" in words and "Where will every joint" not in words


def test_whole_clips_have_their_own_times_and_a_row_for_each_class(data: ReportData):
    """Recognition alone: no sentence of it is about a time before now or after it."""
    assert data.recognition is not None
    recognition = replace(data.recognition, intervals=((0.6, 0.98), (0.4, 0.9), None), top5=0.99)
    recognition = replace(recognition, confusion=np.array([[9, 1, 0], [2, 7, 1], [0, 0, 0]]))
    examples = [
        replace(example, predicted=None, frame_ms=frame_ms)
        for example, frame_ms in zip(data.examples, (100.0, 200.0), strict=True)
    ]
    whole = replace(data, whole=True, forecast=None, moments={}, recognition=recognition, examples=examples, charts=())
    html = report_page(whole)
    check_self_contained(html)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "From a whole clip, be it short or long, shown in 10 poses, the model answers: What is this person doing?" in words
    assert "walk 10 9 90.0 % 60.0 % to 98.0 % 11 81.8 % jump high (1)" in words
    assert "jump high 10 7 70.0 % 40.0 % to 90.0 % 8 87.5 % walk (2)" in words
    assert "sit 0 0 – – 1 0.0 % –" in words and "99.0 % with the right class among the five most probable" in words
    assert ">0.9 s</text>" in html and ">1.8 s</text>" in html, "nine steps of each clip's own length"
    for untrue in (" ago", "From the last", "dashed body", "being now", "time ahead", "last observed"):
        assert untrue not in words
    windows = report_page(replace(whole, whole=False))
    assert "From the last 0.4 seconds" in windows and "time before now" in windows and "0.9 s ago" in windows


def test_links_are_drawn_where_no_frame_shows_every_joint(data: ReportData):
    """On the mean of positions; and where that is not known either, an image has no place for them."""
    hidden = [replace(example, observed=example.observed.copy()) for example in data.examples]
    for example in hidden:
        example.observed[:, 3] = np.nan
    mean = np.random.default_rng(4).normal(size=(38, 3)).astype(np.float32)
    assert "Which joints the model links" in report_page(replace(data, layout=no_offsets(), examples=hidden, stored_mean=mean))
    assert "Which joints the model links" not in report_page(replace(data, layout=no_offsets(), examples=hidden))


def no_offsets() -> Layout:
    return replace(load_layout("cmu"), offsets=None)


def test_an_image_is_drawn_as_it_was_taken(data: ReportData):
    """Recognition of image positions: left of the picture is left of the image."""
    layout = load_layout("coco17")
    pose = np.random.default_rng(0).uniform(0, 100, (17, 3)).astype(np.float32)
    ten = np.repeat(pose[None], 10, axis=0)
    example = replace(data.examples[0], observed=ten, true=ten[:0], predicted=None)
    html = report_page(replace(data, layout=layout, space="xyc", examples=(example,), forecast=None, actional={}))
    assert "Only points of the image, not the picture itself" in html
    heads = re.search(r'<path class="seen bones" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)', html)
    assert heads is not None
    x, y, u, v = map(float, heads.groups())
    parent, child = body_of(layout, "xyc").bones[0]
    scale = (u - x) / (pose[child, 0] - pose[parent, 0])
    assert scale > 0 and v - y == pytest.approx(scale * (pose[child, 1] - pose[parent, 1]), abs=0.3)


def test_milliseconds_that_are_not_the_clocks_are_explained(data: ReportData):
    assert "by the clock of the recordings" not in report_page(data)
    page = report_page(replace(data, frame_ms=1000 / 60))
    assert "what is called 1000 ms here is 417 ms by the clock of the recordings" in page
    assert "in the next 417 ms?" in page


def test_rotations_are_drawn_as_a_body(data: ReportData):
    rng = np.random.default_rng(1)
    mean = rng.normal(scale=0.2, size=(39, 3)).astype(np.float32)
    poses = rng.normal(scale=0.2, size=(35, 26, 3)).astype(np.float32)
    example = Example("angles", poses[:10], poses[10:], poses[10:], "walk", {})
    html = report_page(replace(data, space="expmap", stored_mean=mean, examples=(example,)))
    check_self_contained(html)
    # 37 bones of the whole tree, not the 25 edges of the skeleton graph.
    panel = re.search(r'aria-label="80 ms:.*?</svg>', html)
    assert panel is not None
    paths = re.findall(r'<path class="guess bones(?: far)?" d="([^"]+)"', panel.group(0))
    assert sum(path.count("M") for path in paths) == 37
    assert "only the angles between its limbs are predicted" in html


def test_names_are_text_and_not_markup(data: ReportData):
    html = report_page(
        replace(
            data,
            title=MARKUP,
            class_names=(MARKUP, "b", "c"),
            notes=(MARKUP,),
            facts={MARKUP: MARKUP},
            actional={MARKUP: data.actional["all clips"]},
            charts=(Chart(MARKUP, MARKUP, MARKUP, {MARKUP: ([0.0], [1.0]), "other": ([0.0], [1.0])}),),
            examples=(replace(data.examples[0], name=MARKUP, label=MARKUP, probabilities={MARKUP: 1.0}),),
        )
    )
    check_self_contained(html)
    assert "alert(1)</script>" not in html


# --- clips --------------------------------------------------------------------------------------------------------------


def view(name: str = "a clip", **fields: object) -> ClipView:
    rng = np.random.default_rng(2)
    poses = (rng.normal(size=(1, 26, 3)) + 0.1 * rng.normal(size=(9, 26, 3)).cumsum(axis=0)).astype(np.float32)
    values: dict[str, object] = {
        "observed": poses[:6],
        "predicted": poses[6:],
        "frame_ms": 40.0,
        "probabilities": {"walk": 0.75, "sit": 0.25},
    }
    return ClipView(name, **(values | fields))  # pyright: ignore[reportArgumentType]


def test_the_clip_page_asks_for_nothing_and_can_be_worked_by_keyboard():
    html = clip_page(body_of(load_layout("cmu"), "xyz"), [view(), view(MARKUP, padded=3, probabilities={MARKUP: 1.0})])
    check_self_contained(html)
    page = Page(html)
    assert len(page.all("canvas")) == len(page.all("button")) == 2
    assert all(canvas["tabindex"] == "0" and canvas["aria-label"] for canvas in page.all("canvas"))
    sliders = page.all("input")
    assert [slider["max"] for slider in sliders] == ["8", "8"] and all(slider["aria-label"] for slider in sliders)
    assert len(page.texts["figcaption"]) == 2
    words = re.sub(r"<[^>]+>", " ", html)
    assert re.search(r"The model says\s+walk\s+\(75\.0 %\)", words) and "25.0 %" in words
    assert html.count("repeated 3 times") == 1
    scripts = [attrs for attrs in page.all("script") if attrs.get("type") == "application/json"]
    assert len(scripts) == 2 and len(page.all("script")) == 3


def test_the_animation_has_the_shape_of_the_motion():
    """Distances between all points of all frames are those of the data, in thousandths of the body's height."""
    body, clip = body_of(load_layout("cmu"), "xyz"), view()
    data = player_data(body, clip)
    assert clip.predicted is not None
    true = np.concatenate([clip.observed, clip.predicted]).reshape(-1, 3)
    drawn = np.array(data["frames"], float).reshape(-1, 3)
    assert data["observed"] == 6 and len(data["frames"]) == 9
    height = max(np.ptp(pose[:, 1]) for pose in true.reshape(9, -1, 3))
    apart = np.linalg.norm(true[:, None] - true[None], axis=2) / height * 1000
    assert np.abs(np.linalg.norm(drawn[:, None] - drawn[None], axis=2) - apart).max() < 2
    assert np.allclose(drawn[:, 1] - drawn[:, 1].min(), (true[:, 1] - true[:, 1].min()) / height * 1000, atol=1)
    assert drawn[:, 1].min() == 0 and drawn[:, 1].max() <= data["top"]
    assert np.hypot(drawn[:, 0], drawn[:, 2]).max() <= data["reach"]
    assert [tuple(bone) for bone in data["bones"]] == list(body.bones)
    sides = ["Right" in body.names[child] or body.names[child].startswith("RT") for _, child in body.bones]
    assert data["far"] == [int(right) for right in sides]


def test_missing_points_are_null_and_the_page_is_json():
    poses = view().observed.copy()
    poses[2, 4] = np.nan
    poses[3] = np.nan
    clip = view(observed=poses)
    data = player_data(body_of(load_layout("cmu"), "xyz"), clip)
    assert data["frames"][2][4] is None and data["frames"][2][5] is not None
    assert data["frames"][3] == [None] * 26
    html = clip_page(body_of(load_layout("cmu"), "xyz"), [clip])
    packed = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert packed is not None and json.loads(packed.group(1)) == data
    nothing = view(observed=np.full_like(poses, np.nan), predicted=None)
    assert player_data(body_of(load_layout("cmu"), "xyz"), nothing)["frames"] == [[None] * 26] * 6


def test_a_page_says_what_the_model_was_asked():
    body = body_of(load_layout("cmu"), "xyz")
    both, seeing, naming = (
        Page(clip_page(body, [clip])).texts["p"][0] for clip in (view(), view(probabilities={}), view(predicted=None))
    )
    assert "two questions" in both and "What is this person doing?" in both and "in the next 0.12 s?" in both
    assert "one question" in seeing and "doing" not in seeing
    assert "one question" in naming and "every joint" not in naming


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "report.html"
    write_page(path, "ä first")
    assert path.read_text(encoding="utf-8") == "ä first" and path.stat().st_mode & 0o444

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"report\.html: cannot be written: No space left on device"):
        write_page(path, "second")
    assert path.read_text(encoding="utf-8") == "ä first"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        write_page(tmp_path / "none" / "report.html", "third")


@pytest.mark.parametrize(("classes", "matrix"), [(64, True), (65, False)])
def test_hundreds_of_classes_have_rows_and_no_matrix(data: ReportData, classes: int, matrix: bool):
    """The worst mix-up of a class is told in its row: here each is taken for the next one, four times of ten."""
    names = tuple(f"class_{number}" for number in range(classes))
    counts = 6 * np.eye(classes, dtype=int) + 4 * np.roll(np.eye(classes, dtype=int), 1, axis=1)
    found = Recognition(counts, (0.5, 0.7), intervals=((0.3, 0.8),) * classes)
    html = report_page(replace(data, class_names=names, recognition=found, examples=(), actional={}, notes=()))
    assert ("Confusion matrix" in html) == matrix
    assert f"{6 * classes} of {10 * classes}" in html and "class 0 (4)" in html and "class 41 (4)" in html
