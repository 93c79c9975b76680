"""Which tests `make test-fast` leaves out, and which files start first in a run of all.

A test is `slow` where it needs a toolchain beyond this machine's Python packages and the operator
library, or takes more than five seconds. `pytest --durations=60` shows where time goes.
"""

from __future__ import annotations

# Files of slow tests only, and what makes them slow. tests/test_speed.py holds that no other file
# is without a fast test.
SLOW_FILES = {
    "device_scripts/test_bundle_arm64.py": "an emulated Cortex-A57",
    "device_scripts/test_deploy.py": "ssh, and the library that is cross-built",
    "export/operators/test_adder_triton.py": "Triton's interpreter",
    "export/operators/test_shift_triton.py": "Triton's interpreter",
    "export/training/test_distributed.py": "trainings",
    "export/training/test_resume.py": "trainings",
    "makefile/test_installation.py": "an environment into which the project is installed",
    "plugins/test_aarch64.py": "the cross-compiler and an emulated Cortex-A57",
    "plugins/test_cpp_programs.py": "programs built with sanitizers",
    "plugins/test_cuda_kernels.py": "programs built with sanitizers",
    "plugins/test_old_runtime.py": "Python 3.6 and an emulated Cortex-A57",
    "plugins/test_tensorrt.py": "NVIDIA's headers and programs built with sanitizers",
    "plugins/test_tensorrt_rtx.py": "NVIDIA's TensorRT-RTX",
    "runtime/test_python36.py": "Python 3.6",
    "runtime/test_tensorrt_types.py": "mypy on all of the runtime",
    "runtime/test_soak.py": "commands that run for long",
    "runtime/test_threads.py": "threads that run for long",
}

# What needs these needs the cross-compiler, NVIDIA's compilers, a training, or a network that is
# exported and calibrated; `cifar10` is a data set that is evaluated.
SLOW_FIXTURES = frozenset({"bundle", "bundle_models", "cifar10", "images", "installed", "kernels"})

# With several workers the longest file starts first, so that none is left over at the end. But what
# waits for another file's build stands behind it: the library for the board, which takes a minute
# and more the first time, is built by test_old_runtime.py, and the programs with sanitizers are by
# test_cpp_programs.py.
LONG_FILES = (
    "plugins/test_old_runtime.py",
    "plugins/test_cpp_programs.py",
    "fuzz/test_fuzz.py",
    "plugins/test_cuda_kernels.py",
    "device_scripts/test_deploy.py",
    "plugins/test_tensorrt.py",
    "device_scripts/test_gpu_occupancy.py",
    "runtime/test_threads.py",
    "runtime/test_build_engine.py",
    "device_scripts/test_scripts.py",
    "device_scripts/test_jetson_nano_page.py",
    "plugins/test_contract.py",
    "runtime/test_video.py",
    "export/onnx_export/test_ordinary_pytorch.py",
    "device_scripts/test_demo.py",
    "runtime/test_infer.py",
    "device_scripts/test_bundle.py",
    "plugins/test_aarch64.py",
    "device_scripts/test_a57_models.py",
    "export/test_own_model_page.py",
    "export/validation/test_tensorrt.py",
    "export/training/test_train.py",
    "export/training/test_finetune.py",
    "export/models/test_shipped_models.py",
    "export/operators/test_modules.py",
    "device_scripts/test_benchmark.py",
    "device_scripts/test_bundle_arm64.py",
    "export/training/test_distributed.py",
    "export/onnx_export/test_passes.py",
    "runtime/test_soak.py",
    "runtime/test_build_engine_int8.py",
)
