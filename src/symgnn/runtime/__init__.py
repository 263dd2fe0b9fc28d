"""A trained model at work."""

from symgnn.runtime.answers import prediction_page as prediction_page
from symgnn.runtime.answers import write_predictions as write_predictions
from symgnn.runtime.clips import Clip as Clip
from symgnn.runtime.clips import read_clips as read_clips
from symgnn.runtime.clips import scenes as scenes
from symgnn.runtime.exporting import Exported as Exported
from symgnn.runtime.exporting import export as export
from symgnn.runtime.onnx_model import OnnxModel as OnnxModel
from symgnn.runtime.onnx_model import load_model as load_model
from symgnn.runtime.onnx_model import open_onnx as open_onnx
from symgnn.runtime.predict import Prediction as Prediction
from symgnn.runtime.predict import predict as predict
from symgnn.runtime.stream import Answer as Answer
from symgnn.runtime.stream import Edge as Edge
from symgnn.runtime.stream import Stats as Stats
from symgnn.runtime.stream import Stream as Stream
from symgnn.runtime.stream import Streams as Streams
from symgnn.runtime.stream import Window as Window
