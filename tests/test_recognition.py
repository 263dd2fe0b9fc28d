"""Action-recognition head, section 5.2."""

import pytest
import torch

import oracles
from fitting import array, close, gradients_agree, linears, mlp, noise, permutation, randomise
from symgnn.models import RecognitionHead


def module(inputs: int = 6, hidden: int = 5, classes: int = 4) -> RecognitionHead:
    return randomise(RecognitionHead(inputs, hidden, classes, 0.1))


@pytest.mark.parametrize("joints", [1, 5])
def test_agrees_with_the_oracle(joints):
    """MLP on each joint, *then* the average over joints, then one linear layer. MLP_recg is as `oracles.Mlp`."""
    head, hidden = module(), noise(3, joints, 6)
    close(head(hidden), oracles.recognition(array(hidden), mlp(head.fuse), linears(head.classify)[0]))


def test_two_joints_by_hand():
    """MLP = ReLU(ReLU(x)) with identity weights: joints 3 and -1 give 3 and 0, their mean 3/2; classes 2 * 3/2 + 1 and -3/2."""
    head = RecognitionHead(1, 1, 2, 0.0).double().eval()
    with torch.no_grad():
        for part in head.fuse:
            for name, parameter in part.named_parameters():
                parameter.fill_(1.0 if name == "weight" else 0.0)
        head.classify.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        head.classify.bias.copy_(torch.tensor([1.0, 0.0]))
    hidden = torch.tensor([[[3.0], [-1.0]]], dtype=torch.float64)
    assert head(hidden).tolist() == [[4.0, -1.5]]


def test_order_of_joints_does_not_matter():
    head, hidden = module(), noise(3, 5, 6)
    close(head(hidden[:, permutation(5)]), array(head(hidden)))


def test_each_clip_alone():
    head, hidden = module(), noise(3, 5, 6)
    close(head(hidden[1:2]), array(head(hidden)[1:2]))


def test_gradients():
    assert gradients_agree(module(3, 2, 2), noise(2, 3, 3))
