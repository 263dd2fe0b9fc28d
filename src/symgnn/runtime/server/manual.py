"""What the service says of itself: the description in its schema, and a page of it that asks nobody outside."""

import html
import json
from collections.abc import Mapping
from typing import Any

DESCRIPTION = """What a moving body is doing, and where each joint will be.

Besides the endpoints below there are two WebSockets.

**/v1/stream**: frames in, answers out. The first message may be

    {"type": "open", "horizon": 25, "fps": 30, "warm_up": "repeat", "reject": 0.5, "format": "json"}

(each field may be left out; `warm_up` is "wait" or "repeat", `format` "json" or "binary"). The service says
`{"type": "hello", "session": "s1", "model": {as /v1/model}}`. A frame is

    {"frame": [[x, y, z], null, ...], "time": 1.25, "track": "anna"}

with a triple (null where it is missing) for each joint of /v1/model; `time` in seconds and `track` may be left out. Or it is
binary, little-endian: float64 time (NaN: none), then joints x channels of float32 (NaN: missing). Until the window is full the
service says `{"type": "waiting", "have": 12, "need": 50}` (with `warm_up` "wait"), and then to each frame

    {"type": "answer", "track": "anna", "time": 1.25, "label": "walking", "probabilities": {...}, "smoothed": {...},
     "future": [[[x, y, z], ...], ...], "milliseconds": [16.7, ...], "edges": [["Spine", "Head", 0.31], ...],
     "latency_ms": 11.2, "dropped": 0, "late": 0}

or, in binary: float64 time; float32 latency_ms; uint32 classes, horizon, joints, channels, dropped; float32 probabilities,
smoothed, future. The newest frame wins: where frames come faster than they are answered or read, older ones are dropped and
counted. What is wrong is told by `{"type": "error", "message": "..."}` and a close: 1008 (a bad frame, a limit), 1003 (no such
message), 1009 (too big), 1011 (the model failed), 1013 (full: later), 1001 (the service goes), 4401 (token).

**/v1/watch**: what is streamed, or else played, drawn as points in space, for pages. `?session=s1` asks for one session.

A service that is reached from other machines asks for a token: the header `Authorization: Bearer TOKEN`, or `?token=TOKEN` in
the address of a WebSocket.
"""

_POSE = {
    "type": "array",
    "description": "The joints in use in the order of /v1/model (or all that are stored); null for one that is missing.",
    "items": {
        "type": "array",
        "nullable": True,
        "minItems": 3,
        "maxItems": 3,
        "items": {"type": "number", "nullable": True},
    },
}

_QUESTION = {
    "type": "object",
    "required": ["clips"],
    "additionalProperties": False,
    "properties": {
        "clips": {
            "type": "array",
            "description": "Clips at the rate of the recordings the model was trained on; each a list of frames.",
            "items": {"type": "array", "items": _POSE},
        },
        "horizon": {"type": "integer", "minimum": 1, "description": "Frames to predict; by default those of /v1/model."},
    },
}

_ANSWER = {
    "type": "object",
    "properties": {
        "clips": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "label": {"type": "string", "nullable": True, "description": "The most probable class."},
                    "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
                    "future": {"type": "array", "nullable": True, "items": _POSE, "description": "Poses after the last frame."},
                    "milliseconds": {"type": "array", "items": {"type": "number"}, "description": "When each of them is."},
                    "padded": {"type": "integer", "description": "Frames of the window that repeat the clip's first one."},
                },
            },
        }
    },
}

_EXAMPLE = {"clips": [[[[0.1, 0.2, 0.3], None, [0.0, 1.0, None]], [[0.1, 0.2, 0.4], None, [0.0, 1.1, 0.2]]]], "horizon": 10}
_ANSWERED = {
    "clips": [
        {
            "label": "walking",
            "probabilities": {"walking": 0.93, "jumping": 0.07},
            "future": [[[0.1, 0.2, 0.41], [0.0, 0.9, 0.1], [0.0, 1.1, 0.2]]],
            "milliseconds": [16.667],
            "padded": 48,
        }
    ]
}


def _refusal(description: str) -> dict[str, Any]:
    content = {"type": "object", "properties": {"detail": {"type": "string"}}}
    return {"description": description, "content": {"application/json": {"schema": content}}}


PREDICT: dict[str, Any] = {
    "description": "The model looks at the end of each clip. The examples are of a body of three joints.",
    "requestBody": {"required": True, "content": {"application/json": {"schema": _QUESTION, "example": _EXAMPLE}}},
    "responses": {
        "200": {
            "description": "Both answers of each clip.",
            "content": {"application/json": {"schema": _ANSWER, "example": _ANSWERED}},
        },
        "413": _refusal("The body is too big."),
        "422": _refusal("It is no such request; the sentence says what was found and what is expected."),
        "503": _refusal("Too many requests are at work."),
    },
}
"""What the schema says of ``/v1/predict``, whose body is read by hand for the sake of what is said of bad ones."""

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark }
pre { overflow-x: auto; padding: .75rem; background: #8882 } code, pre { font-size: .875rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886 } .method { font-family: monospace; color: #888 }
"""


def manual_page(schema: Mapping[str, Any]) -> str:
    """The schema as HTML, without a script and without a request to anybody else."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        "<title>symgnn: what the service speaks</title><link rel=stylesheet href=/docs.css>",
        f"<h1>symgnn {html.escape(schema['info']['version'])}</h1>",
        _prose(schema["info"]["description"]),
        "<p>The same for programs: <a href=/openapi.json>openapi.json</a>.</p>",
    ]
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><span class=method>{method.upper()}</span> {html.escape(path)}</h2>")
            parts.append(f"<p>{html.escape(about['summary'])}.</p>{_prose(about.get('description', ''))}")
            body = about.get("requestBody", {}).get("content", {}).get("application/json")
            parts += [] if body is None else ["<h3>Body</h3>", _json(body["example"]), *_fields(body["schema"])]
            for status, answer in about["responses"].items():
                parts.append(f"<h3>{status}</h3><p>{html.escape(answer['description'])}</p>")
                content = answer.get("content", {}).get("application/json", {})
                parts += [_json(content["example"])] if "example" in content else []
    return "\n".join(parts)


def _prose(text: str) -> str:
    """Paragraphs, and what is indented as it is."""
    made = []
    for block in text.split("\n\n"):
        if block.startswith("    "):
            made.append(f"<pre>{html.escape(block)}</pre>")
        elif block.strip():
            made.append(f"<p>{_marked(html.escape(block))}</p>")
    return "\n".join(made)


def _marked(text: str) -> str:
    for mark, tag in (("**", "b"), ("`", "code")):
        pieces = text.split(mark)
        text = "".join(f"<{tag}>{piece}</{tag}>" if number % 2 else piece for number, piece in enumerate(pieces))
    return text


def _fields(schema: Mapping[str, Any]) -> list[str]:
    rows = [f"<li><code>{name}</code>: {html.escape(about['description'])}" for name, about in schema["properties"].items()]
    return ["<ul>", *rows, "</ul>"]


def _json(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value))}</pre>"
