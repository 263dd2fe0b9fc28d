"""The part scale: part-scale graph convolution, eq. (7); joint2part pooling and part2joint matching, section 5.1.2."""

import numpy as np
import pytest
import torch
from torch import Tensor

import oracles
from fitting import array, close, gradients_agree, noise, part_convolution, permutation, randomise, relabel, tree
from symgnn.nn import PartGraphConvolution, Scales
from symgnn.skeleton import normalise

# Five joints in three parts of two, one and two joints, not in order.
MEMBERSHIP = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.float64)
SCALES = Scales(MEMBERSHIP)


def module(inputs: int, outputs: int, parts: int = 5) -> PartGraphConvolution:
    return randomise(PartGraphConvolution(inputs, outputs, normalise(tree(parts))))


def column(*values: float) -> Tensor:
    """One clip, one frame, one feature."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1, 1)


def test_three_parts_by_hand():
    """X = [1, 2, 4] on a row of three parts, M_p = 3 where the first part reads the second: [7/2, 7/3, 3], W = 2, bias 1."""
    chain = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
    convolution = PartGraphConvolution(1, 1, normalise(chain)).double()
    assert bool((convolution.edges == 1).all())
    with torch.no_grad():
        convolution.weight.fill_(2.0)
        convolution.bias.fill_(1.0)
        convolution.edges[0, 1] = 3.0
    close(convolution(column(1, 2, 4)), array(column(8, 17 / 3, 7)))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (4, 2)])
def test_agrees_with_the_oracle(inputs, outputs):
    convolution, x = module(inputs, outputs), noise(2, 3, 5, inputs)
    close(convolution(x), part_convolution(convolution)(array(x)))


def test_moves_with_the_parts():
    convolution, order = module(3, 4), permutation(5)
    relabelled = PartGraphConvolution(3, 4, relabel(convolution.adjacency, order)).double()
    with torch.no_grad():
        relabelled.weight.copy_(convolution.weight)
        relabelled.bias.copy_(convolution.bias)
        relabelled.edges.copy_(relabel(convolution.edges, order))
    x = noise(2, 3, 5, 3)
    close(relabelled(x[:, :, order]), array(convolution(x)[:, :, order]))


def test_unlinked_parts_do_not_hear_each_other():
    convolution, x = module(3, 4), noise(2, 3, 5, 3)
    outside = convolution.adjacency == 0
    assert bool(outside.any())
    before = convolution(x)
    with torch.no_grad():
        convolution.edges[outside] = 1e9
    assert torch.equal(convolution(x), before)
    convolution(x).square().sum().backward()
    assert convolution.edges.grad is not None
    assert not convolution.edges.grad[outside].any()
    assert bool((convolution.edges.grad[~outside] != 0).all())


def test_gradients():
    assert gradients_agree(module(2, 2, 3), noise(2, 2, 3, 2))


def test_pooling_and_matching_by_hand():
    """Joints 0 and 3 are part 0, joint 2 part 1, joints 1 and 4 part 2."""
    assert torch.equal(SCALES.joint2part(column(1, 2, 4, 8, 16)), column(4.5, 4, 9))
    assert torch.equal(SCALES.part2joint(column(10, 20, 30)), column(10, 30, 20, 10, 30))


def test_pooling_and_matching_agree_with_the_oracle():
    joints, parts = noise(2, 4, 5, 3), noise(2, 4, 3, 6)
    close(SCALES.joint2part(joints), oracles.joint2part(array(joints), array(MEMBERSHIP)))
    expected = oracles.part2joint(array(parts), array(MEMBERSHIP))
    close(SCALES.part2joint(parts), expected)
    close(SCALES.part2joint(parts.clone().requires_grad_()), expected)  # another way where a gradient is wanted


def test_pooling_undoes_matching():
    parts = noise(2, 4, 3, 6)
    close(SCALES.joint2part(SCALES.part2joint(parts)), array(parts))


def test_pooling_and_matching_move_with_the_joints():
    order = permutation(5)
    joints, parts = noise(2, 4, 5, 3), noise(2, 4, 3, 6)
    close(Scales(MEMBERSHIP[:, order]).joint2part(joints[:, :, order]), array(SCALES.joint2part(joints)))
    close(Scales(MEMBERSHIP[:, order]).part2joint(parts), array(SCALES.part2joint(parts)[:, :, order]))


def test_pooling_and_matching_gradients():
    joints, parts = noise(1, 2, 5, 2).requires_grad_(), noise(1, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(SCALES.joint2part, joints)
    assert torch.autograd.gradcheck(SCALES.part2joint, parts)


def test_matching_is_the_pooling_turned_round_up_to_the_size_of_a_part():
    """<joint2part(x), y> = <x, part2joint(y / size)>: average and copy use one and the same membership."""
    joints, parts = noise(1, 2, 5, 3), noise(1, 2, 3, 3)
    size = MEMBERSHIP.sum(dim=1)[:, None]
    left = float((SCALES.joint2part(joints) * parts).sum())
    right = float((joints * SCALES.part2joint(parts / size)).sum())
    np.testing.assert_allclose(left, right, rtol=1e-12)
