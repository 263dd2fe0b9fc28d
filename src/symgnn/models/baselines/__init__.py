"""Baselines: models without a paper behind them that every figure is read against. The classifiers load scikit-learn."""

from symgnn.models.baselines.zero_velocity import ZeroVelocity

__all__ = ["ZeroVelocity"]
