# `make help` lists the targets. Everything is made under build/ and .venv/.
#
# A recipe starts a Python program, which has what a target needs made and runs it: what a target is
# made of stands in device_scripts/host/commands/targets.py.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# What a user may give. The values are data: make hands them over in the environment as they were
# typed, a "$$" or a backtick included, and neither make nor a shell reads them.
VARIABLES := MODEL MODEL_ARGS CHECKPOINT TARGET BOARD OUT MODEL_FILE REFERENCE INPUT MEAN STD RESIZE LABELS NAME FIXED_POINT \
  ARCHIVE DATA IMAGE DEVICE BACKEND PRECISION WORKSPACE ENGINE_PYTHON CMAKE_ARGS INT8 BITS METHOD SAMPLES \
  KEEP_FLOAT SENSITIVITY FUZZ SECONDS PEERS MODELS ARGS PYTHON
# Windows' Linux has a NAME in every environment, which is the machine's: it is taken from the command
# line only.
ifeq ($(origin NAME),environment)
override NAME :=
endif
# Which of them stand on the command line, and for which targets: some are not for every target.
export GIVEN_VARIABLES := $(foreach name,$(VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
export GOALS := $(MAKECMDGOALS)
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name)))$(eval export $(name)))
# The names of all else that stands on the command line. Their values are data too: make would expand
# them for the environment of its recipes.
export OTHER_VARIABLES := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out MAKE% SHELL,$(OTHER_VARIABLES)),$(eval override $(name) := $$(value $(name))))

VENV := .venv
define run
@command -v "$${PYTHON:-python3}" >/dev/null || { \
  echo "$@: no $${PYTHON:-python3}: install Python 3.10 or newer, or set PYTHON to it" >&2; exit 2; }
@exec "$${PYTHON:-python3}" -m device_scripts.host.commands $@
endef

.PHONY: help setup export plugins tensorrt-plugins engine infer validate validate-int8 \
  evaluate calibrate bundle deploy train finetune cifar10 demo bench bench-a57 gpu-occupancy test-gpu bench-gpu \
  lint test test-fast fuzz clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  Variables: MODEL=name|file.py:callable|package.module:callable MODEL_ARGS="width=0.5 ..." CHECKPOINT=file'
	@echo '             TARGET=jetson-nano|portable|standard BOARD=jetson-nano OUT=build/models MODEL_FILE=file REFERENCE=file'
	@echo '             INPUT=3x32x32 MEAN=.. STD=.. RESIZE=.. LABELS=file|folder|imagenet|cifar10 NAME=name FIXED_POINT=keep'
	@echo '             IMAGE=file DATA=folder-or-zip ARCHIVE=file DEVICE=user@host PYTHON=python3 PEERS=1 BITS=8|16'
	@echo '             METHOD=minmax|percentile|entropy|mse SAMPLES=512 KEEP_FLOAT=node,... SENSITIVITY=dB'
	@echo '             BACKEND=onnxruntime|tensorrt PRECISION=fp16|fp32|int8 WORKSPACE=MiB ENGINE_PYTHON=python3'
	@echo '             INT8=1 (make validate: as make validate-int8) CMAKE_ARGS="options of cmake" FUZZ="target ..." SECONDS=600'
	@echo '             ARGS="more options": words as in a shell, quotes included; nothing in them is expanded or run'

setup:  ## make .venv with everything that is needed, pinned
	$(run)

export:  ## write build/models/MODEL.onnx (TARGET, CHECKPOINT, OUT, NAME, INPUT, LABELS, ...)
	$(run)

plugins:  ## build the operator library for this machine, or BOARD=jetson-nano
	$(run)

tensorrt-plugins:  ## build the plugin library with this machine's CUDA and TensorRT (TENSORRT_ROOT, CMAKE_ARGS)
	$(run)

infer:  ## classify IMAGE with MODEL
	$(run)

engine:  ## build MODEL's TensorRT engine for this machine's GPU, in build/engines/ (PRECISION, WORKSPACE)
	$(run)

validate:  ## compare MODEL's file with PyTorch (BACKEND), or MODEL_FILE with REFERENCE, layer by layer; build/reports/
	$(run)

validate-int8:  ## compare the integer model with the float one, layer by layer (DATA)
	$(run)

evaluate:  ## top-1 and top-5 of MODEL over DATA, an ImageFolder (folder or zip)
	$(run)

calibrate:  ## write OUT/MODEL.int8.onnx and its table of ranges, over DATA (METHOD, SAMPLES, KEEP_FLOAT, SENSITIVITY)
	$(run)

bundle:  ## write build/bundles/MODEL-jetson-nano.tar.gz, all that the board needs (DATA for the integer model)
	$(run)

deploy:  ## bundle MODEL, bring it to DEVICE by ssh, install, build, check and time it there (ARGS="--port N -o SSH-OPTION")
	$(run)

train:  ## train MODEL on DATA by the shipped recipe; resumes from build/training/
	$(run)

finetune:  ## train MODEL on with activations of BITS bits, over DATA (CHECKPOINT, OUT)
	$(run)

cifar10:  ## write build/data/cifar10/train.zip and test.zip of ARCHIVE, CIFAR-10's own
	$(run)

bench:  ## our kernels and models against ONNX Runtime's, and with PEERS=1 other engines'
	$(run)

bench-a57:  ## inner loops of the NEON kernels in a model of a Cortex-A57; with MODELS=1 whole networks, emulated
	$(run)

gpu-occupancy:  ## registers, spills and resident warps of the CUDA kernels on the boards' GPUs, without one
	$(run)

test-gpu:  ## the CUDA kernels on this machine's NVIDIA GPU, against float64 and PyTorch (needs nvcc)
	$(run)

bench-gpu:  ## the CUDA kernels against cuDNN and a plain adder kernel (needs nvcc); build/reports/bench-gpu/
	$(run)

demo:  ## the whole way: set up, export, build, int8, check against PyTorch, classify a photo
	$(run)

# What runs on a Jetson Nano, on its Python 3.6; and what has to run before there is a .venv.
DEVICE_PYTHON := runtime device_scripts/board
OLD_PYTHON := $(DEVICE_PYTHON) device_scripts/host/deploy/device.py \
  $(filter-out %/known_model.py %/readable.py,$(wildcard device_scripts/host/commands/*.py))

lint: setup  ## ruff, mypy, import-linter; vermin for what runs on a device
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache
	@find plugins tests device_scripts -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(VENV)/bin/clang-format --dry-run --Werror
	@ls $(OLD_PYTHON) >/dev/null
	@$(VENV)/bin/vermin --quiet --target=3.6- --violations --eval-annotations --no-parse-comments $(OLD_PYTHON)

test: lint  ## lint, types and all tests
	$(run)

test-fast: lint  ## lint, types, and the tests that need no other toolchain than this machine's
	$(run)

fuzz:  ## damaged files for all that reads files: FUZZ="target ..." for some, SECONDS=600 for each; build/fuzz/
	$(run)

clean:  ## remove what was built (not .venv)
	$(run)
