"""The inputs that a model is tried with on the device, and the logits that it has to give for
them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

import runtime
from calibration.comparison.inputs import random_inputs, real_inputs
from device_scripts.host.bundle.archive import BundleError
from export.checkpoint import load_network
from export.loading.resolve import Source
from export.onnx_export.metadata import fixed_point_of
from export.recognition import swap_layers
from export.validation.reference import Reference as Network
from runtime.core import reference
from runtime.core.metadata import Metadata
from runtime.core.onnx_header import read_metadata
from runtime.core.reference import Reference

_PHOTOGRAPHS, _RANDOM = 4, 2
_SEED = 0


def make(
    source: Source,
    float_path: Path,
    metadata: Metadata,
    int8_path: Path | None,
    checkpoint: Path | None,
    host_library: str | None,
) -> bytes:
    """The reference's file for the float model with this metadata, and for the integer one.

    Args:
        source: of the network that the model was exported from.
        checkpoint: the weights that the model was exported from; None for the shipped ones.
        host_library: this machine's operator library; searched for when None.

    Raises ShiftAddError.
    """
    network = _network(source, float_path, metadata, checkpoint)
    # With one thread the sums are taken in the same order, however many cores there are.
    torch.set_num_threads(1)
    images = np.concatenate(
        [
            real_inputs([], _PHOTOGRAPHS, metadata),
            random_inputs(_RANDOM, metadata.input_size, _SEED),
        ]
    )
    kinds = (("photograph", _PHOTOGRAPHS), ("noise", _RANDOM))
    names = [f"{kind} {i + 1}" for kind, count in kinds for i in range(count)]
    _, exact = Network(network, metadata.input_size).logits(images)
    # They are stored in float32, since the further digits of float64 are not the same on every
    # processor.
    logits = exact.astype(np.float32)
    int8_sha256, int8_logits = "", logits[:0]
    if int8_path is not None:
        int8_sha256 = hashlib.sha256(int8_path.read_bytes()).hexdigest()
        with runtime.load(int8_path, host_library) as session:
            int8_logits = np.concatenate([session.run(image[np.newaxis]) for image in images])
    return reference.to_bytes(
        Reference(
            model=metadata.model,
            checkpoint_sha256=metadata.checkpoint_sha256,
            names=np.array(names),
            images=images,
            logits=logits,
            int8_sha256=int8_sha256,
            int8_logits=int8_logits,
        )
    )


def _network(
    source: Source, float_path: Path, metadata: Metadata, checkpoint: Path | None
) -> nn.Module:
    """The network that the file is of, with the authors' layers replaced as they were there."""
    network, sha256 = load_network(source, checkpoint)
    if sha256 != metadata.checkpoint_sha256:
        raise BundleError(
            f"{float_path}: was exported from other weights than PyTorch has here: export it "
            "again, or name the weights with --checkpoint"
        )
    return swap_layers(network, fixed_point_of(read_metadata(str(float_path))))[0]
