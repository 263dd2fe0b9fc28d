"""Fine-tuning: what is reused answers as before, what is new is as it was, and both are said."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import symgnn
from symgnn.cli import main
from symgnn.config import Preset, load_preset
from symgnn.data import ClipRecord, Store, write_store
from symgnn.models.checkpoint import Card, TrainedModel, build, load
from symgnn.runtime import prediction_page, write_predictions
from symgnn.skeleton import Layout, load_layout
from symgnn.training.own import fitted
from symgnn.training.reuse import reuse

CLASSES = ("run", "sit", "wave")


def preset(layout: str = "kinect20", observed: int = 8) -> Preset:
    own = load_preset("own")
    return replace(
        own,
        data=replace(own.data, layout=layout, observed=observed, future=3),
        model=replace(own.model, width=0.1, dropout=0.0),
    )


def trained(layout: str = "kinect20") -> TrainedModel:
    torch.manual_seed(1)
    network = build(preset(layout), load_layout(layout), len(CLASSES))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    card = Card(
        preset(layout), load_layout(layout), CLASSES, ((0.0, 0.0, 0.0),) * len(load_layout(layout).joints), 25.0, "0.1.0"
    )
    return TrainedModel(network, card).eval()


def fresh(classes: tuple[str, ...], layout: str = "kinect20", observed: int = 8):
    torch.manual_seed(2)
    return build(preset(layout, observed), load_layout(layout), len(classes)).eval()


MOTION = torch.randn(2, 8, 20, 3, generator=torch.Generator().manual_seed(0))


def test_the_same_body_and_classes():
    """Everything is taken over: the answers are the old model's."""
    old, new = trained(), fresh(CLASSES)
    found = reuse(new, old, load_layout("kinect20"), CLASSES)
    assert not found.new and not found.part and found.shared == found.total
    expected, output = old(MOTION, 3), new(MOTION, 3)
    torch.testing.assert_close(output.logits, expected.logits)
    torch.testing.assert_close(output.future, expected.future)


def test_one_network_of_two():
    """Bones alone take over the bone half, and give it back; the joints' weights fit nothing of it."""
    own = preset()
    two, one = (replace(own, model=replace(own.model, bone=True, joint=joint)) for joint in (True, False))
    body = load_layout("kinect20")
    torch.manual_seed(4)
    both, alone = (build(each, body, len(CLASSES)).eval() for each in (two, one))
    card = Card(two, body, CLASSES, ((0.0, 0.0, 0.0),) * len(body.joints), 25.0, "0.1.0")
    found = reuse(alone, TrainedModel(both, card), body, CLASSES)
    assert not found.new and found.shared == sum(weight.numel() for weight in both.networks[1].parameters())
    back = build(two, body, len(CLASSES)).eval()
    found = reuse(back, TrainedModel(alone, replace(card, preset=one)), body, CLASSES)
    assert found.new and all(name.startswith("networks.0.") for name in found.new)


def test_other_classes():
    """Scores of a class that both have are the old ones, wherever it stands now; the rest of the head is reused."""
    old, classes = trained(), ("wave", "jump", "run", "kick")
    new = fresh(classes)
    untouched = {name: value.clone() for name, value in new.named_parameters()}
    found = reuse(new, old, load_layout("kinect20"), classes)
    assert {name.split(".", 2)[2] for name in found.part} == {
        *("recognition.classify.weight", "recognition.classify.bias", "prediction.cell.weight_ih")
    } or {name.rpartition(".")[2] for name in found.part} == {"weight", "bias", "weight_ih"}
    logits, expected = new(MOTION, 3).logits, old(MOTION, 3).logits
    torch.testing.assert_close(logits[:, [0, 2]], expected[:, [2, 0]])
    after = dict(new.named_parameters())
    scores = next(name for name in found.part if name.endswith("classify.weight"))
    torch.testing.assert_close(after[scores][[1, 3]], untouched[scores][[1, 3]])
    inputs = next(name for name in found.part if name.endswith("cell.weight_ih"))
    before = dict(old.network.named_parameters())[inputs]
    torch.testing.assert_close(after[inputs][:, :9], before[:, :9])
    torch.testing.assert_close(after[inputs][:, [9, 11]], before[:, [11, 9]])
    torch.testing.assert_close(after[inputs][:, [10, 12]], untouched[inputs][:, [10, 12]])
    assert found.shared == sum(int((after[name] != untouched[name]).sum()) for name in after), (
        "random weights differ everywhere, so what changed is what was taken over"
    )


def test_another_body():
    """Weights between joints are new, and between parts where they are linked otherwise; those of features are not."""
    old, new = trained("cmu"), fresh(CLASSES)
    found = reuse(new, old, load_layout("kinect20"), CLASSES)
    parts_too = not same_parts(load_layout("cmu"), load_layout("kinect20"))
    edges = {
        name for name, _ in new.named_parameters() if name.endswith(".edges") and (parts_too or ".part_blocks." not in name)
    }
    assert set(found.new) == edges and len(edges) > 10
    assert bool(torch.isfinite(new(MOTION, 3).logits).all())
    assert any(line.startswith("new: 0.") for line in found.sentences())


def same_parts(one: Layout, other: Layout) -> bool:
    def links(layout: Layout) -> set[frozenset[str]]:
        return {frozenset(layout.part_names[part] for part in pair) for pair in layout.part_edges}

    return one.part_names == other.part_names and links(one) == links(other)


def test_another_window():
    """AGIM's first layer reads the whole window: of another length it is new, and nothing else is."""
    found = reuse(fresh(CLASSES, observed=12), trained(), load_layout("kinect20"), CLASSES)
    assert [name.split("agim.")[-1] for name in found.new] == 2 * ["embed.0.weight"], "of joints and bones"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    generator = torch.Generator().manual_seed(3)
    clips = [
        (ClipRecord(recording=f"r{k}", label=k % 2), torch.randn(30 + k, 20, 3, generator=generator).cumsum(0).numpy())
        for k in range(12)
    ]
    layout = load_layout("kinect20")
    return write_store(tmp_path / "store", clips, layout=layout, space="xyz", fps=30.0, class_names=("run", "hop"))


def test_what_the_store_decides(store: Store):
    chosen, reasons = fitted(load_preset("own"), store)
    assert (chosen.data.sampling, chosen.protocol, chosen.data.layout) == ("whole", "clips", "own")
    assert any("half of the clips have fewer than the 75 frames" in reason for reason in reasons)
    assert any("2 classes: run, hop" in reason for reason in reasons)
    begun, reasons = fitted(load_preset("own"), store, trained().card)
    assert (begun.data.sampling, begun.data.observed, begun.data.future, begun.model.width) == ("window", 8, 3, 0.1)
    assert begun.training.learning_rate == chosen.training.learning_rate / 4
    # The model's 25 frames a second of a store of 30 are every frame, of one of 120 every fifth.
    assert begun.data.step == 1
    fast = replace(trained().card, fps=6.0)
    assert fitted(load_preset("own"), store, fast)[0].data.step == 5


def test_long_recordings_and_no_classes(tmp_path: Path):
    """Windows at 25 frames a second of 60; nothing to recognise."""
    frames = torch.randn(400, 20, 3).numpy()
    clips = [(ClipRecord(recording=f"r{k}"), frames) for k in range(3)]
    store = write_store(tmp_path / "s", clips, layout=load_layout("kinect20"), space="xyz", fps=50.0)
    chosen, _ = fitted(load_preset("own"), store)
    data = chosen.data
    assert (data.sampling, data.step, data.observed, data.future, chosen.model.recognition) == ("window", 2, 50, 25, False)


def test_two_commands_and_fine_tuning(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """From a store to a model, and from that to one of other classes."""
    run = ["--training.steps", "4", "--training.validate-every", "4", "--training.batch", "4", "--model.width", "0.1"]
    assert main(["train", "own", "--data", str(store.path), "--out", str(tmp_path / "one"), *run]) == 0
    assert "whole clips in 32 + 4 frames" in capsys.readouterr().err
    model = load(tmp_path / "one" / "last.ckpt")
    assert model.class_names == ("run", "hop") and model.preset.protocol == "clips" and model.layout.name == "kinect20"
    report_of_whole_clips(store, tmp_path)
    clips = [(clip, store.clip_frames(index)) for index, clip in enumerate(store.clips)]
    other = write_store(tmp_path / "other", clips, layout=store.layout, space="xyz", fps=30.0, class_names=("crawl", "run"))
    again = [
        "train",
        "own",
        "--data",
        str(other.path),
        "--out",
        str(tmp_path / "two"),
        "--from",
        str(tmp_path / "one"),
        *run[:6],
    ]
    assert main(again) == 0
    said = capsys.readouterr().err
    assert "reused:" in said and "reused but for the classes:" in said
    assert load(tmp_path / "two" / "last.ckpt").class_names == ("crawl", "run")


def report_of_whole_clips(store: Store, tmp_path: Path) -> None:
    """The page has the figures of the JSON file, intervals as another library has them, and the clips' own times."""
    assert main(["data", "split", str(store.path), "--by", "random", "--holdout", "0.5"]) == 0
    html, figures = tmp_path / "report.html", tmp_path / "figures.json"
    judged = ["evaluate", str(tmp_path / "one"), "--data", str(store.path), "--html", str(html), "--json", str(figures)]
    assert main(judged) == 0
    page, found = html.read_text(), json.loads(figures.read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)))
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 6 == found["recognised_clips"]

    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %"

    def between(part: int, whole: int) -> str:
        low, high = binomtest(part, whole).proportion_ci(method="wilson")
        return f"{100 * low:.1f} % to {100 * high:.1f} %"

    right = int(confusion.trace())
    assert f"{right} of 6 test clips correctly" in text and share(right, 6) in text
    assert f"accuracy is between {between(right, 6).replace('to', 'and')}" in text
    for row, name in enumerate(("run", "hop")):
        clips, hits, answered = (int(n) for n in (confusion[row].sum(), confusion[row, row], confusion[:, row].sum()))
        other = ("hop", "run")[row]
        wrong = f"{other} ({clips - hits})" if clips > hits else "–"
        trusted = share(hits, answered) if answered else "–"
        line = f"{name} {clips} {hits} {share(hits, clips)} {between(hits, clips)} {answered} {trusted} {wrong}"
        assert clips == 0 or line in text
    test = [clip for clip in Store.open(store.path).clips if clip.split == "test"]
    assert sum(f"{clip.recording} The model calls it" in text for clip in test) == 2, "the first clip of each class is drawn"
    first = next(clip for clip in test if f"{clip.recording} The model calls it" in text)
    assert f">{(first.length - 1) / 30:.1f} s</text>" in page, "the last pose at the clip's end, 30 frames a second"
    for untrue in (" ago", "From the last", "dashed body", "being now", "time ahead", "last observed"):
        assert untrue not in text


@pytest.mark.parametrize("prediction", [True, False])
def test_a_page_of_whole_clips(prediction: bool, tmp_path: Path):
    """Times are those of each clip, whatever the model answers."""
    old = preset()
    chosen = replace(old, data=replace(old.data, sampling="whole"), model=replace(old.model, prediction=prediction))
    card = replace(trained().card, preset=chosen)
    model = TrainedModel(build(chosen, load_layout("kinect20"), len(CLASSES)), card).eval()
    clips = [torch.randn(frames, 20, 3, generator=torch.Generator().manual_seed(frames)).numpy() for frames in (29, 15)]
    answers = symgnn.predict(model, clips, horizon=2)
    page = prediction_page(answers, ["long", "short"], model)
    shown = [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    # 28 and 14 steps at 25 a second, in 7 steps of the window.
    assert [(clip["whole"], clip["frame_ms"], clip["observed"]) for clip in shown] == [(True, 160.0, 8), (True, 80.0, 8)]
    assert "looked at all of it, from its first frame to its last, in 8 poses" in page
    assert ("After the end of the clip the orange body" in page) == ("right after the clip" in page) == prediction
    assert "last stretch" not in page and "<b>now</b>" not in page
    write_predictions(tmp_path / "out.json", answers, ["long", "short"], model)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["frames_a_second"] is None and found["milliseconds"] is None
    times = [[160.0, 320.0], [80.0, 160.0]] if prediction else [[], []]
    assert [clip["milliseconds"] for clip in found["clips"]] == times
    write_predictions(tmp_path / "out.npz", answers, ["long", "short"], model)
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["milliseconds"].tolist() == times


def test_predicting_whole_clips():
    """All of a clip is looked at, in the frames of the window, and the times follow from how long it is."""
    old = trained()
    whole = replace(old.card, preset=replace(preset(), data=replace(preset().data, sampling="whole")))
    model = TrainedModel(old.network, whole).eval()
    clip = torch.randn(29, 20, 3, generator=torch.Generator().manual_seed(4)).numpy()
    (answer,) = symgnn.predict(model, [clip], horizon=2)
    seen = clip[[0, 4, 8, 12, 16, 20, 24, 28]]
    np.testing.assert_allclose(answer.observed, seen, atol=1e-6)
    assert answer.milliseconds == pytest.approx((160.0, 320.0)) and answer.padded == 0
    expected = model(torch.from_numpy(seen)[None], 2).logits
    assert list(answer.probabilities.values()) == pytest.approx(expected.softmax(1)[0].tolist(), abs=1e-5)
