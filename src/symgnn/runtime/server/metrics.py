"""What the service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from symgnn.models.checkpoint import Described

_SECONDS = (0.002, 0.005, 0.01, 0.0167, 0.025, 0.0333, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0)
"""A frame at 60 and at 30 a second are among the bounds."""


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self, model: Described):
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge("symgnn_sessions", "Streams that are open.", registry=registry)
        self.viewers = Gauge("symgnn_viewers", "Pages that look on.", registry=registry)
        self.frames = Counter("symgnn_frames", "Frames that came over streams.", registry=registry)
        self.answers = Counter("symgnn_answers", "Answers to frames of streams.", registry=registry)
        self.dropped = Counter(
            "symgnn_dropped",
            "Frames and answers left out: faster than the rate (rate), replaced by a newer one while waiting for the model "
            "(newer), or while waiting for a client that reads slowly (unread).",
            ["reason"],
            registry=registry,
        )
        self.errors = Counter("symgnn_errors", "Refusals, by close code or HTTP status.", ["code"], registry=registry)
        self.predictions = Counter("symgnn_predictions", "Clips answered by /v1/predict.", registry=registry)
        self.batch = Histogram(
            "symgnn_batch_windows",
            "Windows that went through the model together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.inference = Histogram(
            "symgnn_inference_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=registry
        )
        self.latency = Histogram(
            "symgnn_latency_seconds", "Time from a frame's coming to its answer.", buckets=_SECONDS, registry=registry
        )
        info = Info("symgnn_model", "The model that answers.", registry=registry)
        info.info({"preset": model.preset.name, "layout": model.layout.name, "space": model.preset.data.space})
        ProcessCollector(registry=registry)
        for reason in ("rate", "newer", "unread"):
            self.dropped.labels(reason)
