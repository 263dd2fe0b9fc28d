"""The action-recognition head. Section 5.2."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.nn import Dropout, mean_of_persons


class RecognitionHead(nn.Module):
    """Action-recognition head: H_recg = MLP([H0, H1, H2]), averaged over joints and persons, then one linear layer.

    Args:
        inputs: features of [H0, H1, H2].
        hidden: features of the two-layer MLP (sec. 6.1.2: 256).
        classes: number of classes.
    """

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float):
        super().__init__()
        self.fuse = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU())
        self.classify = nn.Linear(hidden, classes)

    def forward(
        self, hidden: Float[Tensor, "batch joint feature"], together: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Class scores before the softmax.

        Args:
            hidden: features of each person.
            together: which persons are seen together (reading 19): they get the same scores.
        """
        return self.classify(mean_of_persons(self.fuse(hidden).mean(dim=1), together))
