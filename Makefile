# `make help` lists the targets. Everything is made under build/ and .venv/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
MODEL ?= ghostshiftaddnet
TARGET ?= jetson-nano
OUT ?= build/models
CHECKPOINT ?=
DATA ?=
BITS ?= 8
IMAGE ?=
DEVICE ?=
FUZZ ?=
SECONDS ?= 600
BACKEND ?= onnxruntime
PRECISION ?=
METHOD ?=
SAMPLES ?= 512
KEEP_FLOAT ?=
SENSITIVITY ?=
INT8 ?=
WORKSPACE ?=
# Builds engines: TensorRT and PyCUDA belong to the system of a Jetson, and not to .venv.
ENGINE_PYTHON ?= python3
CMAKE_ARGS ?=
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# What the tests take of NVIDIA's, 220 MB: nobody else needs it.
NVIDIA_READY := $(VENV)/.nvidia
PEERS ?=
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
# The cross-compiler is a package in .venv; what it makes of its own C and C++ libraries, which takes
# minutes, is kept there too.
ZIG := ZIG_PYTHON="$(CURDIR)/$(PY)" ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/$(VENV)/zig-cache"
LIBRARY := build/plugins/libshiftadd_ort.so
TENSORRT_LIBRARY := build/plugins/libshiftadd_tensorrt.so
NANO_LIBRARY := build/plugins/jetson-nano/libshiftadd_ort.so
# A library for another machine is built where TARGET asks for it; the exporter's default does not.
PLUGINS := $(if $(filter file,$(origin TARGET)),$(LIBRARY),$(if $(filter jetson-nano,$(TARGET)),$(NANO_LIBRARY),no-such-plugins))
# The exporter puts the target into the names of all but the default's files.
SUFFIX := $(if $(filter jetson-nano,$(TARGET)),,.$(TARGET))
MODEL_FILE ?= $(OUT)/$(MODEL)$(SUFFIX).onnx
# A board that builds engines cannot export: there the file is taken as it was brought.
ENGINE_MODEL := $(if $(wildcard $(READY)),$(MODEL_FILE),$(if $(wildcard $(MODEL_FILE)),,$(MODEL_FILE)))
# Says which CHECKPOINT the exported file is of; empty for the shipped weights.
STAMP := $(OUT)/.$(MODEL)$(SUFFIX).checkpoint
GPU_SOURCES := $(shell find plugins/tensorrt plugins/kernels/cuda plugins/include -type f) $(wildcard plugins/cmake/tensorrt.cmake plugins/exports_tensorrt.map plugins/CMakeLists.txt)
PLUGIN_SOURCES := $(filter-out $(wildcard plugins/tensorrt/* plugins/kernels/cuda/*),$(shell find plugins -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt -o -name exports.map))
EXPORT_SOURCES := $(shell find export -name '*.py' -o -name '*.safetensors')
# A photograph that scikit-image carries: Chelsea the cat.
PHOTO = $(shell $(PY) -c 'import skimage.data, pathlib; print(pathlib.Path(skimage.data.__file__).with_name("chelsea.png"))')

.PHONY: help setup export plugins tensorrt-plugins engine infer validate evaluate calibrate train finetune demo test lint clean bench bench-a57 gpu-occupancy test-gpu bench-gpu bundle deploy fuzz no-such-bundle no-such-plugins need-IMAGE need-DATA need-DEVICE FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: MODEL=$(MODEL) TARGET=jetson-nano|portable|standard OUT=$(OUT)"
	@echo "             BACKEND=onnxruntime|tensorrt PRECISION=fp16|fp32|int8 WORKSPACE=MiB ENGINE_PYTHON=$(ENGINE_PYTHON)"
	@echo "             METHOD=minmax|percentile|entropy|mse SAMPLES=$(SAMPLES) KEEP_FLOAT=node,... SENSITIVITY=dB INT8=1 MODEL_FILE=$(OUT)/$(MODEL).int8.onnx"
	@echo "             CHECKPOINT=file IMAGE=file DEVICE=user@host DATA=folder-or-zip BITS=8|16 ARGS=\"more options\" PYTHON=$(PYTHON) PEERS=1"

setup: $(READY)  ## make .venv with everything that is needed, pinned

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "setup: $(PYTHON) is missing or older than 3.10; set PYTHON=/path/to/python3.10 or newer" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "setup: $(PYTHON) has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@echo "setup: making $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NVIDIA_READY): $(READY) requirements-nvidia.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nvidia.txt
	@touch $@

plugins: $(PLUGINS)  ## build the operator library for this machine, or TARGET=jetson-nano

# $(1): build folder, $(2): variables of the environment, $(3): more of CMake's options.
define build-library
	@headers=$$($(PY) plugins/onnxruntime/fetch_headers.py) || exit 2; export PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(2); \
	  cmake -S plugins -B $(1) -G Ninja -DCMAKE_BUILD_TYPE=Release \
	    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$(CURDIR)/$(@D)" -DONNXRUNTIME_INCLUDE_DIR="$$headers" \
	    $(3) --log-level=WARNING >/dev/null && \
	  cmake --build $(1)
	@touch $@
endef

$(LIBRARY): $(READY) $(PLUGIN_SOURCES)
	@command -v $${CXX:-c++} >/dev/null || { \
	  echo "plugins: no C++ compiler; install one (Debian and Ubuntu: apt-get install g++) or set CXX" >&2; exit 2; }
	$(call build-library,build/cmake)

$(NANO_LIBRARY): $(READY) $(PLUGIN_SOURCES) device_scripts/boards/jetson-nano/toolchain.cmake
	@echo "plugins: cross-building for the Jetson Nano (some minutes the first time)"
	$(call build-library,build/cmake-jetson-nano,$(ZIG),-DCMAKE_TOOLCHAIN_FILE="$(CURDIR)/device_scripts/boards/jetson-nano/toolchain.cmake")

tensorrt-plugins: $(TENSORRT_LIBRARY)  ## build the plugin library with this machine's CUDA and TensorRT (TENSORRT_ROOT, CMAKE_ARGS)

# On a board, which has no .venv, by its own CMake: 3.10 on a Jetson Nano.
$(TENSORRT_LIBRARY): $(GPU_SOURCES)
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; command -v cmake >/dev/null || { \
	  echo "tensorrt-plugins: no cmake; install it (apt-get install cmake)" >&2; exit 2; }; \
	  mkdir -p build/cmake-tensorrt && cd build/cmake-tensorrt && \
	  cmake ../../plugins -DCMAKE_BUILD_TYPE=Release -DSHIFTADD_TENSORRT=ON -DSHIFTADD_ONNXRUNTIME=OFF $(CMAKE_ARGS) >/dev/null && \
	  cmake --build . -- --no-print-directory -j$$(nproc)
	@touch $@

no-such-bundle:
	@echo "bundle: TARGET is jetson-nano, or left out; got $(TARGET)" >&2; exit 2

no-such-plugins:
	@echo "plugins: TARGET is jetson-nano, or left out for this machine; got $(TARGET)" >&2; exit 2

export: $(READY)  ## write build/models/MODEL.onnx (TARGET, CHECKPOINT, OUT)
	@$(PY) -m export $(MODEL) --target $(TARGET) --out $(OUT) $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)
	@echo "$(CHECKPOINT)" > $(STAMP)

# A file of named weights is always exported again, and so is one that takes its place.
$(OUT)/$(MODEL)$(SUFFIX).onnx: $(READY) $(EXPORT_SOURCES) $(if $(CHECKPOINT)$(shell cat $(STAMP) 2>/dev/null),FORCE)
	@$(MAKE) --no-print-directory export ARGS=

infer: need-IMAGE $(MODEL_FILE) $(LIBRARY)  ## classify IMAGE with MODEL
	@$(PY) runtime/infer.py $(MODEL_FILE) "$(IMAGE)" $(ARGS)

engine: $(ENGINE_MODEL) tensorrt-plugins  ## build MODEL's TensorRT engine for this machine's GPU, in build/engines/ (PRECISION, WORKSPACE)
	@$(ENGINE_PYTHON) runtime/build_engine.py $(MODEL_FILE) $(if $(PRECISION),--precision "$(PRECISION)") $(if $(WORKSPACE),--workspace "$(WORKSPACE)") $(ARGS)

# A file that was named is taken as it is; the float model beside the integer one is exported if need be.
COMPARED = $(if $(INT8),$(if $(filter file,$(origin MODEL_FILE)),$(MODEL_FILE)),$(MODEL_FILE))
INT8_FILE = $(if $(filter file,$(origin MODEL_FILE)),$(OUT)/$(MODEL)$(SUFFIX).int8.onnx,$(MODEL_FILE))

validate: $(COMPARED) $(if $(filter tensorrt,$(BACKEND)),tensorrt-plugins,$(LIBRARY))  ## compare MODEL's file with PyTorch, layer by layer (BACKEND), or with INT8=1 the integer one with the float one (DATA); report in build/reports/
ifneq ($(INT8),)
	@test "$(BACKEND)" = onnxruntime || { echo "validate: INT8=1 compares in ONNX Runtime; leave BACKEND out" >&2; exit 2; }
	@$(PY) -m calibration.validation $(INT8_FILE) $(if $(DATA),--data "$(DATA)") $(ARGS)
else
	@$(PY) -m export.validation $(MODEL) --model-file $(MODEL_FILE) --backend "$(BACKEND)" $(if $(PRECISION),--precision "$(PRECISION)") $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)
endif

evaluate: need-DATA $(MODEL_FILE) $(LIBRARY)  ## top-1 and top-5 of MODEL over DATA, an ImageFolder (folder or zip)
	@$(PY) runtime/evaluate.py $(MODEL_FILE) "$(DATA)" $(ARGS)

calibrate: need-DATA $(MODEL_FILE) $(LIBRARY)  ## write OUT/MODEL.int8.onnx and its table of ranges, over DATA, a folder or zip (METHOD, SAMPLES, KEEP_FLOAT, SENSITIVITY=dB)
	@$(PY) -m calibration $(MODEL_FILE) --data "$(DATA)" --samples "$(SAMPLES)" --out $(OUT)/$(basename $(notdir $(MODEL_FILE))).int8.onnx \
	  $(if $(METHOD),--method "$(METHOD)") $(if $(KEEP_FLOAT),--keep-float "$(KEEP_FLOAT)") $(if $(SENSITIVITY),--sensitivity "$(SENSITIVITY)") $(ARGS)

# The float model, for the device; an integer one that is older is of another.
bundle: $(if $(SUFFIX),no-such-bundle,$(OUT)/$(MODEL).onnx) $(LIBRARY) $(NANO_LIBRARY)  ## write build/bundles/MODEL-jetson-nano.tar.gz, all that the board needs (DATA for the integer model, if there is none yet)
	@test -z "$(DATA)" -o $(OUT)/$(MODEL).int8.onnx -nt $(OUT)/$(MODEL).onnx || $(MAKE) --no-print-directory calibrate ARGS=
	@$(PY) -m device_scripts.host.bundle $(MODEL) --models "$(OUT)" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

deploy: need-DEVICE  ## bundle MODEL, copy it to DEVICE=user@host by ssh, install, build, check and time it there; build/reports/deploy/ (ARGS="--port N -o SSH-OPTION --folder DIR")
	@$(MAKE) --no-print-directory bundle ARGS=
	@$(PY) -m device_scripts.host.deploy "$(DEVICE)" build/bundles/$(MODEL)-jetson-nano.tar.gz $(ARGS)

# A step frees and asks for the same memory: kept, it spares a sixth of the time in page faults. And
# PyTorch's threads, which spin while they wait, keep the adder's from the processor: another sixth.
TRAINING := MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 GOMP_SPINCOUNT=20000

train: need-DATA $(LIBRARY)  ## train MODEL on DATA by the shipped recipe; resumes from build/training/
	@$(TRAINING) $(PY) -m export.training.train $(MODEL) --data "$(DATA)" $(ARGS)

finetune: need-DATA $(LIBRARY)  ## train MODEL on with activations of BITS bits, over DATA (CHECKPOINT, OUT); ARGS="--epochs 0" only measures
	@$(TRAINING) $(PY) -m export.training.finetune $(MODEL) --data "$(DATA)" --bits "$(BITS)" \
	  $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(filter file,$(origin OUT)),,--out "$(OUT)") $(ARGS)

bench: $(LIBRARY) $(if $(PEERS),$(PEERS_READY))  ## our kernels and models against ONNX Runtime's, and with PEERS=1 other engines'
	@$(PY) -m device_scripts.host.bench $(if $(PEERS),--peers $(PEERS_VENV)/bin/python) $(ARGS)

$(PEERS_READY): requirements-peers.txt
	@echo "bench: making $(PEERS_VENV) with OpenVINO, ncnn and LiteRT (some minutes the first time)"
	@$(PYTHON) -m venv $(PEERS_VENV)
	@$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	@touch $@

bench-a57: $(READY)  ## inner loops of the NEON kernels through llvm-mca's model of a Cortex-A57
	@$(ZIG) $(PY) -m device_scripts.host.bench_a57 $(ARGS)

gpu-occupancy: $(NVIDIA_READY)  ## registers, spills and resident warps of the CUDA kernels on the boards' GPUs, without one
	@$(PY) -m device_scripts.host.gpu_occupancy $(ARGS)

test-gpu: $(READY)  ## the CUDA kernels on this machine's NVIDIA GPU, against float64 and PyTorch (needs nvcc)
	@$(PY) -m pytest tests/gpu $(ARGS)

bench-gpu: $(READY)  ## the CUDA kernels against cuDNN and a plain adder kernel (needs nvcc); build/reports/bench-gpu/
	@$(PY) -m device_scripts.host.gpu $(ARGS)

need-IMAGE:
	@test -n "$(IMAGE)" || { echo "set IMAGE=file-or-folder" >&2; exit 2; }

need-DATA:
	@test -n "$(DATA)" || { echo "set DATA=folder-or-zip (ImageFolder layout: class_name/image)" >&2; exit 2; }

need-DEVICE:
	@test -n "$(DEVICE)" || { echo "set DEVICE=user@host, the board as ssh knows it" >&2; exit 2; }

FORCE:

demo: $(if $(CHECKPOINT),,export) $(LIBRARY)  ## the whole way: set up, export, build, check against PyTorch, classify a photo
	@$(MAKE) --no-print-directory validate
	@echo
	@$(PY) runtime/infer.py $(MODEL_FILE) $(PHOTO) --top-k 5

# What runs on a Jetson Nano, on its Python 3.6.
DEVICE_PYTHON := runtime device_scripts/board

lint: $(READY)  ## ruff, mypy, import-linter; vermin for what runs on a device
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache
	@find plugins tests device_scripts -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(VENV)/bin/clang-format --dry-run --Werror
	@ls $(DEVICE_PYTHON) >/dev/null
	@$(VENV)/bin/vermin --quiet --target=3.6- --violations --eval-annotations --no-parse-comments $(DEVICE_PYTHON)

# A worker for each processor that make may use; a file's tests stay together, for their fixtures.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

test: lint $(NVIDIA_READY) $(LIBRARY)  ## lint, types and all tests
	@$(ZIG) $(PY) -m pytest $(WORKERS) $(ARGS)

fuzz: $(NVIDIA_READY) $(LIBRARY)  ## damaged files for all that reads files: FUZZ="target ..." for some, SECONDS=600 for each; build/fuzz/
	@$(PY) -m tests.fuzz $(FUZZ) --seconds "$(SECONDS)" $(ARGS)

clean:  ## remove what was built (not .venv)
	@rm -rf build
