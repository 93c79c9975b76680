#!/usr/bin/env bash
# Measures the models on this board, all by turns in one run: the float and the integer one on one and
# on all CPU cores, and the engines of build_engine.sh on the GPU. Times, power, temperature, energy.
#
#   device_scripts/benchmark.sh [--runs N] [--quick] [--out DIR] [MODEL.onnx|MODEL.engine ...]
#
#   MODEL...    what to measure (default: all of models/ and engines/)
#   --runs N    runs of each, at least (default: 200)
#   --quick     a first look: 20 runs of each
#   --out DIR   where benchmark.json and benchmark.csv go (default: reports/; older ones are replaced)
#
# For comparable numbers: `sudo nvpmodel -m 0`, `sudo jetson_clocks`, and nothing else at work.
# Exit codes: 0 fine; 1 some could not be run; 2 stopped, with a line that says what to do; 130
# interrupted.

set -euo pipefail
# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit 0
    ;;
esac
exec "$python" "$root/device_scripts/board/benchmark.py" --models "$models" --engines "$engines" \
  --out "$reports" "$@"
