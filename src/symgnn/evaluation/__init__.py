"""Evaluation: metrics, protocols, and the one function that test data goes through."""

from symgnn.evaluation.baselines import fitted_baseline as fitted_baseline
from symgnn.evaluation.evaluate import Model as Model
from symgnn.evaluation.evaluate import device_of as device_of
from symgnn.evaluation.evaluate import evaluate as evaluate
from symgnn.evaluation.evaluate import per_cell_minimum as per_cell_minimum
from symgnn.evaluation.metrics import angle_error as angle_error
from symgnn.evaluation.metrics import confusion_matrix as confusion_matrix
from symgnn.evaluation.metrics import mpjpe as mpjpe
from symgnn.evaluation.metrics import pck as pck
from symgnn.evaluation.metrics import top_k_hits as top_k_hits
from symgnn.evaluation.metrics import wilson_interval as wilson_interval
from symgnn.evaluation.protocols import Protocol as Protocol
from symgnn.evaluation.protocols import Window as Window
from symgnn.evaluation.protocols import load_protocol as load_protocol
from symgnn.evaluation.protocols import on_held_out as on_held_out
from symgnn.evaluation.protocols import protocol_names as protocol_names
from symgnn.evaluation.result import Errors as Errors
from symgnn.evaluation.result import Recognition as Recognition
from symgnn.evaluation.result import Result as Result
