"""Training: losses, multiple-gradient descent, and the only room that knows Lightning."""

from symgnn.training.losses import prediction_loss, recognition_loss, velocity_loss
from symgnn.training.mgda import inner_products, minimum_norm_weight
from symgnn.training.module import MotionData, TrainingModule
from symgnn.training.run import Run, train
from symgnn.training.step import Step, training_step

__all__ = [
    "MotionData",
    "Run",
    "Step",
    "TrainingModule",
    "inner_products",
    "minimum_norm_weight",
    "prediction_loss",
    "recognition_loss",
    "train",
    "training_step",
    "velocity_loss",
]
