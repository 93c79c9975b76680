#!/usr/bin/env bash
# Builds a TensorRT engine for this board's GPU, in engines/: `runtime/build_engine.py` with the
# bundle's model. It takes minutes the first time.
#
#   device_scripts/build_engine.sh [MODEL.onnx] [options of runtime/build_engine.py]
#
#   MODEL.onnx        default: the bundle's float model
#   --precision P     fp16 (default where the GPU is faster in it, as the Nano's is), fp32, or int8
#                     (Xavier and Orin), which takes the bundle's calibration cache
#
# `runtime/build_engine.py --help` has the other options.
# Exit codes: 0 fine; 2 stopped, with a line that says what to do; 130 interrupted.

set -euo pipefail
# shellcheck source=device_scripts/lib/board.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/board.sh"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  show_help
  exit 0
fi
if [[ ${1:-} == *.onnx ]]; then
  model=$1
  shift
else
  model=$(default_model .onnx)
fi
[[ -f $model ]] || die "$model: no such model: copy it there, or name another"

cuda=$(cuda_folder)
[[ ! $cuda ]] || export PATH=$cuda/bin:$PATH
options=()
given=" $* "
[[ $given == *" --output"* ]] || options+=(--output "$engines/")
cache=$(default_model .int8.cache)
if [[ $given =~ " --precision"[\ =]"int8 " && $given != *" --calibration-"* && -f $cache ]]; then
  options+=(--calibration-cache "$cache")
fi
if [[ ! -f $tensorrt_library && ! ${SHIFTADD_TENSORRT_LIBRARY:-} && $given != *" --library"* ]]; then
  die "no $tensorrt_library: build it with device_scripts/build_plugins.sh"
fi
exec "$python" "$root/runtime/build_engine.py" "$model" "${options[@]}" "$@"
