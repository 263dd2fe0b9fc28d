"""Data: files to clips, the store on disk, windows for training, and the built-in motion."""

from symgnn.data.opening import cache_folder as cache_folder
from symgnn.data.opening import import_data as import_data
from symgnn.data.opening import import_trials as import_trials
from symgnn.data.opening import open_data as open_data
from symgnn.data.opening import recognise as recognise
from symgnn.data.opening import recognise_benchmark as recognise_benchmark
from symgnn.data.store import Clip as Clip
from symgnn.data.store import ClipRecord as ClipRecord
from symgnn.data.store import Store as Store
from symgnn.data.store import is_store as is_store
from symgnn.data.synthetic import MOVEMENTS as MOVEMENTS
from symgnn.data.synthetic import make_motion as make_motion
from symgnn.data.windows import Changes as Changes
from symgnn.data.windows import Mirror as Mirror
from symgnn.data.windows import WindowSampler as WindowSampler
from symgnn.data.windows import group_persons as group_persons
from symgnn.data.windows import node_frames as node_frames
from symgnn.data.windows import split_recordings as split_recordings
from symgnn.data.windows import stored_mean as stored_mean
from symgnn.data.writing import write_store as write_store
