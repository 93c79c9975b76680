#!/usr/bin/env bash
# Names what is on photos: `runtime/infer.py` with the bundle's model.
#
#   device_scripts/infer.sh [--float | --gpu] [MODEL.onnx|MODEL.engine] IMAGE... [options of infer.py]
#
#   --float   the float model on the CPU (default: the integer one, which is faster, if it is there)
#   --gpu     the TensorRT engine that build_engine.sh made, the newest where there are several
#
# `runtime/infer.py --help` has the options; without an argument it says what is missing.
# Exit codes: those of runtime/infer.py.

set -euo pipefail
# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

newest_engine() {
  local newest='' engine
  for engine in "$engines"/*.engine; do
    if [[ -f $engine && (! $newest || $engine -nt $newest) ]]; then
      newest=$engine
    fi
  done
  [[ $newest ]] || die "no engine in $engines: build one with device_scripts/build_engine.sh"
  echo "$newest"
}

case ${1:-} in
  -h | --help)
    show_help
    exit 0
    ;;
  --float)
    model=$(default_model .onnx)
    shift
    ;;
  --gpu)
    model=$(newest_engine)
    shift
    ;;
  *)
    model=$(default_model .int8.onnx)
    # A bundle that was made without images has no folder of them.
    [[ -f $model ]] || model=$(default_model .onnx)
    ;;
esac
case ${1:-} in
  *.onnx | *.engine | *.plan)
    model=$1
    shift
    ;;
esac
exec "$python" "$root/runtime/infer.py" "$model" "$@"
