"""Section 5 of the paper: the networks."""

from symgnn.models.backbone import Backbone, Branch
from symgnn.models.network import Features, Network
from symgnn.models.prediction import PredictionHead
from symgnn.models.recognition import RecognitionHead
from symgnn.models.symgnn import SymGNN

__all__ = ["Backbone", "Branch", "Features", "Network", "PredictionHead", "RecognitionHead", "SymGNN"]
