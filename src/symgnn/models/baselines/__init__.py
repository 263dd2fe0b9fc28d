"""Baselines: published networks, and what needs no training. The classifiers load scikit-learn, and are not named here."""

from collections.abc import Mapping

from symgnn.models.baselines.csm import Csm
from symgnn.models.baselines.ctr_gcn import CtrGcn
from symgnn.models.baselines.dct_gcn import DctGcn
from symgnn.models.baselines.hcn import Hcn
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.models.baselines.res_sup import ResSup
from symgnn.models.baselines.running_average import RunningAverage
from symgnn.models.baselines.simlpe import SiMLPe
from symgnn.models.baselines.st_gcn import StGcn
from symgnn.models.baselines.two_stream_agcn import TwoStreamAgcn
from symgnn.models.baselines.zero_velocity import ZeroVelocity

NETWORKS: Mapping[str, type[Baseline]] = {
    "csm": Csm,
    "dct-gcn": DctGcn,
    "res-sup": ResSup,
    "simlpe": SiMLPe,
    "st-gcn": StGcn,
    "hcn": Hcn,
    "2s-agcn": TwoStreamAgcn,
    "ctr-gcn": CtrGcn,
}
"""By the name in ``model.network``."""

__all__ = [
    "NETWORKS",
    "Baseline",
    "Csm",
    "CtrGcn",
    "DctGcn",
    "Hcn",
    "ResSup",
    "RunningAverage",
    "SiMLPe",
    "StGcn",
    "TwoStreamAgcn",
    "WindowShape",
    "ZeroVelocity",
]
