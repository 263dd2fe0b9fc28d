"""Readers: the files of a data set to clips, one file a format."""

from symgnn.data.readers.expmap_text import Benchmark as Benchmark
from symgnn.data.readers.expmap_text import read_cmu as read_cmu
from symgnn.data.readers.expmap_text import read_h36m as read_h36m
from symgnn.data.readers.expmap_text import read_h36m_3d as read_h36m_3d
