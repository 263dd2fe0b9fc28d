"""Figs. 11, 12 and 13, drawn from trained models and a store, with the numbers behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from symgnn.data import Store, stored_mean
from symgnn.errors import InputError
from symgnn.evaluation import Model, Protocol, Window, device_of
from symgnn.models.checkpoint import Described, TrainedModel, build
from symgnn.viz import (
    Picture,
    below,
    beside,
    body_of,
    clearest_diagram,
    links_picture,
    positions,
    rest_pose,
    scatter_picture,
    strip_picture,
    strongest_links,
    titled,
)
from symgnn.viz.page import plain

AT_A_TIME = 64
"""Windows that a model sees at once."""
MOST_WINDOWS = 1500
"""Graphs in a map: of more, every so many-th is taken."""
Array = np.ndarray


@dataclass(frozen=True)
class Drawing:
    """A figure for a self-contained page, and as data."""

    html: str
    """Fragment for ``viz.page.page``."""
    pictures: Mapping[str, Picture]
    """Its pictures by name."""
    numbers: Mapping[str, Any]
    """What it shows, in plain values that JSON can hold."""
    words: tuple[str, ...]
    """What was measured of it, plain text, a paragraph each."""
    whole: Picture
    """All of its pictures in one, for a file of its own."""


@dataclass(frozen=True)
class Graphs:
    """Actional graphs of many windows."""

    actional: Float32[Array, "window joint joint"]
    """A_act of each, eq. (2)."""
    windows: tuple[Window, ...]
    """Where each was seen; ``action`` is its class."""
    recordings: tuple[str, ...]
    """Recording of each, with the file it is from: a data set may use a name in its test part again."""
    observed: int
    """Frames of a window."""

    def apart(self) -> Bool[Array, "window window"]:
        """Pairs of windows that share no frame."""
        clip, start = (np.array([getattr(window, name) for window in self.windows]) for name in ("clip", "start"))
        same = np.array(self.recordings)[:, None] == np.array(self.recordings)[None]
        return ~(same & (np.abs(start[:, None] - start[None]) < self.observed)) & ~np.eye(len(clip), dtype=bool)

    def of_other_recordings(self) -> Bool[Array, "window window"]:
        """Pairs of windows of two recordings."""
        return np.array(self.recordings)[:, None] != np.array(self.recordings)[None]


def clip_graphs(
    model: Described, store: Store, *, each: int = 32, splits: Sequence[str] = ("test",), actions: Sequence[str] = ()
) -> Graphs:
    """The actional graphs that a model infers from windows evenly spread over clips.

    Args:
        model: a trained model with an actional graph, of windows at a recording's own rate.
        store: the clips.
        each: windows of each clip, fewer where it has not so many.
        splits: parts of the store that are looked at.
        actions: classes; all by default.

    Raises:
        InputError: store and model do not fit, no clip is long enough, a class is not there, or there is no actional graph.
    """
    data = model.preset.data
    store.require(model.layout, data.space)
    if data.sampling != "window":
        raise InputError(f"{model.preset.name}: sees whole clips (data.sampling {data.sampling}); expected a model of windows")
    if unknown := sorted(set(actions) - set(store.class_names)):
        raise InputError(f"{store.path}: has no class {unknown[0]!r} (there are: {', '.join(store.class_names)})")
    windows = []
    for index in store.select(split=tuple(splits)):
        clip = store.clips[index]
        last = -(-clip.length // data.step) - data.observed
        if clip.label < 0 or last < 0 or (actions and store.class_names[clip.label] not in actions):
            continue
        starts = np.unique(np.linspace(0, last, min(each, last + 1)).round().astype(int)).tolist()
        windows += [Window(index, start, clip.label, store.class_names[clip.label]) for start in starts]
    if not windows:
        raise InputError(
            f"{store.path}: no clip of {' or '.join(splits)} has a class and {data.observed} frames, one in {data.step} kept"
        )
    windows = windows[:: -(-len(windows) // MOST_WINDOWS)]
    nodes = list(store.layout.columns(store.space))
    found = []
    for first in range(0, len(windows), AT_A_TIME):
        rows = [
            store.clip_frames(window.clip)[:: data.step][window.start : window.start + data.observed][:, nodes]
            for window in windows[first : first + AT_A_TIME]
        ]
        with torch.inference_mode():
            actional = model(torch.from_numpy(np.stack(rows)).to(device_of(model)), 1).actional
        if actional is None:
            raise InputError(
                f"{model.preset.name}: has no actional graph of joints (model.graphs structural, parts or bones alone)"
            )
        found.append(actional.float().cpu().numpy())
    clips = [store.clips[window.clip] for window in windows]
    names = tuple(f"{clip.recording} ({clip.source})" if clip.source else clip.recording for clip in clips)
    return Graphs(np.concatenate(found), tuple(windows), names, data.observed)


# --- Fig. 11 ----------------------------------------------------------------------------------------------------------------


def actional_links(
    model: Described, store: Store, *, actions: Sequence[str] = (), count: int = 15, splits: Sequence[str] = ("test",)
) -> Drawing:
    """The strongest actional links on the body, a panel an action, and two of the first action (Fig. 11).

    A panel is one window. The two of the first action are of different recordings where it has several, else of both ends of
    one recording.

    Args:
        model: a trained model.
        store: its data.
        actions: classes, the first one twice; by default walking, if it is there, and three others.
        count: links drawn.
        splits: parts of the store that are looked at.
    """
    graphs = clip_graphs(model, store, each=2, splits=splits, actions=actions)
    there = list(dict.fromkeys(window.action for window in graphs.windows))
    if not actions:
        actions = sorted(there, key=lambda action: "walking" not in action)[:4]
    if missing := [action for action in actions if action not in there]:
        raise InputError(f"{store.path}: no clip of {missing[0]} in {' or '.join(splits)} is as long as a window")
    rows = {action: [row for row, window in enumerate(graphs.windows) if window.action == action] for action in actions}
    chosen = [(actions[0], rows[actions[0]][0]), (actions[0], rows[actions[0]][-1])]
    chosen += [(action, rows[action][0]) for action in actions[1:]]

    body = body_of(store.layout, store.space)
    rest = rest_pose(store.layout, store.space)
    nodes = list(store.layout.columns(store.space))
    mean = stored_mean(store, store.select(split=("train", ""))).numpy()
    middle = positions(mean[nodes], store.layout, store.space, mean)
    pose = clearest_diagram(body, [middle] if rest is None else [rest, middle])
    assert pose is not None
    two_recordings = len({graphs.recordings[row] for _, row in chosen[:2]}) == 2
    pictures, panels, sets = {}, [], []
    for place, (action, row) in enumerate(chosen):
        links = strongest_links(graphs.actional[row], count)
        name = action
        if place < 2 and len(set(chosen[:2])) == 2:
            name += f", clip {place + 1}" if two_recordings else f", {('first', 'last')[place]} window"
        pictures[name] = links_picture(body, pose, links, name)
        sets.append({(link.to, link.source) for link in links})
        window = graphs.windows[row]
        panels.append(
            {
                "name": name,
                "action": action,
                "recording": graphs.recordings[row],
                "frame": window.start * model.preset.data.step,
                "links": [
                    {
                        "to": store.layout.node_names[link.to],
                        "from": store.layout.node_names[link.source],
                        "weight": link.weight,
                    }
                    for link in links
                ],
            }
        )
    shared = [[len(one & other) for other in sets] for one in sets]
    drawn = [pair for each in sets for pair in each]
    bones = {pair for one, other in store.layout.edges for pair in ((one, other), (other, one))}
    pairs = len(nodes) * (len(nodes) - 1)
    chance = {"shared": count**2 / pairs, "beyond bones": 1 - len(bones) / pairs}
    beyond = sum(pair not in bones for pair in drawn) / len(drawn)
    cards = "".join(f"<div><h3>{plain(name)}</h3>{picture.inline()}</div>" for name, picture in pictures.items())
    twins, others = shared[0][1], [links for row in shared[:2] for links in row[2:]]
    weights, even = [link["weight"] for panel in panels for link in panel["links"]], 1 / len(nodes)
    words = (
        f"The {count} strongest links of single windows: they weigh {min(weights):.3f} to {max(weights):.3f}, "
        f"where attention spread evenly over the joints would be {even:.3f}. "
    )
    if len(set(chosen[:2])) == 2:
        whence = "two recordings" if two_recordings else "one recording"
        words += f"The two of {_read(actions[0])}, of {whence}, share {twins} of their {count} links"
        words += f"; with the other actions they share {sum(others) / len(others):.1f} on average" if others else ""
        words += f"; by chance it would be {chance['shared']:.1f}. "
    words += (
        f"{100 * beyond:.0f} % of the links lead between joints that no bone connects (by chance "
        f"{100 * chance['beyond bones']:.0f} %). "
        "An arrow leads from the joint that is looked at to the joint that looks. The person faces us."
    )
    html = f'<figure><div class="wide">{cards}</div><figcaption>{escape(words)}</figcaption></figure>'
    whole = beside([titled(picture, _read(name)) for name, picture in pictures.items()], f"{count} strongest links", gap=28.0)
    numbers = {"panels": panels, "shared": shared, "even": even, "beyond_bones": beyond, "chance": chance}
    return Drawing(html, pictures, numbers, (words,), whole)


# --- Fig. 12 ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """How often the nearest neighbour of a window is of its own class."""

    share: float
    """Of the windows that have a neighbour."""
    chance: float
    """What a neighbour drawn at random from the same ones would give."""
    windows: int
    """How many there were."""


def neighbour_agreement(
    vectors: Float[Array, "window feature"], labels: Sequence[str], allowed: Bool[Array, "window window"]
) -> Agreement | None:
    """Leave-one-out agreement with the nearest neighbour, by Euclidean distance; None where nobody has a neighbour.

    Left out are windows that have no allowed neighbour of their own class: they could only be wrong.

    Args:
        vectors: a row a window.
        labels: class of each.
        allowed: who may be whose neighbour.
    """
    exact = vectors.astype(np.float64)
    squares = (exact**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * exact @ exact.T
    own = np.array(labels)[:, None] == np.array(labels)[None]
    judged = (own & allowed).any(axis=1)
    if not judged.any():
        return None
    nearest = np.where(allowed, distance, np.inf).argmin(axis=1)
    share = float(own[np.arange(len(own)), nearest][judged].mean())
    chance = float(((own & allowed).sum(axis=1)[judged] / allowed.sum(axis=1)[judged]).mean())
    return Agreement(share, chance, int(judged.sum()))


def actional_map(
    model: Described,
    store: Store,
    *,
    each: int = 32,
    actions: Sequence[str] = (),
    splits: Sequence[str] = ("test",),
    seed: int = 0,
    beside: Described | None = None,
) -> Drawing:
    """t-SNE of the actional graphs of many windows as vectors, by action (Fig. 12).

    Beside it two numbers that a map cannot tell: how often the graph nearest to a window's, in all dimensions, is of its own
    action, among the windows that share no frame with it, and among those of other recordings.

    Args:
        model: a trained model.
        store: its data.
        each: windows of each clip.
        actions: classes; all by default.
        splits: parts of the store that are looked at.
        seed: of the map.
        beside: the same network before training, whose numbers stand beside; see ``untrained``.

    Raises:
        InputError: fewer than 5 windows, one graph for all of them, or what ``clip_graphs`` says.
    """
    from sklearn.manifold import TSNE  # takes a second to load

    graphs = clip_graphs(model, store, each=each, splits=splits, actions=actions)
    vectors = graphs.actional.reshape(len(graphs.actional), -1)
    if len(vectors) < 5:
        raise InputError(f"{store.path}: {len(vectors)} windows are too few for a map; expected 5 or more")
    varied = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    deviation = float(varied.std())
    if not deviation > 0 or (vectors == vectors[0]).all():
        raise InputError(f"{model.preset.name}: infers the same graph from all {len(vectors)} windows: there is nothing to map")
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(varied / deviation)
    labels = [window.action for window in graphs.windows]
    groups = {action: places[[label == action for label in labels]] for action in dict.fromkeys(labels)}
    named = {name.replace("_", " "): points for name, points in groups.items()}
    picture = scatter_picture(named, "t-SNE of actional graphs")

    apart = neighbour_agreement(vectors, labels, graphs.apart())
    beyond = neighbour_agreement(vectors, labels, graphs.of_other_recordings())
    words = f"{len(vectors)} windows of {len(set(graphs.recordings))} recordings; distances between far clusters mean little. "
    words += f"Between windows an entry of a graph deviates by {deviation:.2g} from its mean, where even attention has "
    words += f"{1 / graphs.actional.shape[1]:.3f} in each. "
    before = (None, None)
    if beside is not None:
        first = clip_graphs(beside, store, each=each, splits=splits, actions=actions)
        rows = first.actional.reshape(len(vectors), -1)
        before = tuple(neighbour_agreement(rows, labels, allowed) for allowed in (graphs.apart(), graphs.of_other_recordings()))
    whose = ("that shares no frame", "of another recording")
    for found, whom, control in zip((apart, beyond), whose, before, strict=True):
        if found is not None:
            earlier = "" if control is None else f", before training {100 * control.share:.0f} %"
            words += (
                f"Of {found.windows} windows {100 * found.share:.0f} % have their nearest graph {whom} in their own action "
                f"(by chance {100 * found.chance:.0f} %{earlier}). "
            )
    if apart is not None and beyond is None:
        words += "Of each action there is one recording, so that this may tell recordings apart and not actions. "
    html = f"<figure>{picture.inline(natural=True)}<figcaption>{escape(words.strip())}</figcaption></figure>"
    numbers = {
        "deviation": deviation,
        "points": [
            {"action": label, "recording": recording, "frame": window.start * model.preset.data.step, "x": x, "y": y}
            for label, recording, window, (x, y) in zip(
                labels, graphs.recordings, graphs.windows, places.astype(float).tolist(), strict=True
            )
        ],
        "perplexity": perplexity,
        "seed": seed,
        "apart": _plain(apart),
        "other_recordings": _plain(beyond),
        "before_training": {"apart": _plain(before[0]), "other_recordings": _plain(before[1])},
    }
    return Drawing(html, {"map": picture}, numbers, (words.strip(),), picture)


def untrained(model: TrainedModel) -> TrainedModel:
    """The same network as its preset's seed makes it, in the units that the trained one has.

    Graphs of a random network tell motions apart too: what a trained one's tell is worth no more than what lies between.
    """
    with torch.random.fork_rng():
        torch.manual_seed(model.preset.training.seed)
        network = build(model.preset, model.layout, len(model.class_names))
    known = model.network.state_dict()
    units = {name: value for name, value in known.items() if name in ("mean", "scale", "bone_mean", "bone_scale")}
    network.load_state_dict(units, strict=False)
    return TrainedModel(network.eval(), model.card, folded=True).to(model.network.mean.device).eval()


def _plain(found: Agreement | None) -> dict[str, float] | None:
    return None if found is None else {"share": found.share, "chance": found.chance, "windows": found.windows}


# --- Fig. 13 ----------------------------------------------------------------------------------------------------------------


def predicted_strips(
    models: Mapping[str, Model],
    protocol: Protocol,
    store: Store,
    *,
    actions: Sequence[str] = (),
    every: int = 80,
    until: int = 1000,
) -> Drawing:
    """True and predicted poses under each other, a row a model (Fig. 13): the first clip of the protocol for each action.

    Args:
        models: by the name of their row; each sees as many frames as it observes.
        protocol: whose clips and which milliseconds a frame.
        store: its data.
        actions: rows of the protocol; by default its first.
        every: milliseconds between two poses.
        until: milliseconds of the last one, if the protocol goes so far.

    Raises:
        InputError: the protocol predicts nothing or has no such action, or a model does not.
    """
    if not protocol.future:
        raise InputError(f"protocol {protocol.name} predicts nothing: there is no motion to draw")
    first = {window.action: window for window in reversed(protocol.windows(store).windows)}
    chosen = list(actions) or [next(reversed(first))]
    if unknown := [action for action in chosen if action not in first]:
        raise InputError(f"protocol {protocol.name}: no clip of {unknown[0]} here (there are: {', '.join(reversed(first))})")
    until = min(until, int(protocol.future * protocol.frame + 1e-6))
    moments = {time: round(time / protocol.frame) for time in (*range(every, until, every), until)}
    moments = {time: frame for time, frame in moments.items() if frame >= 1}
    body, nodes = body_of(store.layout, store.space), list(store.layout.columns(store.space))
    mean = next((model.stored_mean.cpu() for model in models.values() if isinstance(model, Described)), None)
    mean = (stored_mean(store, store.select(split=("train", ""))) if mean is None else mean).numpy()

    pictures, numbers, words, html = {}, {}, [], ""
    for action in chosen:
        window = first[action]
        rows = torch.from_numpy(protocol.cut(store, [window]))[:, :, nodes]
        past, true = rows.split([protocol.observed, protocol.future], dim=1)
        answers = {}
        for name, model in models.items():
            seen = model.preset.data.observed if isinstance(model, Described) else getattr(model, "observed", past.shape[1])
            with torch.inference_mode():
                future = model(past[:, -min(seen, past.shape[1]) :].to(device_of(model)), protocol.future).future
            if future is None:
                raise InputError(f"{name}: predicts no motion")
            answers[name] = positions(future[0].cpu().numpy(), store.layout, store.space, mean)
        came = positions(true[0].numpy(), store.layout, store.space, mean)
        pictures[action] = strip_picture(body, came, answers, moments)
        size = float((np.nanmax(came[0], axis=0) - np.nanmin(came[0], axis=0)).max()) or 1.0
        numbers[action] = {
            "recording": store.clips[window.clip].recording,
            "frame": window.start * protocol.step,
            "distance": {
                name: {
                    time: float(np.nanmean(np.linalg.norm(motion[frame - 1] - came[frame - 1], axis=-1))) / size
                    for time, frame in moments.items()
                }
                for name, motion in answers.items()
            },
        }
        said = (
            "What came (blue), and each prediction (orange) over it (grey): the first clip that the protocol draws, not chosen "
            f"by how well it went. Mean distance of the drawn joints at {max(moments)} ms, against the body's longest extent: "
            + ", ".join(
                f"{_read(name)} {100 * found[max(moments)]:.1f} %" for name, found in numbers[action]["distance"].items()
            )
            + "."
        )
        words.append(f"{_read(action)}: {said}")
        html += (
            f'<figure><h3>{plain(action)}</h3><div class="scroll">{pictures[action].inline(natural=True)}</div>'
            f"<figcaption>{escape(said)}</figcaption></figure>"
        )
    whole = below([titled(picture, _read(action)) for action, picture in pictures.items()], "Predicted poses")
    return Drawing(html, pictures, numbers, tuple(words), whole)


def _read(name: str) -> str:
    """As a person would write it."""
    return name.replace("_", " ")
