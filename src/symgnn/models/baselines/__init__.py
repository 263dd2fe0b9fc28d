"""Baselines: published networks, and what needs no training. The classifiers load scikit-learn, and are not named here."""

from collections.abc import Mapping

from symgnn.models.baselines.network import Baseline
from symgnn.models.baselines.running_average import RunningAverage
from symgnn.models.baselines.zero_velocity import ZeroVelocity

NETWORKS: Mapping[str, type[Baseline]] = {}
"""By the name in ``model.network``."""

__all__ = ["NETWORKS", "Baseline", "RunningAverage", "ZeroVelocity"]
