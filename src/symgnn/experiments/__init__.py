"""Experiments: runs with a purpose, and what they leave to read: the demo, reports, the speed of this machine."""
