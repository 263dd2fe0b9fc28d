"""A trained model at work."""

from symgnn.runtime.answers import prediction_page as prediction_page
from symgnn.runtime.answers import write_predictions as write_predictions
from symgnn.runtime.clips import Clip as Clip
from symgnn.runtime.clips import read_clips as read_clips
from symgnn.runtime.clips import scenes as scenes
from symgnn.runtime.predict import Prediction as Prediction
from symgnn.runtime.predict import predict as predict
from symgnn.runtime.stream import Answer as Answer
from symgnn.runtime.stream import Edge as Edge
from symgnn.runtime.stream import Stats as Stats
from symgnn.runtime.stream import Stream as Stream
from symgnn.runtime.stream import Streams as Streams
from symgnn.runtime.stream import Window as Window
