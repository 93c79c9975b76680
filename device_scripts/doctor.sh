#!/usr/bin/env bash
# Says on one page what of this board is ready, what is missing, and what to do about it.
#
#   device_scripts/doctor.sh
#
# Exit codes: 0 all that the CPU needs is there; 1 something of it is missing or wrong. What the GPU
# needs is told, and does not count.

# The option -e is left out: a command that is missing or fails is to be reported, and no reason to
# end.
set -uo pipefail
# shellcheck source=device_scripts/lib/board.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/board.sh"
# shellcheck source=device_scripts/lib/packages.sh
source "$root/device_scripts/lib/packages.sh"

case ${1:-} in
  '') ;;
  -h | --help)
    show_help
    exit 0
    ;;
  *) bad_option "$1" ;;
esac

bad=0
counts=1
install='device_scripts/install.sh'

# line STATE THING [WHAT [REMEDY]]
line() {
  printf '%-8s %-16s %s\n' "$1" "$2" "${3:-}"
  if [[ $1 == missing || $1 == wrong ]]; then
    [[ ! ${4:-} ]] || printf '%-8s %-16s -> %s\n' '' '' "$4"
    bad=$((bad + counts))
  fi
}

# Runs a command that may be missing or fail, and prints the first line of its output.
first_line() {
  { "$@" 2>/dev/null || true; } | head -n 1
}

system() {
  local name release machine
  name=$(board_name)
  line info board "${name:-not a Jetson, or not known}"
  machine=$(first_line uname -m)
  if [[ $machine == aarch64 ]]; then
    line ok architecture "$machine"
  else
    line wrong architecture "${machine:-not known}" "the operator library of a bundle is for aarch64: run it on the Jetson"
  fi
  release=$(l4t_release)
  if is_supported "$release"; then
    line ok L4T "$release (JetPack $(jetpack_of "$release"))"
  elif [[ ! $release ]]; then
    line missing L4T "no release in $prefix/etc/nv_tegra_release" "made for a $board_title with $board_system"
  else
    line wrong L4T "$release (JetPack $(jetpack_of "$release"))" "made for $board_system; install.sh --any-jetpack tries"
  fi
}

python_packages() {
  local version='' states pin state rest all
  if [[ ! -x $venv/bin/python ]]; then
    line missing Python "no $venv" "$install"
    return
  fi
  version=$(first_line "$venv/bin/python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
  if [[ ! $(pins cpu "$version") ]]; then
    line wrong Python "${version:-$venv/bin/python does not run}" "$install"
    return
  fi
  [[ $1 == gpu ]] || line ok Python "$version, $venv"
  read -ra all <<<"$(pins "$1" "$version")"
  states=$(package_states "${all[@]}" 2>/dev/null) || states=''
  while read -r pin state rest; do
    case $state in
      ok) line ok "${pin%%==*}" "${pin##*==}" ;;
      wrong) line wrong "${pin%%==*}" "$rest where ${pin##*==} is expected" "$install" ;;
      *) line missing "${pin%%==*}" "${state:+$state }$rest" "$install" ;;
    esac
  done <<<"$states"
}

# can_import MODULES WHAT: reports whether the modules load, in an environment without our
# variables.
can_import() {
  local status=0 said
  said=$(env -u OPENBLAS_CORETYPE "$venv/bin/python" -c "import $1" 2>&1) || status=$?
  case $status in
    0) line ok "$2" "import $1" ;;
    132) line wrong "$2" "import $1 dies of an illegal instruction" "OPENBLAS_CORETYPE=ARMV8 is not set: $install" ;;
    *) line wrong "$2" "import $1: $(tail -n 1 <<<"$said")" "$install" ;;
  esac
}

library() {
  if [[ ! -f $operator_library ]]; then
    line missing "operator library" "$operator_library" "unpack the bundle again, or copy it there"
    return
  fi
  line ok "operator library" "$operator_library"
}

bundle() {
  local damaged
  [[ ! -f $root/Makefile ]] || return 0
  if [[ ! -f $root/SHA256SUMS ]]; then
    line missing bundle "$root/SHA256SUMS" "unpack the bundle's archive again"
  elif damaged=$(cd "$root" && LC_ALL=C sha256sum --check --quiet SHA256SUMS 2>/dev/null); then
    line ok bundle "every file as in SHA256SUMS"
  else
    line wrong bundle "${damaged%%: *} is damaged or missing" "unpack the bundle's archive again"
  fi
}

# Loads the models as infer.sh does, which runs each of them once.
models() {
  local suffix model said
  [[ -x $venv/bin/python ]] || return 0
  for suffix in .onnx .int8.onnx; do
    model=$(default_model "$suffix")
    if [[ ! -f $model ]]; then
      line missing model "$model" "unpack the bundle again, or copy it there"
    elif said=$(cd "$root" && "$python" -c 'import sys, runtime; runtime.load(sys.argv[1])' "$model" 2>&1); then
      line ok model "${model##*/} runs"
    else
      line wrong model "$(tail -n 1 <<<"$said")" "$install; then unpack the bundle again"
    fi
  done
}

resources() {
  local free
  line info memory "$(memory_mib MemTotal) MiB, $(memory_mib MemAvailable) available; swap $(memory_mib SwapTotal) MiB, $(memory_mib SwapFree) free"
  free=$(free_mib "$root")
  if ((${free:-0} >= disk_again_mib)); then
    line ok disk "$free MiB free"
  else
    line wrong disk "${free:-0} MiB free" "remove something: reports and engines need room"
  fi
  line info "power mode" "$(power_line)"
}

power_line() {
  local mode
  mode=$(power_mode)
  case $mode in
    '') echo "not known (nvpmodel)" ;;
    MAXN*) echo "$mode" ;;
    *) echo "$mode; the fastest: sudo nvpmodel -m 0" ;;
  esac
}

gpu() {
  local cuda version problem
  cuda=$(cuda_folder)
  if [[ ! $cuda ]]; then
    line missing CUDA "no $prefix/usr/local/cuda" "sudo apt-get install nvidia-jetpack"
    return
  fi
  line ok CUDA "$(first_line cuda_version "$cuda")"
  version=$(tensorrt_version)
  problem=$(tensorrt_problem)
  if [[ $problem ]]; then
    line wrong TensorRT "$problem" "update JetPack; until then the network runs on the CPU"
  elif [[ $version ]]; then
    line ok TensorRT "$version"
  else
    line missing TensorRT "no headers in $(multiarch include)" "sudo apt-get install libnvinfer-dev"
  fi
  if [[ -x $venv/bin/python ]]; then
    python_packages gpu
    can_import tensorrt "TensorRT, Python"
    can_import pycuda.driver PyCUDA
  fi
  if [[ -f $tensorrt_library ]]; then
    line ok plugins "$tensorrt_library"
  else
    line missing plugins "$tensorrt_library" device_scripts/build_plugins.sh
  fi
  if compgen -G "$engines/*.engine" >/dev/null; then
    line ok engines "$(cd "$engines" && echo ./*.engine)"
  else
    line missing engines "none in $engines" device_scripts/build_engine.sh
  fi
}

cuda_version() {
  "$1/bin/nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p'
}

say "For the CPU"
system
python_packages cpu
[[ ! -x $venv/bin/python ]] || can_import "numpy, PIL, onnxruntime" imports
library
bundle
models
resources
say
say "For the GPU"
counts=0
gpu
say
if ((bad)); then
  say "$bad to repair for the CPU, see above"
  exit 1
fi
say "ready: device_scripts/infer.sh IMAGE"
