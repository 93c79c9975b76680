"""Turns a finished training run into shipped weights and their card.

    python -m export.training.publish ghostshiftaddnet --test test.zip

The accuracy on the card is measured on the exported ONNX file through the operator library, by
the same command that a user would give.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from export.models import MODELS, ModelSpec
from export.models.complexity import Complexity, measure
from export.operators import ShiftConv2d, round_to_power_of_two
from export.training.train import Recipe, TrainingError, load_training_state, restore
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core.files import replace

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
    mixed = torch.where(kept, half, power.half())
    acts = round_to_power_of_two(mixed.float(), layer.min_exponent, span=layer.span)
    # A power below float16's least, 2^-24, would be lost.
    return mixed if torch.equal(acts, power) else latent


def compact_weights(spec: ModelSpec, checkpoint: Path) -> tuple[bytes, dict[str, Any]]:
    """A finished training's weights as a safetensors file, and the recipe it was trained by."""
    state = load_training_state(checkpoint)
    recipe: dict[str, Any] = state["recipe"]
    epochs = Recipe(**recipe).all_epochs
    if state["epoch"] < epochs:
        raise TrainingError(f"{checkpoint}: training is at epoch {state['epoch']} of {epochs}")
    if not state.get("settled"):
        raise TrainingError(
            f"{checkpoint}: its BatchNorm statistics are not final; go on with the training"
        )
    model = spec.build()
    restore(model, state, checkpoint)
    return save(compact_state(model), metadata={"recipe": json.dumps(recipe)}), recipe


def evaluate(spec: ModelSpec, weights: bytes, test: Path) -> dict[str, Any]:
    """Exports a network of these weights and measures the file over `test`: evaluate.py's report.

    What the two commands complain of goes to stderr as they say it.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "weights.safetensors"
        checkpoint.write_bytes(weights)
        export = [sys.executable, "-m", "export", spec.name, "--checkpoint", str(checkpoint)]
        _run([*export, "--out", folder])
        model = str(Path(folder) / f"{spec.name}.onnx")
        command = [sys.executable, "runtime/evaluate.py", model, str(test.resolve()), "--json"]
        report: dict[str, Any] = json.loads(_run(command))
    return report


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise TrainingError(f"{' '.join(command[1:3])} has failed; nothing was published")
    return done.stdout


def card(
    spec: ModelSpec, cost: Complexity, recipe: dict[str, Any], report: dict[str, Any], size: int
) -> str:
    """The model card, Markdown."""
    settings = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in recipe.items())
    usual = dataclasses.asdict(Recipe())
    changed = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in recipe.items()
        if value != usual.get(key)
    ]
    options = f' ARGS="{" ".join(changed)}"' if changed else ""
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
make train MODEL={spec.name} DATA=train.zip{options}
```

| setting | value |
|---|---|
{settings}

SGD with Nesterov momentum, linear warm-up and cosine decay to zero, random shifts by up to four
pixels and mirroring. During the first {recipe["small_share"]:.0%} of the epochs the images are
scaled to {recipe["small_size"]}x{recipe["small_size"]}. The {recipe["closing_epochs"]} closing
epochs shift none, at a rate of {recipe["closing_rate"]} that falls to zero. After them the
BatchNorm statistics are taken afresh over unaugmented training images.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ShiftAddError; what was published before is left then."""
    parser = Parser(prog="python -m export.training.publish", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a registered model")
    parser.add_argument("--training", type=Path, default=Path("build/training"))
    parser.add_argument("--test", type=Path, required=True, help="ImageFolder, a folder or a zip")
    options = parser.parse_args(argv)
    shipped = [name for name, spec in MODELS.items() if spec.weights is not None]
    if options.model not in shipped:
        parser.error(f"no weights are shipped for {options.model!r}, only for {', '.join(shipped)}")
    spec = MODELS[options.model]
    assert spec.weights is not None
    weights, recipe = compact_weights(spec, options.training / spec.name / "checkpoint.pt")
    report = evaluate(spec, weights, options.test)
    cost = measure(spec.build(), spec.input_size)
    text = card(spec, cost, recipe, report, len(weights))
    replace(spec.weights, weights, "weights")
    replace(spec.weights.with_suffix(".md"), text.encode(), "card")
    show(f"{spec.weights}: top-1 {report['top1']:.2%} of {report['images']:,}")
    return FINE


if __name__ == "__main__":
    leave(main)
