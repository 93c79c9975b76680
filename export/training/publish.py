"""Turns a finished training run into shipped weights and their card.

    python -m export.training.publish ghostshiftaddnet --test test.zip --calibration train.zip

The accuracies on the card are measured on the exported ONNX file through the operator library, by
the same commands that a user would give. The training's log goes beside the card, and so does the
list of the test images that the file got right, against which a test holds a sample of them.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from export.models import MODELS, ModelSpec
from export.models.complexity import Complexity, measure
from export.operators import ShiftConv2d, round_to_power_of_two
from export.training.recipe import Recipe, TrainingError, recipe_for
from export.training.state import load_training_state, restore
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core.files import replace

_REPOSITORY = Path(__file__).resolve().parents[2]
_YARDSTICK = "resnet20_cifar10"


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


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a network's exported file over the test images.

    Attributes:
        fp32, int8: reports of evaluate.py; the latter None where no images to calibrate on were
            given.
        right: of each test image, in the data set's order, whether the float file got it right.
    """

    fp32: dict[str, Any]
    int8: dict[str, Any] | None
    right: tuple[bool, ...]


def evaluate(spec: ModelSpec, weights: bytes, test: Path, calibration: Path | None) -> Measured:
    """Exports a network of these weights and measures the file over `test`.

    With images for `calibration` the integer model is made and measured, too. What the commands
    complain of goes to stderr as they say it.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "weights.safetensors"
        checkpoint.write_bytes(weights)
        export = [sys.executable, "-m", "export", spec.name, "--checkpoint", str(checkpoint)]
        _run([*export, "--out", folder])
        model = str(Path(folder) / f"{spec.name}.onnx")
        table = Path(folder) / "predictions.csv"
        fp32 = _accuracy(model, test, "--predictions", str(table))
        with table.open(newline="", encoding="utf-8") as file:
            right = tuple(row["class"] == row["predicted"] for row in csv.DictReader(file))
        if calibration is None:
            return Measured(fp32, None, right)
        integer = str(Path(folder) / f"{spec.name}.int8.onnx")
        data = ["--data", str(calibration.resolve()), "--out", integer]
        _run([sys.executable, "-m", "calibration", model, *data])
        return Measured(fp32, _accuracy(integer, test), right)


def _accuracy(model: str, test: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "runtime/evaluate.py", model, str(test.resolve()), "--json"]
    report: dict[str, Any] = json.loads(_run([*command, *options]))
    return report


def packed_answers(right: Sequence[bool]) -> bytes:
    """Whether each image was got right, as a JSON document: a bit an image, the first one highest.

    `unpacked_answers` reads it.
    """
    bits = "".join("01"[answer] for answer in right)
    return (json.dumps({"images": len(bits), "right": f"{int(bits, 2):x}"}) + "\n").encode()


def unpacked_answers(document: bytes) -> list[bool]:
    """What `packed_answers` was given."""
    packed = json.loads(document)
    return [bit == "1" for bit in f"{int(packed['right'], 16):0{packed['images']}b}"]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise TrainingError(f"{' '.join(command[1:3])} has failed; nothing was published")
    return done.stdout


def published_top1(name: str) -> str:
    """Top-1 as the card of a published network has it, "88.06%"; "" where there is none."""
    weights = MODELS[name].weights if name in MODELS else None
    file = weights.with_suffix(".md") if weights else None
    if file is None or not file.is_file():
        return ""
    found = re.search(r"top-1, [\d,]+ test images \| \*\*([\d.]+%)", file.read_text())
    return found.group(1) if found else ""


def _rows(
    spec: ModelSpec, cost: Complexity, recipe: dict[str, Any], measured: Measured, size: int
) -> dict[str, str]:
    """The card's table."""
    fp32, int8 = measured.fp32, measured.int8
    rows = {f"top-1, {fp32['images']:,} test images": f"**{fp32['top1']:.2%}**"}
    if int8 is not None:
        rows["top-1, int8"] = f"{int8['top1']:.2%}"
    rows["top-5"] = f"{fp32['top5']:.2%}"
    yardstick = published_top1(_YARDSTICK)
    if yardstick and recipe["teacher"] and spec.name != _YARDSTICK:
        rows[f"top-1 of {_YARDSTICK}, by the same recipe"] = yardstick
    return rows | {
        "parameters": f"{cost.parameters:,}",
        "multiplication-free": "yes" if cost.multiplication_free else "no",
        "terms multiplied an image": f"{cost.multiply_terms + cost.gate_multiplications:,}",
        "terms shifted and added": f"{cost.shift_terms:,}",
        "absolute differences added": f"{cost.adder_terms:,}",
        "weights as deployed, without scales and biases": f"{cost.weight_bytes / 1e6:.2f} MB",
        "this file": f"{size / 1e6:.2f} MB",
        "date": datetime.date.today().isoformat(),
    }


def _command(spec: ModelSpec, recipe: dict[str, Any]) -> str:
    """What trains the network by this recipe."""
    usual = dataclasses.asdict(recipe_for(spec.name))
    changed = [
        f"--{key.replace('_', '-')} {shlex.quote(str(value))}"
        for key, value in recipe.items()
        if value != usual.get(key)
    ]
    options = f' ARGS="{" ".join(changed)}"' if changed else ""
    return f"make train MODEL={spec.name} DATA=train.zip{options}"


def _words(recipe: dict[str, Any]) -> str:
    """The recipe in words, Markdown."""
    parts = [
        "SGD with Nesterov momentum, linear warm-up and cosine decay to zero; adder layers learn "
        f"at {recipe['adder_rate']} of that rate. Images are shifted at random by up to four "
        "pixels and mirrored in every other epoch."
    ]
    if recipe["cutout"]:
        parts.append(f"A square of {recipe['cutout']} pixels is blanked in each.")
    if recipe["small_share"]:
        parts.append(
            f"During the first {recipe['small_share']:.0%} of the epochs they are scaled to "
            f"{recipe['small_size']}x{recipe['small_size']}."
        )
    if recipe["closing_epochs"]:
        parts.append(
            f"The {recipe['closing_epochs']} closing epochs shift none, at a rate of "
            f"{recipe['closing_rate']} that falls to zero."
        )
    if recipe["teacher"]:
        parts.append(
            f"The loss is by {recipe['distillation']:.0%} the distance from the logits of "
            f"`{recipe['teacher']}` for the same image, at a temperature of "
            f"{recipe['temperature']}, and by the rest that from the label."
        )
    if recipe["averaging"]:
        parts.append(
            "The result is the moving average of the weights, of which each step keeps "
            f"{recipe['averaging']}."
        )
    parts.append("At the end BatchNorm statistics are taken afresh over unaugmented images.")
    return textwrap.fill(" ".join(parts), 100)


def card(
    spec: ModelSpec,
    cost: Complexity,
    recipe: dict[str, Any],
    measured: Measured,
    size: int,
    training: str = "",
) -> str:
    """The model card, Markdown; `training` says on what it was trained, and what was unusual."""
    table = "\n".join(
        f"| {key} | {value} |" for key, value in _rows(spec, cost, recipe, measured, size).items()
    )
    settings = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in recipe.items())
    int8 = f"""
make calibrate MODEL={spec.name} DATA=train.zip
make evaluate MODEL_FILE=build/models/{spec.name}.int8.onnx DATA=test.zip"""
    remarks = f"\n{textwrap.fill(training, 100)}\n" if training else ""
    return f"""# {spec.name}

{spec.summary}. Input {"x".join(map(str, spec.input_size))}, {len(spec.labels)} classes.

| | |
|---|---|
{table}

The accuracy is that of the exported ONNX file, run in ONNX Runtime with the operator library:

```
make evaluate MODEL={spec.name} DATA=test.zip{int8 if measured.int8 else ""}
```

## Recipe

Trained on CIFAR-10's training images; {recipe["held_out"]:,} of them were held out to look on
by; the test images had no part in training. The command:

```
{_command(spec, recipe)}
```
{remarks}
`{spec.name}.log.json` has its losses and the accuracies over the held-out images,
`{spec.name}.test.json` a bit for each test image that the exported file got right.

| setting | value |
|---|---|
{settings}

{_words(recipe)}
"""


def training_log(folder: Path) -> bytes:
    """A training's log as one JSON document: a list with an object an epoch."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return ("[\n " + ",\n ".join(lines) + "\n]\n").encode()


def _training(folder: Path, state: dict[str, Any], note: str) -> str:
    """What the card says of the run: machine, time, and the caller's note."""
    seconds = sum(record["seconds"] for record in json.loads(training_log(folder)))
    said = (
        f"It ran on {state['machine']} for {seconds / 60:.1f} minutes."
        if "machine" in state
        else ""
    )
    return " ".join(part for part in (said, note) if part)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ShiftAddError; what was published before is left then."""
    parser = Parser(prog="python -m export.training.publish", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a registered model")
    parser.add_argument("--training", type=Path, default=Path("build/training"))
    parser.add_argument("--test", type=Path, required=True, help="ImageFolder, a folder or a zip")
    parser.add_argument(
        "--calibration", type=Path, metavar="DATA",
        help="measure the integer model, too, with ranges over these images",
    )  # fmt: skip
    parser.add_argument("--note", default="", help="a sentence for the card")
    options = parser.parse_args(argv)
    shipped = [name for name, spec in MODELS.items() if spec.weights is not None]
    if options.model not in shipped:
        parser.error(f"no weights are shipped for {options.model!r}, only for {', '.join(shipped)}")
    spec = MODELS[options.model]
    assert spec.weights is not None
    run = options.training / spec.name
    weights, recipe = compact_weights(spec, run / "checkpoint.pt")
    measured = evaluate(spec, weights, options.test, options.calibration)
    training = _training(run, load_training_state(run / "checkpoint.pt"), options.note)
    cost = measure(spec.build(), spec.input_size)
    text = card(spec, cost, recipe, measured, len(weights), training)
    replace(spec.weights, weights, "weights")
    replace(spec.weights.with_suffix(".md"), text.encode(), "card")
    replace(spec.weights.with_suffix(".log.json"), training_log(run), "log")
    replace(spec.weights.with_suffix(".test.json"), packed_answers(measured.right), "answers")
    fp32 = measured.fp32
    show(f"{spec.weights}: top-1 {fp32['top1']:.2%} of {fp32['images']:,}")
    return FINE


if __name__ == "__main__":
    leave(main)
