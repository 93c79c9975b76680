"""Turns a finished training run into shipped weights and their card.

    python -m export.training.publish ghostshiftaddnet --test test.zip

The accuracy on the card is measured on the exported ONNX file through the operator library, by
the same command that a user would give.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.models import ModelSpec, find_model
from export.models.complexity import Complexity, measure
from export.operators import ShiftConv2d, round_to_power_of_two

_REPOSITORY = Path(__file__).resolve().parents[2]


def compact_state(model: nn.Module) -> dict[str, Tensor]:
    """The state with the weights of shift layers and convolutions in float16.

    Shift layers act as before: a latent weight that float16 would carry over to another power of
    two is replaced by the power itself. What is of rank 1 (BatchNorm, biases) and the adders'
    weights stay float32.
    """
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    for name, module in model.named_modules():
        if isinstance(module, ShiftConv2d) and module.mode == "q":
            state[f"{name}.weight"] = _half_latent(module)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            state[f"{name}.weight"] = module.weight.detach().half()
    return {key: value.contiguous() for key, value in state.items()}


def _half_latent(layer: ShiftConv2d) -> Tensor:
    latent = layer.weight.detach()
    power = round_to_power_of_two(latent, layer.min_exponent, span=layer.span)
    half = latent.half()
    kept = round_to_power_of_two(half.float(), layer.min_exponent, span=layer.span) == power
    return torch.where(kept, half, power.half())


def write_weights(spec: ModelSpec, checkpoint: Path) -> dict[str, Any]:
    """Writes `spec.weights` from a training checkpoint; returns the recipe it was trained by."""
    if spec.weights is None:
        raise ValueError(f"{spec.name}: no weights are shipped for it")
    state = torch.load(checkpoint, weights_only=True)
    recipe: dict[str, Any] = state["recipe"]
    if state["epoch"] < recipe["epochs"]:
        raise ValueError(
            f"{checkpoint}: training is at epoch {state['epoch']} of {recipe['epochs']}"
        )
    model = spec.build()
    model.load_state_dict(state["model"])
    spec.weights.parent.mkdir(exist_ok=True)
    aside = spec.weights.with_suffix(".tmp")
    save_file(compact_state(model), aside, metadata={"recipe": json.dumps(recipe)})
    aside.replace(spec.weights)
    return recipe


def evaluate(spec: ModelSpec, test: Path) -> dict[str, Any]:
    """Exports the shipped weights and measures the file over `test`: evaluate.py's report."""
    with tempfile.TemporaryDirectory() as folder:
        export = [sys.executable, "-m", "export", spec.name, "--out", folder]
        subprocess.run(export, check=True, cwd=_REPOSITORY, stdout=subprocess.DEVNULL)
        model = str(Path(folder) / f"{spec.name}.onnx")
        command = [sys.executable, "runtime/evaluate.py", model, str(test.resolve()), "--json"]
        done = subprocess.run(command, check=True, cwd=_REPOSITORY, stdout=subprocess.PIPE)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def card(
    spec: ModelSpec, cost: Complexity, recipe: dict[str, Any], report: dict[str, Any], size: int
) -> str:
    """The model card, Markdown."""
    settings = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in recipe.items())
    return f"""# {spec.name}

{spec.summary}. Input {"x".join(map(str, spec.input_size))}, {len(spec.labels)} classes.

| | |
|---|---|
| top-1, {report["images"]:,} test images | **{report["top1"]:.2%}** |
| top-5 | {report["top5"]:.2%} |
| parameters | {cost.parameters:,} |
| multiplication-free | {"yes" if cost.multiplication_free else "no"} |
| terms multiplied an image | {cost.multiply_terms + cost.gate_multiplications:,} |
| terms shifted and added | {cost.shift_terms:,} |
| absolute differences added | {cost.adder_terms:,} |
| weights as deployed, without scales and biases | {cost.weight_bytes / 1e6:.2f} MB |
| this file | {size / 1e6:.2f} MB |
| date | {datetime.date.today().isoformat()} |

The accuracy is that of the exported ONNX file, run in ONNX Runtime with the operator library:

```
make evaluate MODEL={spec.name} DATA=test.zip
```

## Recipe

Trained on CIFAR-10's training images; {recipe["held_out"]:,} of them were held out to look on
by; the test images had no part in training. The command:

```
make train MODEL={spec.name} DATA=train.zip
```

| setting | value |
|---|---|
{settings}

SGD with Nesterov momentum, linear warm-up and cosine decay to zero, random shifts by up to four
pixels and mirroring. During the first {recipe["small_share"]:.0%} of the epochs the images are
scaled to {recipe["small_size"]}x{recipe["small_size"]}.
"""


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m export.training.publish", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", help="a registered model")
    parser.add_argument("--training", type=Path, default=Path("build/training"))
    parser.add_argument("--test", type=Path, required=True, help="ImageFolder, a folder or a zip")
    arguments = parser.parse_args(argv)
    try:
        spec = find_model(arguments.model)
        recipe = write_weights(spec, arguments.training / spec.name / "checkpoint.pt")
        report = evaluate(spec, arguments.test)
    except (KeyError, ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"publish: {error.args[0] if len(error.args) == 1 else error}", file=sys.stderr)
        return 2
    assert spec.weights is not None
    cost = measure(spec.build(), spec.input_size)
    text = card(spec, cost, recipe, report, spec.weights.stat().st_size)
    spec.weights.with_suffix(".md").write_text(text)
    print(f"{spec.weights}: top-1 {report['top1']:.2%} of {report['images']:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
