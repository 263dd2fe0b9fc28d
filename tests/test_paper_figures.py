"""Figs. 11 to 13: what is drawn is what the model and the store say."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from symgnn.data import ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.evaluation import Window, device_of, load_protocol
from symgnn.experiments.paper.figures import (
    Graphs,
    actional_links,
    actional_map,
    clip_graphs,
    neighbour_agreement,
    predicted_strips,
)
from symgnn.models.baselines import ZeroVelocity
from symgnn.models.checkpoint import Card, Described
from symgnn.types import Motion, Output
from symgnn.viz.page import page
from test_report import Page, check_self_contained
from tiny import BODY, CLASSES, FUTURE, OBSERVED, layout, make_model, make_preset, motion

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of each class two test recordings of 26 frames and one training recording, and a test clip without a class."""
    clips = [
        (ClipRecord(label=label, recording=f"{name}_{number}", split=split), motion(label, float(number)))
        for label, name in enumerate(CLASSES)
        for number, split in ((0, "test"), (1, "test"), (0, "train"))
    ]
    clips.append((ClipRecord(label=-1, recording="unknown", split="test"), motion(0, 9.0)))
    folder = tmp_path_factory.mktemp("figures") / "store"
    return write_store(folder, clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)


class Told(Described):
    """A model whose graph is the softmax of what a function makes of a window; it predicts the last pose plus one metre."""

    def __init__(self, folder: Path, graph, actional: bool = True):
        mean = tuple((0.0, 0.0, 0.0) for _ in BODY["joints"])
        self.card = Card(make_preset(folder), layout(), CLASSES, mean, 25.0, "test")
        self.graph, self.actional = graph, actional
        self.seen: list[Tensor] = []

    def __call__(self, observed: Motion, horizon: int) -> Output:
        self.seen.append(observed.clone())
        graphs = torch.stack([self.graph(window) for window in observed]).softmax(dim=2)
        return Output(None, observed[:, -1:].expand(-1, horizon, -1, -1) + 1, graphs if self.actional else None)


class Away(Told, nn.Module):
    """A model whose weights are on another device; what it answers is there to be read, as if that device had memory."""

    def __init__(self, folder: Path):
        nn.Module.__init__(self)
        Told.__init__(self, folder, by_motion)
        self.weight = nn.Parameter(torch.zeros(1, device="meta"))
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, observed: Motion, horizon: int) -> Output:
        assert observed.device == self.weight.device
        graphs = torch.rand(len(observed), 5, 5, generator=self.generator)
        return Output(None, torch.zeros(len(observed), horizon, 5, 3), graphs)

    __call__ = nn.Module.__call__


def by_motion(window: Tensor) -> Tensor:
    """Distinct numbers that follow from the window."""
    spread = window.double().std(dim=0).sum(dim=1)
    order = torch.arange(5)
    return torch.sin(40 * spread[:, None] + 90 * spread[None] + order[:, None] + 2.3 * order[None])


# --- windows and graphs -------------------------------------------------------------------------------------------------------


def test_graphs_of_evenly_spread_windows(store: Store, tmp_path: Path):
    model = Told(tmp_path, by_motion)
    graphs = clip_graphs(model, store, each=4)
    assert [window.start for window in graphs.windows] == [0, 6, 12, 18] * 6  # of 19 starts
    assert [window.action for window in graphs.windows] == [name for name in CLASSES for _ in range(8)]
    for window, actional in zip(graphs.windows, graphs.actional, strict=True):
        seen = np.array(store.clip_frames(window.clip)[window.start : window.start + OBSERVED])
        expected = by_motion(torch.from_numpy(seen)).softmax(dim=1)
        np.testing.assert_allclose(actional, expected, rtol=1e-6)
    assert len(set(graphs.recordings)) == 6
    both = clip_graphs(model, store, each=100, splits=("train", "test"), actions=["nodding"])
    assert Counter(window.action for window in both.windows) == {"nodding": 3 * 19}


def test_windows_go_to_where_the_model_is(store: Store, tmp_path: Path):
    model = Away(tmp_path)
    assert device_of(model).type == "meta" and device_of(Told(tmp_path, by_motion)).type == "cpu"
    assert device_of(nn.BatchNorm1d(2, affine=False, device="meta")).type == "meta", "of buffers alone"
    network = make_model().to("meta")
    assert device_of(network) == network.mean.device and device_of(network).type == "meta"
    assert len(clip_graphs(model, store, each=4).actional) == 24
    protocol = load_protocol("demo", observed=OBSERVED, future=FUTURE, step=1)
    assert "away" in predicted_strips({"away": model, "still": ZeroVelocity()}, protocol, store).html


def test_graphs_that_cannot_be(store: Store, tmp_path: Path):
    with pytest.raises(InputError, match="no class 'running'"):
        clip_graphs(Told(tmp_path, by_motion), store, actions=["running"])
    with pytest.raises(InputError, match="no actional graph of joints"):
        clip_graphs(Told(tmp_path, by_motion, actional=False), store)
    with pytest.raises(InputError, match="no clip of held-out has a class and 8 frames"):
        clip_graphs(Told(tmp_path, by_motion), store, splits=("held-out",))


def test_who_may_be_a_neighbour():
    random = np.random.default_rng(0)
    clips, starts = random.integers(0, 3, 30).tolist(), random.integers(0, 40, 30).tolist()
    windows = tuple(Window(clip, start, 0, "a") for clip, start in zip(clips, starts, strict=True))
    graphs = Graphs(np.zeros((30, 2, 2), np.float32), windows, tuple(f"r{clip}" for clip in clips), observed=8)
    apart, other = graphs.apart(), graphs.of_other_recordings()
    for one in range(30):
        for two in range(30):
            frames = set(range(starts[one], starts[one] + 8)) & set(range(starts[two], starts[two] + 8))
            assert apart[one, two] == (clips[one] != clips[two] or not frames)
            assert other[one, two] == (clips[one] != clips[two])


# --- agreement ---------------------------------------------------------------------------------------------------------------


def test_agreement_by_hand():
    """On a line at 0, 1, 3, 10, 11: a's neighbour b is of another class, the rest finds its own."""
    vectors, labels = np.array([[0.0], [1.0], [3.0], [10.0], [11.0]]), ["x", "y", "y", "z", "z"]
    everybody = ~np.eye(5, dtype=bool)
    found = neighbour_agreement(vectors, labels, everybody)
    assert found is not None and found.windows == 4  # nobody else is an x
    assert found.share == 3 / 4  # 1 goes to 0
    assert found.chance == 1 / 4
    far = everybody.copy()
    far[3, 4] = far[4, 3] = False
    found = neighbour_agreement(vectors, labels, far)
    assert found is not None and (found.windows, found.share, found.chance) == (2, 1 / 2, 1 / 4)
    assert neighbour_agreement(vectors, list("abcde"), everybody) is None


def test_agreement_against_a_library():
    random = np.random.default_rng(1)
    vectors, labels = random.normal(size=(120, 9)), random.choice(list("abcd"), 120).tolist()
    vectors[:, 0] += [3 * "abcd".index(label) for label in labels]
    nearest = NearestNeighbors(n_neighbors=2).fit(vectors).kneighbors(vectors, return_distance=False)[:, 1]
    found = neighbour_agreement(vectors, labels, ~np.eye(120, dtype=bool))
    assert found is not None and found.windows == 120
    assert found.share == np.mean([labels[row] == labels[other] for row, other in enumerate(nearest)])
    sizes = Counter(labels)
    assert found.chance == pytest.approx(np.mean([(sizes[label] - 1) / 119 for label in labels]))


# --- the figures -------------------------------------------------------------------------------------------------------------


def test_strongest_links_of_each_action(store: Store, tmp_path: Path):
    drawing = actional_links(Told(tmp_path, by_motion), store, actions=["nodding", "stepping"], count=6)
    names = ["nodding, clip 1", "nodding, clip 2", "stepping"]
    assert list(drawing.pictures) == names and [panel["name"] for panel in drawing.numbers["panels"]] == names
    assert len({panel["recording"] for panel in drawing.numbers["panels"]}) == 3, "two recordings of the first action"
    pairs = []
    for panel in drawing.numbers["panels"]:
        (index,) = [k for k, clip in enumerate(store.clips) if clip.recording == panel["recording"] and clip.split == "test"]
        window = np.array(store.clip_frames(index)[panel["frame"] : panel["frame"] + OBSERVED])
        graph = by_motion(torch.from_numpy(window)).softmax(dim=1).numpy()
        every = sorted(((graph[i, j], i, j) for i in range(5) for j in range(5) if i != j), reverse=True)[:6]
        joints = BODY["joints"]
        assert [(link["to"], link["from"]) for link in panel["links"]] == [(joints[i], joints[j]) for _, i, j in every]
        np.testing.assert_allclose([link["weight"] for link in panel["links"]], [weight for weight, _, _ in every], rtol=1e-5)
        pairs.append({(i, j) for _, i, j in every})
    assert drawing.numbers["shared"] == [[len(one & two) for two in pairs] for one in pairs]
    assert f"of two recordings, share {len(pairs[0] & pairs[1])} of their 6 links" in drawing.html
    edges = {frozenset(edge) for edge in ((0, 1), (1, 2), (0, 3), (0, 4))}
    far = sum(frozenset(pair) not in edges for each in pairs for pair in each)
    (words,) = drawing.words
    assert "on average; by chance it would be 1.8." in words  # 36 of 20
    assert f"{100 * far / sum(map(len, pairs)):.0f} % of the links lead between joints that no bone connects" in words
    assert "(by chance 60 %)" in words  # 4 edges in two directions, of 20 pairs
    assert drawing.whole.width > sum(picture.width for picture in drawing.pictures.values())
    assert all(picture.content in drawing.whole.content for picture in drawing.pictures.values())
    weights = [link["weight"] for panel in drawing.numbers["panels"] for link in panel["links"]]
    assert (
        f"weigh {min(weights):.3f} to {max(weights):.3f}, where attention spread evenly over the joints would be 0.200"
        in drawing.html
    )
    check_self_contained(page("a", drawing.html))
    assert Page(drawing.html).texts["h3"] == names
    json.dumps(drawing.numbers)


def test_both_ends_of_one_recording(store: Store, tmp_path: Path):
    drawing = actional_links(Told(tmp_path, by_motion), store, actions=["nodding", "stepping"], splits=("train",))
    assert list(drawing.pictures) == ["nodding, first window", "nodding, last window", "stepping"]
    assert "The two of nodding, of one recording, share" in drawing.words[0]


def test_map_tells_classes_apart_where_graphs_do(store: Store, tmp_path: Path):
    """Graphs that say the class; and graphs that say nothing."""

    def telling(window: Tensor) -> Tensor:
        moving = window.double().std(dim=0).sum(dim=1)[1:4].argmax()
        return 4 * torch.eye(5, dtype=torch.float64).roll(int(moving), dims=0) + 0.1 * by_motion(window)

    told = actional_map(Told(tmp_path, telling), store, each=6)
    assert told.numbers["other_recordings"]["share"] > 0.9 > 0.4 > told.numbers["other_recordings"]["chance"]
    random = torch.Generator().manual_seed(0)
    silent = actional_map(Told(tmp_path, lambda _: torch.randn(5, 5, generator=random)), store, each=6)
    assert abs(silent.numbers["other_recordings"]["share"] - silent.numbers["other_recordings"]["chance"]) < 0.3

    points = told.numbers["points"]
    assert Counter(point["action"] for point in points) == dict.fromkeys(CLASSES, 12)
    places = {name: np.array([(p["x"], p["y"]) for p in points if p["action"] == name]) for name in CLASSES}
    again = actional_map(Told(tmp_path, telling), store, each=6)
    assert again.numbers == told.numbers and again.html == told.html
    # t-SNE draws clusters: a class is tighter than all points.
    every = np.concatenate(list(places.values()))
    assert np.mean([group.std(axis=0).mean() for group in places.values()]) < 0.7 * every.std(axis=0).mean()
    (picture,) = told.pictures.values()
    assert len(re.findall(r'class="mark ', picture.content)) == 36 + 3
    check_self_contained(page("a", told.html))
    json.dumps(told.numbers)
    share, chance = told.numbers["other_recordings"]["share"], told.numbers["other_recordings"]["chance"]
    assert f"Of 36 windows {100 * share:.0f} % have their nearest graph of another recording in their own action" in told.html
    assert f"(by chance {100 * chance:.0f} %)" in told.html and "tell recordings apart" not in told.html
    alone = actional_map(Told(tmp_path, telling), store, each=12, splits=("train",))
    assert alone.numbers["other_recordings"] is None and "may tell recordings apart and not actions" in alone.words[0]


def test_map_of_too_few_windows_or_of_one_graph(store: Store, tmp_path: Path):
    with pytest.raises(InputError, match="the same graph from all 36 windows"):
        actional_map(Told(tmp_path, lambda _: torch.zeros(5, 5)), store, each=6)
    with pytest.raises(InputError, match="2 windows are too few"):
        actional_map(Told(tmp_path, by_motion), store, each=1, actions=["nodding"])


def test_strips_of_what_came_and_what_was_expected(store: Store, tmp_path: Path):
    protocol = load_protocol("demo", observed=OBSERVED + 4, future=FUTURE, step=1)
    told = Told(tmp_path, by_motion)
    models = {"told": told, "zero_velocity": ZeroVelocity()}
    drawing = predicted_strips(models, protocol, store, actions=["stepping"], every=40)
    window = next(window for window in protocol.windows(store).windows if window.action == "stepping")
    frames = np.array(store.clip_frames(window.clip)[window.start :][: OBSERVED + 4 + FUTURE])
    last, true = frames[OBSERVED + 3], frames[OBSERVED + 4 :]
    assert told.seen[0].shape[1] == OBSERVED, "it sees as many frames as it wants"
    numbers = drawing.numbers["stepping"]
    height = max(max(true[0, joint, axis] for joint in range(5)) - min(true[0, k, axis] for k in range(5)) for axis in range(3))
    for name, pose in (("told", last + 1), ("zero_velocity", last)):
        expected = {
            40 * (1 + ahead): sum(float(np.linalg.norm(pose[k] - true[ahead, k])) for k in range(5)) / 5 / height
            for ahead in range(FUTURE)
        }
        assert numbers["distance"][name] == pytest.approx(expected, rel=1e-5)
    content = drawing.pictures["stepping"].content
    assert [int(text) for text in re.findall(r">(\d+)</text>", content)] == [40, 80, 120, 160]
    # Two bodies a cell of a model's row, one where the truth stands alone; each has a head.
    heads = Counter(re.findall(r'<circle class="(\w+) thin bones"', content))
    assert heads == {"truth": 4, "frozen": 8, "guess": 8}
    assert f"told {100 * numbers['distance']['told'][160]:.1f} %" in drawing.html and "zero velocity" in drawing.html
    check_self_contained(page("a", drawing.html))
    json.dumps(drawing.numbers)


def test_strips_that_cannot_be(store: Store):
    protocol = load_protocol("demo", observed=OBSERVED, future=FUTURE, step=1)
    with pytest.raises(InputError, match="no clip of running here"):
        predicted_strips({"zero velocity": ZeroVelocity()}, protocol, store, actions=["running"])
    with pytest.raises(InputError, match="predicts nothing"):
        predicted_strips({"zero velocity": ZeroVelocity()}, load_protocol("recognition"), store)
    silent = {"silent": lambda _observed, _horizon: Output(None, None)}
    with pytest.raises(InputError, match="silent: predicts no motion"):
        predicted_strips(silent, protocol, store)
