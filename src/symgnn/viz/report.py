"""The report of a training: one page that a person who never read the paper understands."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from symgnn.skeleton import Layout, Space
from symgnn.viz.body import Array, Body, body_of, positions, rest_pose
from symgnn.viz.charts import COLOURS, Chart, chart_picture
from symgnn.viz.edges import clearest_diagram, links_picture, strongest_links
from symgnn.viz.page import page, percent, plain, probability_bars
from symgnn.viz.skeletons import observed_panels, prediction_panels
from symgnn.viz.svg import Picture

MOST_COLUMNS = 64
"""Classes up to which a confusion matrix is shown."""


@dataclass(frozen=True)
class Recognition:
    """Answers to "what is this person doing?" on test clips."""

    confusion: Int[Array, "classes classes"]
    """Clips of the class of the row that were answered with the class of the column."""
    interval: tuple[float, float] | None = None
    """Confidence interval of the accuracy, 95 %."""
    intervals: Sequence[tuple[float, float] | None] = ()
    """The same of each class, None for one without clips."""
    top5: float | None = None
    """Fraction of the clips whose class was among the best five; None with five classes or fewer."""

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())


Errors = Mapping[int, float]
"""Error by the label of its moment in milliseconds."""


@dataclass(frozen=True)
class Forecast:
    """How far predictions were off on test clips."""

    measure: Literal["distance", "angle"]
    """Mean distance between predicted and true joints, or the norm over all joint angles (the angle MAE of the protocols)."""
    unit: str
    model: Errors
    zero_velocity: Errors
    """Of the body frozen in its last observed pose, on the same clips."""
    clips: int
    actions: Mapping[str, tuple[Errors, Errors]] = field(default_factory=dict)
    """By action: the model's errors and those of the frozen body."""
    in_use: tuple[Errors, Errors] | None = None
    """Both over the joints in use alone, where the figures above count the others too."""

    @property
    def labels(self) -> list[int]:
        """The moments at which both are known."""
        return [label for label in self.model if label in self.zero_velocity]


@dataclass(frozen=True)
class Example:
    """One test clip with its answers, in the units of the data."""

    name: str
    observed: Float[Array, "time joint channel"]
    true: Float[Array, "future joint channel"]
    predicted: Float[Array, "future joint channel"] | None
    label: str | None = None
    """What the person really does."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    frame_ms: float | None = None
    """Milliseconds from a frame to the next, where they are the clip's own (whole clips)."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows, as plain arrays and words."""

    title: str
    layout: Layout
    space: Space
    class_names: tuple[str, ...]
    frame_ms: float
    """Milliseconds from a frame the model sees to the next (of whole clips: of the recordings)."""
    observed: int
    """Frames the model sees."""
    moments: Mapping[int, int]
    """Moments shown: label in milliseconds -> frames after the last observed one."""
    recognition: Recognition | None = None
    forecast: Forecast | None = None
    examples: Sequence[Example] = ()
    actional: Mapping[str, Float[Array, "joint joint"]] = field(default_factory=dict)
    """Actional graphs by name ("all clips", or a class): row i is how joint i divides its attention."""
    links: int = 12
    """Strongest links drawn of each actional graph."""
    charts: Sequence[Chart] = ()
    """Training curves."""
    stored_mean: Float[Array, "stored channel"] | None = None
    """Mean of every stored triple: with exponential maps for the joints that are not in use, and a pose to draw links on."""
    whole: bool = False
    """Whether the model sees whole clips of any length, each in ``observed`` frames."""
    notes: Sequence[str] = ()
    """Plain sentences at the top: what the data is, what not to conclude."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Table at the end: preset, parameters, machine, time, checkpoint, commands."""


def report_page(data: ReportData) -> str:
    """The whole report as one HTML page without any outside request.

    Parts without data (a model that does not recognise, say) are left out.
    """
    if data.forecast is not None and not data.forecast.labels:
        data = replace(data, forecast=None)
    body = body_of(data.layout, data.space)
    parts = [
        _opening(data),
        _seen(data, body),
        _recognition(data),
        _forecast(data),
        _examples(data, body),
        _links(data, body),
        _training(data),
        _facts(data),
    ]
    return page(data.title, "".join(parts))


def _opening(data: ReportData) -> str:
    rate, seconds = 1000 / data.frame_ms, data.observed * data.frame_ms / 1000
    given = f"From the last {seconds:.2g} seconds"
    if data.whole:
        given = f"From a whole clip, be it short or long, shown in {data.observed} poses,"
    questions = []
    if data.recognition is not None:
        questions.append("<b>What is this person doing?</b>")
    if data.forecast is not None:
        questions.append(f"<b>Where will every joint of the body be in the next {_ahead(data)}?</b>")
    both = ""
    if len(questions) == 2:
        both = (
            "<p>One network answers both, because each answer helps the other: who knows that a person walks knows how the "
            "legs will swing on, and who can tell how a body goes on has understood what it is doing.</p>"
        )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in (*_clock(data), *data.notes))
    return (
        f"<h1>{escape(data.title)}</h1>"
        f'<p class="lead">A moving person is recorded as {data.layout.num_nodes} points of the body, its <b>joints</b>, '
        f"{rate:.3g} times a second. {given} the model answers: {' '.join(questions)}</p>{both}"
        "<p>Everything below was measured on recordings that were kept apart and never used for training.</p>"
        f"{notes}{_tiles(data)}"
    )


def _clock(data: ReportData) -> list[str]:
    """A word where the benchmark's milliseconds are not those of the recordings (CMU counts 120 frames a second as 50)."""
    label, frames = max(data.moments.items(), default=(0, 0))
    true = frames * data.frame_ms
    if abs(true - label) <= 0.05 * label:
        return []
    return [
        f"Moments carry the names that published tables give them: what is called {label} ms here is {true:.0f} ms by the "
        "clock of the recordings."
    ]


def _tiles(data: ReportData) -> str:
    tiles = []
    if (found := data.recognition) is not None:
        chance = percent(1 / len(data.class_names))
        tiles.append((percent(found.accuracy), f"of {found.clips} test clips named correctly (guessing: {chance})"))
        if found.top5 is not None:
            tiles.append((percent(found.top5), "with the right class among the five most probable"))
    if (forecast := data.forecast) is not None:
        tiles += [
            (_amount(forecast.model[label], forecast), f"prediction error after {label} ms; {_compared(forecast, label)}")
            for label in _telling(forecast)
        ]
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles) + "</div>"


def _seen(data: ReportData, body: Body) -> str:
    if not data.examples:
        return ""
    example = data.examples[0]
    what = f" (here: {plain(example.label)})" if example.label else ""
    panels = _observed(data, body, example, 5)
    points = "points of the image, not the picture itself" if body.flat else "points in space, no picture"
    row = f"{data.observed} poses in a row, the last one being <b>now</b>"
    if data.whole:
        row = f"{data.observed} poses, evenly from the first frame of a clip to its last, and not how long it took"
    return (
        "<h2>What the model sees</h2>"
        f"<p>Only {points}: {row}{what}. The lines between the joints are drawn for our eyes.</p>"
        + _figure(
            _row(panels),
            f"{len(panels)} of the {data.observed} observed poses of “{escape(example.name)}”"
            f"{', with the time in the clip' if data.whole else ''}. Limbs on the body's right side are fainter."
            f"{_upright(data)}",
        )
    )


def _recognition(data: ReportData) -> str:
    found = data.recognition
    if found is None:
        return ""
    classes = len(data.class_names)
    interval = ""
    if found.interval is not None:
        interval = (
            f" {found.clips} clips are a sample: taking them as independent, one can say with 95 % confidence that the "
            f"accuracy is between {percent(found.interval[0])} and {percent(found.interval[1])}."
        )
    # A matrix of hundreds of columns is no picture any more, and megabytes: then each class's row tells its worst mix-up.
    matrix = (
        ""
        if len(data.class_names) > MOST_COLUMNS
        else _figure(
            confusion_table(found.confusion, data.class_names),
            "How to read it: each row holds the clips of one true class, each column what the model called them. Blue cells on "
            "the diagonal are right answers, orange cells are mix-ups; the stronger the colour, the larger their share of the "
            f"row. {_mix_up(found.confusion, data.class_names)}",
        )
    )
    return (
        "<h2>What is the person doing?</h2>"
        f"<p>Asked to choose among {classes} kinds of movement, the model named <b>{int(np.trace(found.confusion))} of "
        f"{found.clips}</b> test clips correctly: an accuracy of <b>{percent(found.accuracy)}</b>. Guessing blindly would give "
        f"about {percent(1 / classes)}.{interval}</p>{matrix}" + _classes(found, data.class_names)
    )


def _classes(found: Recognition, class_names: Sequence[str]) -> str:
    """A row a class: how many of its clips were named, how sure that is, and how far its name can be trusted."""
    if not found.intervals:
        return ""
    rows = []
    for true, (name, interval) in enumerate(zip(class_names, found.intervals, strict=True)):
        clips, answers, right = (int(found.confusion[part].sum()) for part in (true, (slice(None), true), (true, true)))
        wrong = found.confusion[true].copy()
        wrong[true] = 0
        other = f"{plain(class_names[int(wrong.argmax())])} ({int(wrong.max())})" if wrong.any() else "–"
        named = ["–", "–"] if interval is None else [percent(right / clips), " to ".join(map(percent, interval))]
        trusted = percent(right / answers) if answers else "–"
        rows.append([plain(name), f"{clips}", f"{right}", *named, f"{answers}", trusted, other])
    heads = ["class", "clips", "right", "of its clips", "95 % between", "answered", "of these right", "mostly taken for"]
    table = _table(heads, rows, "Each class by itself")
    caption = (
        "Of its clips: the share of the class's clips that got its name, and where that share would lie with more clips like "
        "these. Of these right: how far the answer can be trusted when it is this class."
    )
    return _figure(table if len(class_names) <= 20 else _details("Each class by itself", table), caption)


def confusion_table(confusion: Int[Array, "classes classes"], class_names: Sequence[str]) -> str:
    """A confusion matrix as an HTML table: counts, shaded by their share of the row, and the share that was right."""
    heads = "".join(f'<th scope="col"><span>{plain(name)}</span></th>' for name in class_names)
    rows = []
    for true, name in enumerate(class_names):
        total = int(confusion[true].sum())
        cells = []
        for answer in range(len(class_names)):
            count = int(confusion[true, answer])
            kind = ' class="off"' if answer != true else ""
            share = count / total if total else 0.0
            cells.append(f'<td{kind} style="--part:{share:.3f}">{count or "·"}</td>')
        right = percent(int(confusion[true, true]) / total) if total else "no clips"
        rows.append(f'<tr><th scope="row">{plain(name)}</th>{"".join(cells)}<td class="sum">{right}</td></tr>')
    return (
        '<div class="scroll"><table class="confusion" aria-label="Confusion matrix: true class by answered class">'
        f'<thead><tr><th>really ↓ &nbsp; answered →</th>{heads}<th scope="col">right</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _forecast(data: ReportData) -> str:
    found = data.forecast
    if found is None:
        return ""
    if found.measure == "distance":
        meaning = "the distance between where a joint was expected and where it really was, averaged over all joints"
    else:
        meaning = (
            "how far the angles of all joints together are off (the square root of the sum of squares over all angles that "
            "move), averaged over the kinds of movement"
        )
    lines = {name: ([float(label) for label in errors], [*errors.values()]) for name, errors in _rows(found).items()}
    picture = chart_picture(Chart("Prediction error", "", "milliseconds ahead", lines, dots=True))
    ours, frozen = (_cells(errors, found) for errors in _rows(found).values())
    saved = [f"{100 * _saving(found, label):.0f} %".replace("-", "−") for label in found.labels]
    rows = [list(row) for row in zip([f"{label} ms" for label in found.labels], ours, frozen, saved, strict=True)]
    heads = ["time ahead", *_rows(found), "error saved"]
    table = _table(heads, rows, f"Prediction error in {escape(found.unit)}")
    details = ""
    if found.actions:
        by_action = []
        for action, (model, still) in found.actions.items():
            by_action += [[plain(action), *_cells(model, found)], [f"{plain(action)}, frozen", *_cells(still, found)]]
        heads = [f"{escape(found.unit)} after ms", *map(str, found.labels)]
        details = _details("Each kind of movement by itself", _table(heads, by_action))
    if found.in_use is not None:
        both = [[name, *_cells(errors, found)] for name, errors in zip(_rows(found), found.in_use, strict=True)]
        heads = [f"{escape(found.unit)} after ms", *map(str, found.labels)]
        details += _details("Without the joints that copy others or never move", _table(heads, both))
    return (
        "<h2>Where will every joint be?</h2>"
        f"<p>The <b>prediction error</b> is {meaning}, in {found.clips} clips; smaller is better. To know whether a number is "
        "good, it stands beside the simplest forecast there is: <b>assume the body freezes</b> in its last pose (experts call "
        "it <i>zero velocity</i>). For the first few hundredths of a second that is hard to beat, because a body cannot move "
        "far; the further ahead, the more it takes to know how bodies move.</p>"
        + _figure(
            f'<div class="wide"><div>{_legend(zip(COLOURS, lines, strict=False), "curve")}{picture.inline()}</div>'
            f"<div>{table}</div></div>{details}",
            f"Error over time ahead. {_verdict(found)} “Error saved” is how much smaller the model's error is than the frozen "
            "body's.",
        )
    )


def _examples(data: ReportData, body: Body) -> str:
    figures = [_example(data, body, example) for example in data.examples]
    if not any(figures):
        return ""
    legend, about = "", ""
    if any(example.predicted is not None for example in data.examples):
        about = (
            " Times count from the last observed pose. The better a forecast, the more the dashed body lies on the blue one."
        )
        words = {"truth": "what really happened", "guess": "what the model predicted", "frozen": "last observed pose"}
        legend = _legend(words.items(), "bones")
    return (
        "<h2>See for yourself</h2>"
        f"<p>Test clips, not chosen by how well they went.{about}{_upright(data)}</p>{legend}{''.join(figures)}"
    )


def _example(data: ReportData, body: Body, example: Example) -> str:
    content, captions = f"<h3>{escape(example.name)}</h3>", []
    if example.probabilities:
        best = max(example.probabilities, key=lambda name: example.probabilities[name])
        judged = "" if not example.label else " (right)" if best == example.label else f" (wrong: it is {plain(example.label)})"
        content += f"<p>The model calls it <b>{plain(best)}</b>{judged}.</p>{probability_bars(example.probabilities, most=3)}"
        captions.append("Bars: how sure the model is of each class.")
    if example.predicted is not None:
        observed, true, predicted = (_places(data, part) for part in (example.observed, example.true, example.predicted))
        content += _row(prediction_panels(body, observed[-1], predicted, data.moments, true=true))
        captions.append("Bodies: true (blue), predicted (dashed orange) and last observed pose (thin grey), by time ahead.")
    elif example.probabilities:
        content += _row(_observed(data, body, example, 6))
        captions.append(f"Bodies: what the model saw, by {'time in the clip' if data.whole else 'time before now'}.")
    return _figure(content, " ".join(captions)) if captions else ""


def _links(data: ReportData, body: Body) -> str:
    pose = _diagram(data, body) if data.actional else None
    if pose is None:
        return ""
    names = [plain(name) for name in data.layout.node_names]
    even = 1 / len(names)
    cards = []
    for name, actional in data.actional.items():
        links = strongest_links(actional, data.links)
        rows = [
            [f"{names[link.source]} → {names[link.to]}", f"{link.weight:.3f}", f"{link.weight / even:.1f} ×"] for link in links
        ]
        numbers = _details("The numbers", _table(["link", "weight", "against even"], rows))
        drawing = f'<div class="narrow">{links_picture(body, pose, links, name).inline()}</div>'
        cards.append(f"<div><h3>{plain(name)}</h3>{drawing}{numbers}</div>")
    return (
        "<h2>Which joints the model links by itself</h2>"
        "<p>Bones join neighbouring joints. But movements also tie joints together that no bone joins: in walking, the left "
        "hand swings with the right foot. The model finds such ties on its own, anew for each clip; the paper calls them "
        "<i>actional links</i>. Each joint divides an attention of 1 over all joints; an arrow leads from the joint that is "
        f"looked at to the joint that looks, and if attention were spread evenly every link would weigh {even:.3f}.</p>"
        + _figure(
            f'<div class="wide">{"".join(cards)}</div>',
            f"The {data.links} strongest links between different joints, averaged over the test clips named above each body. "
            "Thick and strong means much attention. The person faces us, so the body's left is on our right. Joints that share "
            "one place, as those of a hand may, are drawn a little apart.",
        )
    )


def _training(data: ReportData) -> str:
    if not data.charts:
        return ""
    figures = []
    for chart in data.charts:
        legend = _legend(zip(COLOURS, chart.lines, strict=False), "curve") if len(chart.lines) > 1 else ""
        figures.append(_figure(f"<h3>{escape(chart.title)}</h3>{legend}{chart_picture(chart).inline()}", escape(chart.caption)))
    return (
        "<h2>How training went</h2>"
        "<p>The model starts with random numbers and knows nothing. In each <b>step</b> it answers for a handful of training "
        "clips and its numbers are moved a little towards better answers. A <b>loss</b> counts mistakes: it should fall and "
        "level off. Training curves wobble because each step sees other clips.</p>"
        f'<div class="wide charts">{"".join(figures)}</div>'
    )


def _facts(data: ReportData) -> str:
    if not data.facts:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in data.facts.items()
    )
    return f'<h2>The facts</h2><table class="facts"><tbody>{rows}</tbody></table>'


# --- pieces -------------------------------------------------------------------------------------------------------------


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def _row(pictures: Sequence[Picture]) -> str:
    return f'<div class="row">{"".join(picture.inline(natural=True) for picture in pictures)}</div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of numbers from HTML cells; the first of each row names it."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, *cells in rows
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="numbers">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"


def _legend(entries: Iterable[tuple[str, str]], kind: str) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 32 12" aria-hidden="true"><path class="{name} {kind}" d="M2 6L30 6"/></svg>{escape(words)}</li>'
        for name, words in entries
    )
    return f'<ul class="legend">{items}</ul>'


def _places(data: ReportData, motion: Float[Array, "*batch joint channel"]) -> Float[Array, "*batch point 3"]:
    return positions(motion, data.layout, data.space, data.stored_mean)


def _observed(data: ReportData, body: Body, example: Example, count: int) -> list[Picture]:
    frame_ms = example.frame_ms or data.frame_ms
    return observed_panels(body, _places(data, example.observed), frame_ms, count=count, whole=data.whole)


def _diagram(data: ReportData, body: Body) -> Float[Array, "point 2"] | None:
    """A pose that shows every joint, from the front: at rest, a mean one, or one that was observed; None if there is none."""
    candidates = []
    rest = rest_pose(data.layout, data.space)
    if rest is not None:
        candidates.append(rest)
    mean = []
    if data.stored_mean is not None and np.isfinite(data.stored_mean).all():
        mean = [_places(data, data.stored_mean[list(data.layout.columns(data.space))])]
    seen = []
    for example in data.examples:
        complete = example.observed[np.isfinite(example.observed).all(axis=(1, 2))]
        seen += list(_places(data, complete[-1:]))
    # The mean of positions is a pose of nobody, but there where no frame shows every joint.
    candidates += [*mean, *seen] if data.space == "expmap" else [*seen, *mean]
    return clearest_diagram(body, candidates)


def _upright(data: ReportData) -> str:
    if data.space != "expmap":
        return ""
    return (
        " The body is drawn upright, in one place and facing one way, because only the angles between its limbs are predicted."
    )


def _ahead(data: ReportData) -> str:
    milliseconds = round(max(data.moments.values(), default=0) * data.frame_ms)
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds} ms"


def _rows(forecast: Forecast) -> dict[str, Errors]:
    """The model and its yardstick at the same moments."""
    return {
        "model": {label: forecast.model[label] for label in forecast.labels},
        "frozen body": {label: forecast.zero_velocity[label] for label in forecast.labels},
    }


def _telling(forecast: Forecast) -> list[int]:
    """The moment around 400 ms and the last one."""
    near = min(forecast.labels, key=lambda label: abs(label - 400))
    return sorted({near, max(forecast.labels)})


def _amount(value: float, forecast: Forecast) -> str:
    return f"{value:.{_digits(forecast)}f} {escape(forecast.unit)}"


def _digits(forecast: Forecast) -> int:
    """Decimals at which the smallest error of the table still has three digits."""
    smallest = min([value for value in forecast.model.values() if value > 0], default=1.0)
    return max(0, min(2 - math.floor(math.log10(smallest)), 5))


def _cells(errors: Errors, forecast: Forecast) -> list[str]:
    return [f"{errors[label]:.{_digits(forecast)}f}" if label in errors else "–" for label in forecast.labels]


def _saving(forecast: Forecast, label: int) -> float:
    still = forecast.zero_velocity[label]
    return 1 - forecast.model[label] / still if still > 0 else -math.inf


def _compared(forecast: Forecast, label: int) -> str:
    saving, still = _saving(forecast, label), _amount(forecast.zero_velocity[label], forecast)
    return f"a frozen body: {still} (ours is {abs(100 * saving):.0f} % {'smaller' if saving >= 0 else 'larger'})"


def _verdict(forecast: Forecast) -> str:
    worse = [label for label in forecast.labels if _saving(forecast, label) <= 0]
    if not worse:
        return "The model beats the frozen body at every moment shown."
    if len(worse) == len(forecast.labels):
        return "The model does not beat the frozen body at any moment shown: it has not learned to predict."
    return f"The model beats the frozen body except at {', '.join(f'{label} ms' for label in worse)}."


def _mix_up(confusion: Int[Array, "classes classes"], class_names: Sequence[str]) -> str:
    wrong = confusion - np.diag(np.diag(confusion))
    if not wrong.any():
        return "Here there is none."
    true, answer = divmod(int(wrong.argmax()), len(class_names))
    count = int(wrong[true, answer])
    return (
        f"The most frequent mix-up: {count} clip{'s' if count > 1 else ''} of “{plain(class_names[true])}” "
        f"called “{plain(class_names[answer])}”."
    )
