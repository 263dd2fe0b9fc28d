from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from symgnn.data import MOVEMENTS, Store, WindowSampler, make_motion, opening
from symgnn.data.synthetic import perform, perform_rotations
from symgnn.skeleton import forward_kinematics, load_layout

JOINTS = load_layout("cmu").joints
PLACES = [[0.7795, 0.8287, 2.2847], [1.7138, 1.3017, -1.1721], [-1.2410, 0.8306, -1.4726]]
SMALL = {"clips_per_class": 4, "persons": 4, "test_persons": 1, "seconds": (3.0, 4.0)}


def joint(name: str) -> int:
    return JOINTS.index(name)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The set as the demo makes it."""
    return make_motion(tmp_path_factory.mktemp("large") / "store")


def clips_of(store: Store, movement: str) -> list[np.ndarray]:
    return [store.clip_frames(index).astype(np.float64) for index in store.select(label=MOVEMENTS.index(movement))]


def test_the_store(motion: Store):
    assert motion.layout == load_layout("cmu") and motion.space == "xyz" and motion.unit == "m" and motion.fps == 25.0
    assert motion.class_names == MOVEMENTS and len(motion.clips) == 64
    assert not np.isnan(motion.frames).any()
    assert all(5 * 25 <= clip.length <= 6 * 25 for clip in motion.clips)
    assert opening.recognise(motion.path) == "store"


def test_persons_are_in_one_split_and_do_everything(motion: Store):
    whose = {split: {motion.clips[index].subject for index in motion.select(split=split)} for split in ("train", "test")}
    assert len(whose["train"]) == 6 and len(whose["test"]) == 2 and not whose["train"] & whose["test"]
    for split in ("train", "test"):
        assert {motion.clips[index].label for index in motion.select(split=split)} == set(range(8))


def test_the_same_seed_gives_the_same_files(tmp_path: Path):
    a, b, c = (make_motion(tmp_path / name, seed=seed, **SMALL) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    assert a.about["sha256"] == b.about["sha256"]
    assert a.about["sha256"]["frames.npy"] != c.about["sha256"]["frames.npy"]


def test_one_more_clip_changes_none_of_the_others(tmp_path: Path):
    few = make_motion(tmp_path / "few", **SMALL)
    more = make_motion(tmp_path / "more", **{**SMALL, "clips_per_class": 5})
    for movement in MOVEMENTS:
        for a, b in zip(clips_of(few, movement), clips_of(more, movement)[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_on_any_machine(tmp_path: Path):
    """Places written down once, to the tenth of a millimetre."""
    store = make_motion(tmp_path / "store", **SMALL)
    places = np.stack([store.clip_frames(index)[60, joint("LeftHand")] for index in (0, 12, 31)])
    np.testing.assert_allclose(places, PLACES, atol=1.5e-4)


@pytest.mark.parametrize(
    "changes",
    [{"test_persons": 0}, {"test_persons": 4}, {"clips_per_class": 3}, {"seconds": (1.0, 4.0)}, {"seconds": (5.0, 4.0)}],
)
def test_impossible_sets(tmp_path: Path, changes):
    with pytest.raises(ValueError, match="expected"):
        make_motion(tmp_path / "store", **{**SMALL, **changes})
    assert not (tmp_path / "store").exists()


# Bodies


def test_bones_keep_their_length_and_people_differ(motion: Store):
    bones = [(j, p) for j, p in enumerate(motion.layout.parents) if p >= 0]
    lengths: dict[str, list[np.ndarray]] = {}
    for index, clip in enumerate(motion.clips):
        frames = motion.clip_frames(index).astype(np.float64)
        length = np.stack([np.linalg.norm(frames[:, j] - frames[:, p], axis=-1) for j, p in bones], axis=1)
        long = length.mean(axis=0) > 0.1
        # Jitter and drift of two joints, each up to six millimetres.
        assert length[:, long].std(axis=0).max() < 0.02
        lengths.setdefault(clip.subject, []).append(length.mean(axis=0))
    shin = bones.index((joint("LeftFoot"), joint("LeftLeg")))
    shins = {who: [length[shin] for length in found] for who, found in lengths.items()}
    means = [np.mean(found) for found in shins.values()]
    assert all(np.std(found) < 0.01 for found in shins.values())
    assert np.std(means) > 0.02 and min(means) > 0.25 and max(means) < 0.6
    # Legs and arms do not merely scale together.
    arm = bones.index((joint("LeftForeArm"), joint("LeftArm")))
    ratio = [
        np.mean([length[arm] for length in found]) / np.mean([length[shin] for length in found]) for found in lengths.values()
    ]
    assert np.std(ratio) > 0.02


def test_people_stand_upright_on_the_ground(motion: Store):
    for index, clip in enumerate(motion.clips):
        frames = motion.clip_frames(index).astype(np.float64)
        lowest = frames[..., 1].min(axis=1)
        assert lowest.min() > -0.06
        if MOVEMENTS[clip.label] not in ("running", "jumping"):
            assert lowest.max() < 0.03
        head, hips, feet = (
            frames[:, [joint(n) for n in names], 1].mean(axis=1) for names in (["Head"], ["Hips"], ["LeftFoot", "RightFoot"])
        )
        # A deep squat brings the hips nowhere near the feet, nor the head near the hips.
        assert (head > hips + 0.2).all() and (hips > feet + 0.1).all()
        assert 1.0 < frames[:, joint("HeadEnd"), 1].max() < 2.6


def test_knees_and_elbows_bend_the_right_way(motion: Store):
    """In the body's frame a knee lies before the line from hip to ankle, an elbow behind the line from shoulder to wrist."""
    for index, clip in enumerate(motion.clips):
        frames = motion.clip_frames(index).astype(np.float64)
        across = frames[:, joint("LeftUpLeg")] - frames[:, joint("RightUpLeg")]
        ahead = np.cross(across, np.array([0.0, 1.0, 0.0]))
        ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
        for side in ("Left", "Right"):
            toes = frames[:, joint(f"{side}ToeBaseEnd")] - frames[:, joint(f"{side}Foot")]
            hip, knee, ankle = (frames[:, joint(f"{side}{name}")] for name in ("UpLeg", "Leg", "Foot"))
            bend = knee - (hip + ankle) / 2
            assert np.median((bend * ahead).sum(-1)) > 0.0, clip.recording
            assert np.median((toes * ahead).sum(-1)) > 0.05, clip.recording
        left = frames[:, joint("LeftArm")] - frames[:, joint("RightArm")]
        assert ((left * across).sum(-1) > 0).mean() > 0.95


def speed(frames: np.ndarray, name: str = "Hips") -> float:
    ground = frames[:, joint(name)][:, [0, 2]]
    # Over half a second, so that jitter does not count.
    return float(np.linalg.norm(ground[12:] - ground[:-12], axis=-1).mean() / 0.48)


def test_movements_are_what_they_are_called(large: Store):
    travel = {movement: np.mean([speed(frames) for frames in clips_of(large, movement)]) for movement in MOVEMENTS}
    assert 0.7 < travel["walking"] < 1.6 < travel["running"] < 4.0
    assert all(travel[movement] < 0.35 for movement in MOVEMENTS[2:])

    def span(movement: str, name: str) -> float:
        ranges = [np.ptp(frames[:, joint(name), 1]) for frames in clips_of(large, movement)]
        return float(np.mean(ranges))

    airborne = {m: np.mean([f[..., 1].min(axis=1).max() for f in clips_of(large, m)]) for m in ("jumping", "squatting")}
    assert airborne["jumping"] > 0.15 and airborne["squatting"] < 0.03
    assert span("squatting", "Hips") > 0.15 > span("waving", "Hips")
    assert max(span("kicking", "LeftFoot"), span("kicking", "RightFoot")) > 0.4 > span("walking", "LeftFoot")
    assert min(span("marching", "LeftLeg"), span("marching", "RightLeg")) > 0.12


def test_a_foot_on_the_ground_hardly_slides(large: Store):
    """The lower foot moves at a small part of the body's speed."""
    for frames in clips_of(large, "walking"):
        feet = frames[:, [joint("LeftToeBase"), joint("RightToeBase")]]
        body = speed(frames)
        lower = feet[6:-6, :, 1].argmin(axis=1)
        moved = (feet[8:-4] - feet[4:-8])[..., [0, 2]]
        slide = np.linalg.norm(moved[np.arange(len(lower)), lower], axis=-1) / 0.16
        assert np.median(slide) < 0.4 * body


def test_performances_differ(large: Store):
    """Heading all around, tempo and size of their own."""
    headings, tempi = [], []
    for frames in clips_of(large, "walking"):
        across = (frames[:, joint("LeftUpLeg")] - frames[:, joint("RightUpLeg")])[:, [0, 2]]
        headings.append(np.arctan2(across[0, 1], across[0, 0]))
        gait = frames[:, joint("LeftFoot"), 1] - frames[:, joint("RightFoot"), 1]
        spectrum = np.abs(np.fft.rfft(gait - gait.mean(), 1024))
        tempi.append(spectrum.argmax() * 25 / 1024)
    assert abs(np.exp(1j * np.array(headings)).mean()) < 0.4
    assert np.std(tempi) > 0.05 and 0.6 < np.mean(tempi) < 1.1


# How hard it is


def windows(store: Store, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batch = WindowSampler.from_store(store, store.select(split=split), observed=50, future=25).spread(8)
    return batch.observed.double().numpy(), batch.future.double().numpy(), batch.label.numpy()


def accuracy(features, store: Store) -> float:
    (past, _, label), (test_past, _, test_label) = (windows(store, split) for split in ("train", "test"))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features(past), label)
    return float(classifier.score(features(test_past), test_label))


def pose(past: np.ndarray) -> np.ndarray:
    """The last frame, about the lower back and turned to face the same way: all a pose can tell."""
    place = past[:, -1] - past[:, -1, 8:9]
    across = place[:, 0] - place[:, 4]
    angle = np.arctan2(across[:, 2], across[:, 0])[:, None]
    x = place[..., 0] * np.cos(angle) + place[..., 2] * np.sin(angle)
    z = place[..., 2] * np.cos(angle) - place[..., 0] * np.sin(angle)
    return np.stack([x, place[..., 1], z], axis=-1).reshape(len(past), -1)


def movement(past: np.ndarray) -> np.ndarray:
    """How fast each joint moves, how much it rises and falls, and how far the body went."""
    speed = np.linalg.norm(np.diff(past, axis=1), axis=-1)
    height = (past - past[:, :, 8:9])[..., 1]
    went = np.linalg.norm(past[:, -1, 8] - past[:, 0, 8], axis=-1)[:, None]
    return np.concatenate([speed.mean(axis=1), speed.max(axis=1), height.std(axis=1), np.ptp(height, axis=1), went], axis=1)


def test_a_linear_model_on_the_last_frame_fails_though_the_movement_tells(large: Store):
    raw = accuracy(lambda past: past[:, -1].reshape(len(past), -1), large)
    posed = accuracy(pose, large)
    moved = accuracy(movement, large)
    assert raw < 0.65 and posed < 0.7
    assert moved > 0.95


def test_the_future_is_not_the_present(large: Store):
    """A ridge regression on the last ten frames has clearly less error than the pose repeated, near and far."""
    (past, future, _), (test_past, test_future, _) = (windows(large, split) for split in ("train", "test"))

    def recent(past: np.ndarray) -> np.ndarray:
        return (past[:, -10:] - past[:, -1:]).reshape(len(past), -1)

    model = Ridge(1.0).fit(recent(past), (future - past[:, -1:]).reshape(len(future), -1))
    predicted = test_past[:, -1:] + model.predict(recent(test_past)).reshape(test_future.shape)
    ridge, zero = (np.linalg.norm(guess - test_future, axis=-1).mean(axis=(0, 2)) for guess in (predicted, test_past[:, -1:]))
    for frame in (1, 9, 24):
        assert ridge[frame] < 0.7 * zero[frame]
    # A tenth of a metre after 0.16 s, half a metre after a second.
    assert zero[3] > 0.1 and zero[24] > 0.4


def test_in_place_takes_the_path_away_and_nothing_else(tmp_path: Path):
    here, there = (
        make_motion(
            tmp_path / str(in_place), clips_per_class=2, persons=2, test_persons=1, seconds=(3.0, 3.5), in_place=in_place
        )
        for in_place in (True, False)
    )
    travelling = np.array(there.frames)
    hips = travelling[:, :1, [0, 2]]
    # Sensor noise sits on the hips too: a centimetre or so, drawn alike for both.
    np.testing.assert_allclose(here.frames[..., 1], travelling[..., 1], atol=1e-6)
    np.testing.assert_allclose(here.frames[..., [0, 2]], travelling[..., [0, 2]] - hips, atol=0.06)
    assert np.abs(here.frames[:, 0, [0, 2]]).max() < 0.06 < np.abs(hips).max()


def bend(places: np.ndarray, first: str, middle: str, last: str) -> np.ndarray:
    """Degrees by which a chain of two bones is bent, in each frame."""
    upper, lower = places[:, joint(middle)] - places[:, joint(first)], places[:, joint(last)] - places[:, joint(middle)]
    cosine = (upper * lower).sum(axis=1) / np.linalg.norm(upper, axis=1) / np.linalg.norm(lower, axis=1)
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


@pytest.mark.parametrize("movement", MOVEMENTS)
def test_the_motion_in_rotations_bends_as_that_in_places_does(movement: str):
    places = perform(movement, seed=4)
    rows = perform_rotations(movement, seed=4)
    assert rows.shape == (250, 39, 3) and not rows[:, :2].any()
    drawn = forward_kinematics(torch.from_numpy(rows), load_layout("cmu")).numpy()
    chains = [(f"{side}UpLeg", f"{side}Leg", f"{side}Foot") for side in ("Left", "Right")]
    chains += [(f"{side}Arm", f"{side}ForeArm", f"{side}Hand") for side in ("Left", "Right")]
    largest = 0.0
    for chain in chains:
        a, b = bend(places, *chain), bend(drawn, *chain)
        # A sensor's noise of some millimetres turns a forearm by some degrees.
        assert np.abs(a - b).mean() < 8.0
        if np.ptp(b) > 30.0:
            assert np.corrcoef(a, b)[0, 1] > 0.9
        largest = max(largest, np.ptp(b))
    assert largest > 30.0
    # Upright, its left side at +x; and no rotation jumps by a turn.
    assert (drawn[:, joint("LeftArm"), 0] > drawn[:, joint("RightArm"), 0]).all()
    assert (drawn[:, joint("Head"), 1] > drawn[:, joint("LeftFoot"), 1] + 10).all()
    assert np.abs(np.diff(rows, axis=0)).max() < 1.5
