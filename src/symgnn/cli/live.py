"""Commands for a trained model at work."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from symgnn.cli.shared import Switch, check_place, checkpoint_file, say
from symgnn.errors import InputError


def export(
    checkpoint: Annotated[Positional[str], arg(metavar="RUN|CHECKPOINT")],
    /,
    to: Annotated[Path, arg(metavar="FILE.onnx")],
    int8: Switch = False,
) -> int:
    """Write a model as one ONNX file: any batch, any horizon, no PyTorch needed to run it.

    Everything is in the file: units, missing joints, both networks, both answers, and what the model knows of its data. It is
    run at once under onnxruntime beside the model in PyTorch, and written only if they agree. predict and evaluate take it in
    place of a checkpoint.

    Args:
        checkpoint: of symgnn train, or the name of a model that comes with the package.
        to: file to write.
        int8: compute the backbone's wide products in 8-bit integers: faster and less exact; symgnn evaluate tells how exact.
    """
    if to.suffix.lower() != ".onnx":
        raise InputError(f"--to {to}: found the suffix {to.suffix!r}, expected .onnx")
    check_place(to)
    from symgnn.models.checkpoint import load
    from symgnn.runtime import export as write

    done = write(load(checkpoint_file(checkpoint, "last")), to, int8=int8)
    differences = ", ".join(f"{name} {difference:.1e}" for name, difference in done.differences.items())
    say(f"largest difference from PyTorch on {done.windows} random windows, of the largest value: {differences}")
    if int8:
        say(f"8-bit integers: compare symgnn evaluate {to} with that of the checkpoint before you use it")
    say(f"wrote {to}: {done.size:,} bytes")
    return 0
