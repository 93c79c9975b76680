"""`make validate`: a right file passes, a damaged one fails by name, bad input is one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from calibration.comparison import inputs
from calibration.comparison.deviation import Deviation
from export.checkpoint import load_model
from export.models import ModelSpec, find_model
from export.onnx_export.model import Target, export_model
from export.operators import AdderConv2d, ShiftConv2d
from export.operators.exact import float64_copy
from export.validation import compare, reference, rows
from export.validation.__main__ import main
from export.validation.compare import InputResult
from export.validation.exported import ExportedModel
from export.validation.reference import Reference
from runtime.console.commandline import leave
from runtime.core.errors import DataError, ModelError

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = "ghostshiftaddnet"

Damage = Callable[[onnx.ModelProto], None]


class Small(nn.Module):
    """One of everything, and not a Sequential in it: the order is forward()'s alone."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(6, 5)
        self.norm_c = nn.BatchNorm2d(6)
        self.norm_b = nn.BatchNorm2d(9)
        self.norm_a = nn.BatchNorm2d(8)
        self.adder = AdderConv2d(8, 9, 3, 2, (1, 0, 1, 2), bias=True)
        self.shift = ShiftConv2d(3, 8, 3, 1, (0, 1, 1, 2))
        self.powers = ShiftConv2d(9, 6, 1, groups=3, mode="ps", bits=6, bias=True)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.swish = nn.Hardswish()
        self.six = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.shift(x)))
        x = self.swish(self.norm_b(self.adder(x)))
        x = self.six(self.powers(x))
        x = self.norm_c(self.conv(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


SMALL_SPEC = ModelSpec(
    name="small",
    summary="for tests",
    build=Small,
    input_size=(3, 14, 13),
    resize=16,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    labels=("a", "b", "c", "d", "e"),
    weights=None,
)


def trained_by_chance(network: nn.Module) -> nn.Module:
    """The network in eval mode with BatchNorms that do something, so that folding is tested."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(8, *SMALL_SPEC.input_size))
        for norm in norms:
            assert norm.running_mean is not None
            norm.running_mean += 0.1 * torch.randn(norm.num_features)
            norm.weight.uniform_(0.5, 1.5).mul_(torch.randn(norm.num_features).sign())
            norm.bias.normal_()
    return network.eval()


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small() -> Small:
    """Seeded: by chance a channel would be cut off by every ReLU, and a damage in it not seen."""
    torch.manual_seed(2)
    network = Small()
    trained_by_chance(network)
    return network


def run(
    network: nn.Module,
    folder: Path,
    library: Path,
    target: Target = "jetson-nano",
    damage: Damage | None = None,
    spec: ModelSpec = SMALL_SPEC,
) -> list[InputResult]:
    """Exports the network, damages the file where asked for, and compares the two."""
    model = export_model(network, spec, target)
    if damage is not None:
        damage(model)
    path = folder / "small.onnx"
    onnx.save(model, path)
    exported = ExportedModel(path, str(library))
    data = {
        "random": inputs.random_inputs(5, spec.input_size, 1),
        "real": inputs.real_inputs([], 6, exported.metadata),
    }
    return compare.compare(exported, Reference(network, spec.input_size), data)


def edit(node: str, field: int, change: Callable[[np.ndarray], None]) -> Damage:
    """Changes the initializer that is input `field` of `node`."""

    def damage(model: onnx.ModelProto) -> None:
        name = next(n.input[field] for n in model.graph.node if n.name == node)
        tensor = next(t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor).copy()
        change(value)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return damage


def flip_sign(value: np.ndarray) -> None:
    """Negates the first weight of a shift layer, if it is not 0: the top bit of its code."""
    value[0, 0] ^= np.int32(8)


def nudge(value: np.ndarray) -> None:
    value.flat[0] += 0.01


def broken(results: Sequence[InputResult]) -> list[str]:
    """The layers that are wrong by themselves."""
    return [layer.name for layer in rows.summarise(results) if not layer.isolated_passed]


@pytest.mark.parametrize("target", ["jetson-nano", "portable"])
def test_a_right_file_passes(
    small: Small, tmp_path: Path, operator_library: Path, target: Target
) -> None:
    results = run(small, tmp_path, operator_library, target)
    assert [result.kind for result in results] == ["random", "real"]
    assert [result.logits.count for result in results] == [5, 6]
    assert all(result.passed for result in results)
    layers = rows.summarise(results)
    assert [layer.name for layer in layers] == ["shift", "adder", "powers", "conv", "classifier"]
    assert not any(layer.silent for layer in layers)
    assert all(layer.isolated > 0 for layer in layers)
    fused = ["+relu", "+hardswish", "+relu6"] if target == "jetson-nano" else [""] * 3
    assert [layer.operator for layer in layers[:3]] == [
        kind + activation
        for kind, activation in zip(("ShiftConv", "AdderConv", "ShiftConv"), fused, strict=True)
    ]


def test_a_file_of_standard_operators_is_compared_end_to_end(
    small: Small, tmp_path: Path, operator_library: Path
) -> None:
    results = run(small, tmp_path, operator_library, "standard")
    assert all(result.logits.passed for result in results)
    assert {"conv", "classifier"} <= {layer.name for layer in rows.summarise(results)}


@pytest.mark.parametrize(
    ("layer", "field", "change"),
    [
        ("shift", 1, flip_sign),
        ("shift", 2, nudge),
        ("shift", 3, nudge),
        ("adder", 1, nudge),
        ("adder", 2, nudge),
        ("adder", 3, nudge),
        ("powers", 3, nudge),
        ("conv", 1, nudge),
        ("classifier", 2, nudge),
    ],
)
def test_one_damaged_weight_is_found_in_its_layer(
    small: Small,
    tmp_path: Path,
    operator_library: Path,
    layer: str,
    field: int,
    change: Callable[[np.ndarray], None],
) -> None:
    with torch.no_grad():
        # Not 0 and within 4 bits, so that its code has a sign to flip.
        small.shift.weight.fill_(0.25).view(-1)[0] = 0.5
    results = run(small, tmp_path, operator_library, damage=edit(layer, field, change))
    assert broken(results) == [layer]
    assert not all(result.logits.passed for result in results)
    assert layer in rows.verdicts(results)[0]


def test_a_wrong_activation_shows_in_the_accumulated_error(
    small: Small, tmp_path: Path, operator_library: Path
) -> None:
    def damage(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.name == "adder")
        entry = next(a for a in node.attribute if a.name == "activation")
        entry.CopyFrom(helper.make_attribute("activation", "relu"))

    results = run(small, tmp_path, operator_library, damage=damage)
    assert broken(results) == []
    failed = [layer.name for layer in rows.summarise(results) if not layer.passed]
    assert failed[0] == "adder"
    assert "adder" in rows.verdicts(results)[0]


def test_outputs_that_are_not_finite_fail() -> None:
    deviation = Deviation()
    deviation.add(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    assert deviation.relative == np.inf
    assert deviation.largest == np.inf


def test_deviation_is_the_ratio_of_norms_over_all_batches() -> None:
    rng = np.random.default_rng()
    reference, error, magnitude = rng.normal(size=(3, 7, 4))
    deviation = Deviation()
    for part in (slice(0, 3), slice(3, 7)):
        deviation.add(reference[part] + error[part], reference[part], magnitude[part])
    norms = [np.linalg.norm(values) for values in (error, reference, magnitude)]
    assert deviation.relative == pytest.approx(norms[0] / norms[1])
    assert deviation.scaled == pytest.approx(norms[0] / norms[2])
    assert deviation.largest == pytest.approx(np.abs(error).max())


def test_the_reference_has_the_weights_of_float32() -> None:
    """sqrt(1/2) lies between two powers: its float32 is rounded, in float64 it may go elsewhere."""
    layer = ShiftConv2d(64, 64, 3)
    boundary = torch.tensor(0.5).sqrt()
    with torch.no_grad():
        layer.weight.copy_(boundary * (1 + torch.randn(layer.weight.shape) * 1e-7))
    exact = float64_copy(layer)
    assert isinstance(exact, ShiftConv2d)
    assert exact.weight.dtype == torch.float64
    assert torch.equal(exact.effective_weight(), layer.effective_weight().double())


def test_a_layer_that_is_used_twice_is_compared_twice(
    tmp_path: Path, operator_library: Path
) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = ShiftConv2d(3, 4, 1)
            self.shared = AdderConv2d(4, 4, 3, padding=1)
            self.head = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            difference = self.shared(x) - self.shared(F.relu(x))
            logits: Tensor = self.head(difference.mean((2, 3)))
            return logits

    results = run(Twice().eval(), tmp_path, operator_library)
    names = [layer.name for layer in rows.summarise(results)]
    assert names == ["stem", "shared", "shared_1", "head"]
    assert broken(results) == []


def test_a_file_of_another_network_is_refused(
    small: Small, tmp_path: Path, operator_library: Path
) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(export_model(small, SMALL_SPEC), path)
    exported = ExportedModel(path, str(operator_library))
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match=r"no node for the layer 0: .*another network"):
        compare.match_layers(exported, Reference(other, SMALL_SPEC.input_size))


def test_a_layer_that_nothing_would_be_compared_with_is_refused(
    small: Small, tmp_path: Path, operator_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(export_model(small, SMALL_SPEC), path)
    monkeypatch.setattr(reference, "LAYERS", (nn.Conv2d, nn.Linear))
    with pytest.raises(ModelError, match=r"no layer of the network for its ShiftConv \S+, which"):
        compare.match_layers(
            ExportedModel(path, str(operator_library)), Reference(small, SMALL_SPEC.input_size)
        )


@pytest.mark.parametrize(
    ("target", "attribute", "value", "words"),
    [
        ("portable", "activation", "relu", "activation: expected none"),
        ("jetson-nano", "activation", "tanh", "activation: expected"),
        ("jetson-nano", "group", 3, "shift.*group"),
    ],
)
def test_what_breaks_the_contract_is_refused(
    small: Small,
    tmp_path: Path,
    operator_library: Path,
    target: Target,
    attribute: str,
    value: str | int,
    words: str,
) -> None:
    def damage(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.name == "shift")
        entry = next(a for a in node.attribute if a.name == attribute)
        entry.CopyFrom(helper.make_attribute(attribute, value))

    with pytest.raises(ModelError, match=words):
        run(small, tmp_path, operator_library, target, damage)


def test_sample_patches_are_as_many_as_asked_for_and_none_is_another() -> None:
    patches = inputs.sample_patches(21)
    assert len(patches) == 21
    assert len({patch.tobytes() for patch in patches}) == 21


def test_real_inputs_of_folders_files_and_zips(tmp_path: Path, operator_library: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(export_model(Small().eval(), SMALL_SPEC), path)
    metadata = ExportedModel(path, str(operator_library)).metadata
    folder = tmp_path / "pictures"
    rng = np.random.default_rng()
    for index in range(6):
        picture = rng.integers(0, 256, size=(20, 30, 3)).astype(np.uint8)
        file = folder / ("cat" if index % 2 else "dog") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    packed = tmp_path / "pictures.zip"
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-c", packed, *sorted(folder.iterdir())], check=True
    )
    everything = inputs.real_inputs([str(folder)], 100, metadata)
    assert everything.shape == (6, *SMALL_SPEC.input_size)
    assert np.array_equal(inputs.real_inputs([str(packed)], 100, metadata), everything)
    assert np.array_equal(inputs.real_inputs([str(folder)], 3, metadata), everything[::2])
    one = inputs.real_inputs([str(folder / "cat" / "1.png")], 100, metadata)
    assert np.array_equal(one, everything[:1])
    broken_file = folder / "cat" / "1.png"
    broken_file.write_bytes(broken_file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"1\.png"):
        inputs.real_inputs([str(folder)], 100, metadata)


@pytest.fixture(scope="module")
def exported_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry's network as `make export` writes it."""
    network, sha256 = load_model(MODEL)
    path = tmp_path_factory.mktemp("models") / f"{MODEL}.onnx"
    onnx.save(export_model(network, find_model(MODEL), checkpoint_sha256=sha256), path)
    return path


def validate(*arguments: str | Path) -> int:
    """The command's exit code. In this process: a fresh one spends seconds on importing torch."""
    with pytest.raises(SystemExit) as left:
        leave(main, [str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_command_writes_a_report_that_needs_nothing_beside_it(
    exported_file: Path, tmp_path: Path, operator_library: Path
) -> None:
    command = [sys.executable, "-m", "export.validation", MODEL, "--model-file", str(exported_file),
               "--count", "3", "--seed", "5", "--report-dir", str(tmp_path),
               "--library", str(operator_library)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    assert "blocks.0.expand.adder.0" in done.stdout
    assert "FAIL" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [f"{MODEL}-validation.html"]
    page = (tmp_path / f"{MODEL}-validation.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == page.count("<img ") == 2
    assert "http" not in page
    assert "blocks.0.expand.adder.0" in page
    assert "seed of the random inputs</th><td>5</td>" in page


def test_the_command_names_the_damaged_layer(
    exported_file: Path,
    tmp_path: Path,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = onnx.load(exported_file)
    edit("blocks.1.project.adder.0", 1, nudge)(model)
    path = tmp_path / "damaged.onnx"
    onnx.save(model, path)
    code = validate(MODEL, "--model-file", path, "--count", "2", "--report-dir", tmp_path,
                    "--library", operator_library)  # fmt: skip
    assert code == 1
    lines = capsys.readouterr().out.splitlines()
    verdict = next(line for line in lines if line.startswith("FAIL"))
    assert "1 of 53 layers" in verdict
    assert "blocks.1.project.adder.0" in verdict
    assert (tmp_path / "damaged-validation.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "known models: ghostnet"),
        ([], "MODEL"),
        ([MODEL, "--model-file", "{tmp}/missing.onnx"], "missing.onnx: no such file"),
        ([MODEL, "--model-file", "{tmp}/text.onnx"], "text.onnx: not an ONNX model"),
        ([MODEL, "--model-file", "{tmp}/truncated.onnx"], "truncated.onnx: truncated"),
        ([MODEL, "--model-file", "{tmp}/newer.onnx"], "version 2 of the operator contract"),
        (["ghostnet", "--model-file", "{file}"], "of the model ghostshiftaddnet, not of ghostnet"),
        ([MODEL, "--model-file", "{tmp}/other.onnx"], "SHA-256 0123456789ab"),
        (
            [MODEL, "--model-file", "{file}", "--images", "{tmp}/missing"],
            "cannot read the image: No such file",
        ),
        ([MODEL, "--model-file", "{file}", "--images", "{tmp}/text.onnx"], "not an image"),
        ([MODEL, "--model-file", "{file}", "--count", "0"], "positive"),
        ([MODEL, "--model-file", "{file}", "--checkpoint", "{tmp}/text.onnx"], "text.onnx"),
        ([MODEL, "--model-file", "{file}", "--library", "{tmp}/missing.so"], "missing.so"),
        ([MODEL, "--model-file", "{file}", "--library", "{tmp}/text.onnx"], "text.onnx"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    exported_file: Path,
    operator_library: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    content = exported_file.read_bytes()
    (tmp_path / "text.onnx").write_text("no model\n")
    (tmp_path / "truncated.onnx").write_bytes(content[: len(content) // 2])
    changes = {
        "newer": {"shiftadd.contract_version": "2"},
        "other": {"shiftadd.checkpoint_sha256": "0123456789abcdef" * 4},
    }
    for name, properties in changes.items():
        model = onnx.load_from_string(content)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        helper.set_model_props(model, kept | properties)
        onnx.save(model, tmp_path / f"{name}.onnx")
    given = [a.format(tmp=tmp_path, file=exported_file) for a in arguments]
    library = [] if "--library" in given else ["--library", str(operator_library)]
    assert validate(*given, *library, "--report-dir", tmp_path / "reports") == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1
    assert not (tmp_path / "reports").exists()
