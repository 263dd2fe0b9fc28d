"""What the commands share: kinds of arguments, the model they name, and how results and progress are said."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, arg

from symgnn.errors import InputError
from symgnn.files import is_first_process

if TYPE_CHECKING:
    from symgnn.models.checkpoint import TrainedModel
    from symgnn.runtime import OnnxModel

Folder = Annotated[Path, arg(metavar="DIR")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Switch = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]


def say(line: str) -> None:
    """Tell how work goes: on stderr, so that stdout holds results alone; of several processes the first speaks."""
    if is_first_process():
        print(line, file=sys.stderr, flush=True)


def show(result: Any) -> None:
    """Print a result; a file or a pipe takes lines of any length."""
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(result)


def duration(seconds: float) -> str:
    """A time as a person says it: 12 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def check_place(path: Path) -> None:
    """Find out before long work that a file cannot be written there."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")


def checkpoint_file(subject: str, selection: str) -> Path:
    """File of a checkpoint, or of one of a run's."""
    path = Path(subject)
    if not path.is_dir():
        return path
    file = path / f"{selection}.ckpt"
    if not file.is_file():
        there = ", ".join(sorted(entry.name for entry in path.glob("*.ckpt"))) or "no checkpoint"
        raise InputError(f"{path}: has no {file.name} (there is {there}); expected the folder of a run of symgnn train")
    return file


def load_checkpoint(subject: str, selection: str, *, folded: bool = True) -> "TrainedModel":
    """A checkpoint, one of a run's, or a model that comes with the package, on the GPU where there is one."""
    import torch

    from symgnn.models.checkpoint import load

    return load(checkpoint_file(subject, selection), "cuda" if torch.cuda.is_available() else "cpu", folded=folded)


def load_model(subject: str, selection: str = "last", threads: int | None = None) -> "TrainedModel | OnnxModel":
    """Whatever answers windows: a checkpoint, one of a run's, or a file of ``symgnn export``, with so many threads."""
    from symgnn.runtime import load_model as load

    return load(checkpoint_file(subject, selection), threads)
