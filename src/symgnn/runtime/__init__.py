"""A trained model at work."""

from symgnn.runtime.answers import prediction_page as prediction_page
from symgnn.runtime.answers import write_predictions as write_predictions
from symgnn.runtime.clips import Clip as Clip
from symgnn.runtime.clips import read_clips as read_clips
from symgnn.runtime.clips import scenes as scenes
from symgnn.runtime.predict import Prediction as Prediction
from symgnn.runtime.predict import predict as predict
