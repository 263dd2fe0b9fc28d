"""Several persons in a recording (reading 19): drawn, recognised and judged together, predicted one by one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from symgnn.cli import main
from symgnn.config import DataConfig
from symgnn.data import ClipRecord, Store, WindowSampler, group_persons, write_store
from symgnn.data.windows import Changes
from symgnn.errors import InputError
from symgnn.evaluation import evaluate, load_protocol
from symgnn.models.checkpoint import Card, TrainedModel, save
from symgnn.nn import max_of_persons, mean_of_persons
from symgnn.runtime import predict
from symgnn.training import training_step
from symgnn.training.module import _share
from symgnn.types import Batch, Output
from tiny import CLASSES, FUTURE, OBSERVED, TRAINING, heads_of, layout, make_batch, make_model, make_preset, motion, networks_of

CLIPS = (
    ("duet", 0, 0, 30),
    ("duet", 1, 0, 30),
    ("solo", 0, 1, 30),
    ("trio", 2, 2, 26),
    ("trio", 0, 2, 26),
    ("trio", 1, 2, 26),
    ("late", 0, 0, 30),
    ("late", 1, 0, 20),  # another length: the frames are not the same ones
    ("two things", 0, 0, 30),
    ("two things", 1, 1, 30),
)
"""Recording, person, class, frames."""


def scenes(folder: Path, split: str = "train") -> Store:
    clips = [
        (ClipRecord(recording=name, person=person, label=label, split=split), motion(label, 0.7 * number + person, frames))
        for number, (name, person, label, frames) in enumerate(CLIPS)
    ]
    return write_store(folder / split, clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)


def test_who_is_seen_together(tmp_path: Path):
    store = scenes(tmp_path)
    every = range(len(CLIPS))
    assert group_persons(store, every, 1) == [(index,) for index in every]
    assert group_persons(store, every, 2) == [(0, 1), (2,), (4, 5), (6,), (7,), (8,), (9,)]
    assert group_persons(store, every, 3) == [(0, 1), (2,), (4, 5, 3), (6,), (7,), (8,), (9,)]
    # A held-out half of a scene leaves the other half alone.
    assert group_persons(store, [1, 2, 3], 2) == [(1,), (2,), (3,)]


def test_one_person_twice_is_two_samples(tmp_path: Path):
    clips = [
        (ClipRecord(recording="a", person=person), motion(0, float(number), 20)) for number, person in enumerate((0, 0, 1))
    ]
    store = write_store(tmp_path / "store", clips, layout=layout(), space="xyz", fps=25.0)
    assert group_persons(store, range(3), 2) == [(0, 2), (1,)]


def test_windows_of_a_scene_are_of_the_same_frames_and_changed_alike(tmp_path: Path):
    store = scenes(tmp_path)
    settings = {"observed": 5, "future": 2, "persons": 2}
    plain = WindowSampler.from_store(store, range(len(CLIPS)), **settings)
    assert plain.recordings == 7
    generator = torch.Generator().manual_seed(0)
    batch = plain.sample(60, generator)
    assert batch.together is not None and batch.together.max() == 59
    whole = torch.cat([batch.observed, batch.future], dim=1).numpy()
    starts: dict[int, set[int]] = {}
    for row, (scene, clip) in enumerate(zip(batch.together.tolist(), batch.clip.tolist(), strict=True)):
        frames = store.clip_frames(clip)
        (start,) = (first for first in range(len(frames) - 6) if np.array_equal(frames[first : first + 7], whole[row]))
        starts.setdefault(scene, set()).add(start)
    assert all(len(found) == 1 for found in starts.values())
    # The class is told once, by the first person; together they are the groups above.
    rows = list(zip(batch.together.tolist(), batch.clip.tolist(), batch.label.tolist(), strict=True))
    for scene in range(60):
        clips = tuple(clip for at, clip, _ in rows if at == scene)
        assert clips in group_persons(store, range(len(CLIPS)), 2)
        labels = [label for at, _, label in rows if at == scene]
        assert labels == [CLIPS[clips[0]][2], *[-1] * (len(clips) - 1)]
    turned = WindowSampler.from_store(store, range(len(CLIPS)), changes=Changes(rotation=180.0, scale=0.5), **settings)
    moved = turned.sample(60, torch.Generator().manual_seed(0))
    assert moved.together is not None and torch.equal(moved.clip, batch.clip)
    for scene in range(60):
        both = (moved.together == scene).nonzero().flatten()
        # One rotation and scale takes all persons of a scene from where they were to where they are.
        before = batch.observed[both].reshape(-1, 3).numpy().astype(np.float64)
        after = moved.observed[both].reshape(-1, 3).numpy().astype(np.float64)
        found, _, rank, _ = np.linalg.lstsq(before, after, rcond=None)
        assert rank == 3 and np.allclose(before @ found, after, atol=1e-4)
        gram = found @ found.T
        assert np.allclose(gram, gram[0, 0] * np.eye(3), atol=1e-3)


def test_spread_tells_each_scene_once(tmp_path: Path):
    store = scenes(tmp_path)
    windows = WindowSampler.from_store(store, range(len(CLIPS)), observed=5, future=2, persons=2)
    whole = windows.spread(3)
    assert len(whole.label) == 3 * 9 and int((whole.label >= 0).sum()) == 3 * 7
    parts = [cut() for cut in windows.spread_batches(3, 4)]
    assert torch.equal(torch.cat([part.observed for part in parts]), whole.observed)
    assert torch.equal(torch.cat([part.label for part in parts]), whole.label)


def test_a_mean_over_persons_by_hand():
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 7.0], [0.0, 1.0], [0.0, 2.0], [0.0, 6.0]])
    found = mean_of_persons(values, torch.tensor([0, 0, 1, 2, 2, 2]))
    assert found.tolist() == [[2.0, 3.5], [2.0, 3.5], [7.0, 7.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]


def test_a_maximum_over_persons_by_hand():
    values = torch.tensor([[-1.0, 2.0], [-3.0, 5.0], [7.0, -7.0], [0.0, 1.0], [0.0, 6.0], [-4.0, 2.0]], requires_grad=True)
    together = torch.tensor([0, 0, 1, 2, 2, 2])
    found = max_of_persons(values, together)
    assert found.tolist() == [[-1.0, 5.0], [-1.0, 5.0], [7.0, -7.0], [0.0, 6.0], [0.0, 6.0], [0.0, 6.0]]
    # The gradient is that of the largest; two of the same size share it.
    found[[0, 2, 3]].sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.0], [0.5, 1.0], [0.0, 0.0]]
    assert max_of_persons(values, None) is values


TOGETHER = torch.tensor([0, 0, 1, 2, 2, 3])


def test_scores_are_of_the_mean_features_and_futures_are_ones_own():
    model = make_model(bone=True).eval()
    batch = make_batch()
    found = model(batch.observed, 3, TOGETHER)
    assert found.logits is not None and found.future is not None
    # By hand: the features of both persons, averaged before the last layer of each network's head.
    features = model.encode(batch.observed)
    scores = []
    for network, each in zip(networks_of(model), features, strict=True):
        head, _ = heads_of(network)
        pooled = head.fuse(each.hidden).mean(dim=1)
        duets = [pooled[[0, 1]].mean(dim=0), pooled[2], pooled[[3, 4]].mean(dim=0), pooled[5]]
        scores.append(head.classify(torch.stack([duets[scene] for scene in (0, 0, 1, 2, 2, 3)])))
    assert torch.allclose(found.logits, scores[0] + model.config.bone_weight * scores[1], atol=1e-12)
    # A person alone has the same scores as without anybody else in the batch; a duet's differ from each one's own.
    alone = model(batch.observed, 3)
    assert alone.logits is not None
    assert torch.allclose(found.logits[[2, 5]], alone.logits[[2, 5]], atol=1e-12)
    assert (found.logits[[0, 1, 3, 4]] - alone.logits[[0, 1, 3, 4]]).abs().max() > 1e-4
    # The order of the second and further persons does not matter.
    swapped = model(batch.observed[[1, 0, 2, 4, 3, 5]], 3, TOGETHER)
    assert torch.allclose(swapped.logits, found.logits, atol=1e-12)
    assert torch.allclose(swapped.future[[1, 0, 2, 4, 3, 5]], found.future, atol=1e-12)


def test_the_first_person_places_the_others():
    """Two who walk apart still do, in the body's own coordinates: both are turned and moved by the first one's body."""
    body = layout()
    model = make_model(placement="centre")
    batch = make_batch()
    away = batch.observed + torch.arange(6.0).double()[:, None, None, None]
    placed, way = model.place(away, TOGETHER)
    root = body.root_node
    for row, first in enumerate((0, 0, 2, 3, 3, 5)):
        assert torch.allclose(placed[row], away[row] - away[first, 0, root], atol=1e-12)
    assert torch.allclose(way.undo(placed), away, atol=1e-12)


def test_a_step_counts_a_recording_once():
    """The losses of a batch with duets: the mean cross entropy over recordings, the L1 over persons; by hand."""
    model = make_model(bone=False)
    batch = make_batch()
    label = torch.tensor([0, -1, 1, 2, -1, 0])
    step = training_step(model, replace(batch, label=label, together=TOGETHER), TRAINING)
    output = model(batch.observed, FUTURE, TOGETHER)
    assert output.logits is not None and step.recognition is not None and step.prediction is not None
    log = output.logits.log_softmax(dim=1)
    assert step.recognition.item() == pytest.approx(-(log[0, 0] + log[2, 1] + log[3, 2] + log[5, 0]).item() / 4)
    truth = model.normalise(batch.future)[0]
    guess = model.normalise(output.future)[0]
    assert step.prediction.item() == pytest.approx((guess - truth).abs().mean().item())


def test_processes_share_recordings_not_rows():
    batch = make_batch()
    batch = Batch(batch.observed, batch.future, batch.label, batch.clip, TOGETHER)
    first, second = _share(batch, 0, 2), _share(batch, 1, 2)
    assert first.clip.tolist() == [0, 1, 3, 4] and second.clip.tolist() == [2, 5]
    assert first.together is not None and first.together.tolist() == [0, 0, 1, 1]
    assert second.together is not None and second.together.tolist() == [0, 1]


class Naive:
    """Scores that tell which clip is seen: a function that knows nothing of persons."""

    name = "naive"

    def __call__(self, observed: torch.Tensor, horizon: int) -> Output:
        return Output(logits=observed.mean(dim=(1, 2)), future=observed[:, -1:].expand(-1, horizon, -1, -1))


def test_recordings_are_judged_once_and_every_person_is_predicted(tmp_path: Path):
    store = scenes(tmp_path, "test")
    rules = replace(load_protocol("demo", observed=8, future=4, persons=2), milliseconds=(40, 160))
    windows = rules.windows(store).windows
    assert [(window.clip, window.others) for window in windows[::3]] == [
        (0, (1,)),
        (2, ()),
        (4, (5,)),
        (6, ()),
        (7, ()),
        (8, ()),
        (9, ()),
    ]
    result = evaluate(Naive(), rules, store)
    found = result.recognition
    assert found is not None and found.clips == 3 * 7 and sum(result.clips.values()) == 3 * 7
    # By hand.
    hits, errors = 0, {160: {}}
    for window in windows:
        people = [store.clip_frames(clip)[window.start :][:12].astype(np.float64) for clip in (window.clip, *window.others)]
        scores = np.mean([person[:8].mean(axis=(0, 1)) for person in people], axis=0)
        hits += int(scores.argmax() == window.label)
        for person in people:
            errors[160].setdefault(window.action, []).append(np.linalg.norm(person[11] - person[7], axis=1).mean())
    assert found.top1 == hits / 21
    assert result.errors is not None
    by_hand = np.mean([np.mean(of) for of in errors[160].values()])
    assert result.errors.average["mpjpe"][160] == pytest.approx(by_hand, rel=1e-5)


def test_a_trained_model_is_told_who_is_together(tmp_path: Path):
    store = scenes(tmp_path, "test")
    preset = make_preset(tmp_path)
    network = make_model(bone=False).float().eval()
    card = Card(preset, layout(), CLASSES, tuple((0.0,) * 3 for _ in range(5)), 25.0, "0")
    model = TrainedModel(network, card).eval()
    rules = load_protocol("recognition", observed=OBSERVED, step=1, persons=3)
    result = evaluate(model, rules, store)
    assert result.recognition is not None
    confusion = np.zeros((3, 3), dtype=int)
    for window in rules.windows(store).windows:
        people = [store.clip_frames(clip)[window.start :][:OBSERVED] for clip in (window.clip, *window.others)]
        logits = network(torch.from_numpy(np.stack(people)), 1, torch.zeros(len(people), dtype=torch.long)).logits
        confusion[window.label, int(logits[0].argmax())] += 1
    assert np.array_equal(result.recognition.confusion, confusion)


def test_predict_takes_persons_together(tmp_path: Path):
    preset = make_preset(tmp_path)
    network = make_model(bone=False).float().eval()
    card = Card(preset, layout(), CLASSES, tuple((0.0,) * 3 for _ in range(5)), 25.0, "0")
    model = TrainedModel(network, card).eval()
    clips = [motion(number % 3, 0.4 * number, 12).astype(np.float32) for number in range(6)]
    found = predict(model, clips, together=[7, 7, 2, 5, 5, 3], batch=2)
    windows = torch.from_numpy(np.stack([clip[-OBSERVED:] for clip in clips]))
    expected = network(windows, FUTURE, TOGETHER)
    assert expected.logits is not None
    for one, logits in zip(found, expected.logits.softmax(dim=1), strict=True):
        assert list(one.probabilities.values()) == pytest.approx(logits.tolist(), abs=1e-5)
    for wrong, words in (([1, 1], "expected one for each of 6"), ([1, 2, 1, 3, 4, 5], "side by side")):
        with pytest.raises(InputError, match=words):
            predict(model, clips, together=wrong)


def test_a_ratio_needs_whole_clips():
    with pytest.raises(ValueError, match="whole or repeat"):
        DataConfig(ratio=0.5)


def test_the_command_predicts_persons_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As ``predict`` does when it is told; those over other frames are alone."""
    store = scenes(tmp_path, "test")
    preset = make_preset(tmp_path, {"difference_orders": (0, 1, 2)})
    preset = replace(preset, data=replace(preset.data, persons=2))
    card = Card(preset, layout(), CLASSES, tuple((0.0,) * 3 for _ in range(5)), 25.0, "0")
    model = TrainedModel(make_model(bone=False).float().eval(), card).eval()
    save(tmp_path / "model.ckpt", model)
    out = tmp_path / "out.json"
    status = main(["predict", str(tmp_path / "model.ckpt"), str(store.path), "--out", str(out)])
    assert status == 0, capsys.readouterr().err
    told = [list(clip["probabilities"].values()) for clip in json.loads(out.read_text())["clips"]]
    # A class is not asked for: of the two who do different things both are in one recording.
    together = [0, 0, 2, 3, 3, 5, 6, 7, 8, 8]
    found = predict(model, [np.array(store.clip_frames(index)) for index in range(len(CLIPS))], together=together)
    assert told == [pytest.approx(list(one.probabilities.values()), abs=1e-5) for one in found]
