"""Section 5 of the paper: the networks."""

from symgnn.models.backbone import Backbone, Branch
from symgnn.models.continual import ContinualSymGNN, why_not_continual
from symgnn.models.network import Features, Network
from symgnn.models.prediction import PredictionHead
from symgnn.models.recognition import RecognitionHead
from symgnn.models.standardised import Standardised
from symgnn.models.symgnn import SymGNN

__all__ = [
    "Backbone",
    "Branch",
    "ContinualSymGNN",
    "Features",
    "Network",
    "PredictionHead",
    "RecognitionHead",
    "Standardised",
    "SymGNN",
    "why_not_continual",
]
