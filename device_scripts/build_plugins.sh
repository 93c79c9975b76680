#!/usr/bin/env bash
# Builds libshiftadd_tensorrt.so, the plugins that run the network on the GPU, with the board's own
# nvcc, CMake and TensorRT. Takes minutes the first time; run again, it builds what has changed.
#
#   device_scripts/build_plugins.sh [--jobs N]
#
#   --jobs N   compilers at a time (default: as many as there are cores and memory for)
#
# Exit codes: 0 fine; 2 stopped, with a line that says what to do.

set -euo pipefail
# shellcheck source=device_scripts/lib/board.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/board.sh"

jobs=$(build_jobs)
build=$state/plugins.build
log=$build/build.log

parse() {
  while (($#)); do
    case $1 in
      --jobs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$program: --jobs takes a positive integer (see --help)"
        jobs=$2
        shift
        ;;
      -h | --help) show_help && exit 0 ;;
      *) bad_option "$1" ;;
    esac
    shift
  done
}

check_tools() {
  local cuda tool problem
  cuda=$(cuda_folder)
  [[ ! $cuda ]] || export PATH=$cuda/bin:$PATH
  have nvcc || die "no nvcc in $prefix/usr/local/cuda/bin nor in PATH: sudo apt-get install nvidia-jetpack"
  for tool in cmake make g++; do
    have "$tool" || die "no $tool: sudo apt-get install $tool"
  done
  [[ ${TENSORRT_ROOT:-} || -f $(multiarch include)/NvInferRuntime.h ]] ||
    die "no NvInferRuntime.h in $(multiarch include): sudo apt-get install libnvinfer-dev, or set \
TENSORRT_ROOT to an unpacked TensorRT"
  problem=$(tensorrt_problem)
  [[ ${TENSORRT_ROOT:-} || ! $problem ]] || die "$problem: update JetPack; until then the network runs on the CPU"
}

configure() {
  local architecture options
  architecture=$(gpu_architecture)
  options=(-DCMAKE_BUILD_TYPE=Release -DSHIFTADD_TENSORRT=ON -DSHIFTADD_ONNXRUNTIME=OFF
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$build/lib" "-DTENSORRT_INCLUDE_DIR=$(multiarch include)"
    "-DTENSORRT_LIBRARY=$(multiarch lib)/libnvinfer.so")
  if [[ ${TENSORRT_ROOT:-} ]]; then
    options=("${options[@]:0:4}" "-DTENSORRT_ROOT=$TENSORRT_ROOT")
  fi
  # Building for one GPU instead of those of all Jetsons takes a third of the time.
  [[ ! $architecture ]] || options+=("-DSHIFTADD_CUDA_ARCHS=$architecture")
  # CMake 3.10 has no -S and -B. The cache of a configuration that failed must not be kept.
  (cd "$build" && cmake "$root/plugins" "${options[@]}") >"$log" 2>&1 || {
    rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
    explain "CMake"
  }
}

compile() {
  (cd "$build" && cmake --build . -- -j"$jobs") >>"$log" 2>&1 || explain "the compiler"
}

explain() {
  local why
  if grep -qE 'Killed|out of memory|Cannot allocate memory' "$log"; then
    why="memory ran out: device_scripts/install.sh --yes makes swap; then run this again, with --jobs 1"
  elif grep -q 'No space left on device' "$log"; then
    why="the disk is full: remove something, then run this again"
  else
    why=$(grep -iE 'error' "$log" | head -n 1 || true)
    why="$(xargs -0 <<<"${why:-it failed}" | head -n 1); the whole log: $log"
  fi
  die "$1: $why"
}

# The library is replaced in one step, since a program may have the old one loaded.
deliver() {
  local built=$build/lib/libshiftadd_tensorrt.so
  mkdir -p "$plugin_folder"
  if cmp -s "$built" "$tensorrt_library"; then
    say "$tensorrt_library is up to date"
    return
  fi
  { cp "$built" "$tensorrt_library.new" && mv "$tensorrt_library.new" "$tensorrt_library"; } || {
    rm -f "$tensorrt_library.new"
    die "$tensorrt_library cannot be written, see above"
  }
  say "wrote $tensorrt_library"
}

main() {
  parse "$@"
  check_tools
  mkdir -p "$build" || die "$build cannot be made"
  say "building the plugins, $jobs at a time, which takes minutes the first time; log: $log"
  configure
  compile
  deliver
}

main "$@"
