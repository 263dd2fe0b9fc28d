"""Presets that cannot be: the field is named, with what was found and what would fit."""

from dataclasses import replace

import pytest

from symgnn.config import ModelConfig, load_preset, preset_from_dict, preset_names, preset_to_dict
from symgnn.errors import InputError
from tiny import MODEL


def changed(**model: object) -> dict:
    """The tiny network's values with some changed, as a YAML file or a checkpoint holds them."""
    preset = preset_to_dict(load_preset("light"))
    return {**preset, "model": {**preset_to_dict(replace(load_preset("light"), model=MODEL))["model"], **model}}


@pytest.mark.parametrize("name", preset_names())
def test_presets_come_back(name):
    preset = load_preset(name)
    assert preset_from_dict(preset_to_dict(preset), "again") == preset


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"channels": [4, 8]}, r"model\.channels: expected one entry a block, 3 as in graph_channels \(found \[4, 8\]\)"),
        ({"strides": [1, 2, 2, 2]}, r"model\.strides: expected one entry a block, 3"),
        ({"kernels": [3]}, r"model\.kernels: expected one entry a block, 3"),
        ({"kernels": [3, 4, 3]}, r"model\.kernels: expected odd kernels, .* \(found \[3, 4, 3\]\)"),
        ({"graph_channels": []}, r"model\.graph_channels: .*at least 1 item"),
        ({"fuse_after": [1]}, r"model\.fuse_after: expected blocks after the first, .* before the last \(3\) \(found \[1\]\)"),
        ({"fuse_after": [3]}, r"model\.fuse_after: .* before the last \(3\)"),
        ({"fuse_after": [2, 2]}, r"model\.fuse_after: expected increasing numbers"),
        ({"difference_orders": []}, r"model\.difference_orders: .*at least 1 item"),
        ({"difference_orders": [0, 0]}, r"model\.difference_orders: expected each order once"),
        ({"difference_orders": [3]}, r"model\.difference_orders"),
        ({"recognition": False, "prediction": False}, r"model\.prediction: a model needs a recognition head, .* or both"),
        ({"joint": False, "bone": False}, r"model\.joint: .* bone false there is no network: expected bone true"),
        ({"joint": False, "bone": True, "recognition": False}, r"model\.joint: .* recognition false nothing is answered"),
        ({"dropout": 1.0}, r"model\.dropout: .*less than 1 \(found 1\.0\)"),
        ({"droput": 0.1}, r"model\.droput: Unexpected keyword argument"),
    ],
)
def test_fields_that_do_not_fit(model, said):
    with pytest.raises(InputError, match=rf"^my\.yaml: {said}"):
        preset_from_dict(changed(**model), "my.yaml")


def test_a_field_that_is_left_out_must_fit_too():
    """The defaults of four blocks beside two that are given."""
    with pytest.raises(InputError) as caught:
        preset_from_dict(
            {**preset_to_dict(load_preset("light")), "model": {"graph_channels": [4, 8], "channels": [4, 8]}}, "it"
        )
    for field in ("strides", "kernels", "fuse_after"):
        assert f"model.{field}: expected" in str(caught.value)


def test_part_scale_needs_two_blocks():
    one = {"graph_channels": (4,), "channels": (4,), "strides": (1,), "kernels": (3,), "fuse_after": ()}
    assert ModelConfig(**one).scales == "both"
    with pytest.raises(InputError, match="the part scale starts at block 2"):
        ModelConfig(**one, scales="part")


def test_variants_are_checked_as_well():
    """``replace`` on a preset's record makes a new one by the same rules."""
    with pytest.raises(InputError, match="odd kernels"):
        replace(MODEL, kernels=(3, 3, 2))


def test_too_short_a_window():
    preset = preset_to_dict(load_preset("light"))
    with pytest.raises(InputError, match=r"data\.observed: .*greater than or equal to 3 \(found 2\)"):
        preset_from_dict({**preset, "data": {**preset["data"], "observed": 2}}, "it")


def test_a_missing_file_is_called_a_file():
    with pytest.raises(InputError, match=r"^mine\.yaml: no such file"):
        load_preset("mine.yaml")
