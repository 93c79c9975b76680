# shellcheck shell=bash
# What the scripts share: where files are, and how messages are printed.

# Read by the scripts that source this file.
# shellcheck disable=SC2034
{
  program=$(basename "$0")
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
  # Tests put a made-up system there.
  prefix=${SHIFTADD_ROOT_PREFIX:-}
  if [[ -f $root/Makefile ]]; then # a checkout
    state=$root/build
    models=$root/build/models
    plugin_folder=$root/build/plugins
  else # an unpacked bundle
    state=$root
    models=$root/models
    plugin_folder=$root
  fi
  venv=$state/venv
  engines=$state/engines
  reports=$state/reports
  tensorrt_library=$plugin_folder/libshiftadd_tensorrt.so
  operator_library=$plugin_folder/libshiftadd_ort.so
}

# A bundle has its own board's facts only; a checkout those of all boards.
facts=$root/device_scripts/boards/${SHIFTADD_BOARD:-jetson-nano}/facts.sh
if [[ ! -f $root/Makefile ]]; then
  for facts in "$root"/device_scripts/boards/*/facts.sh; do break; done
fi
if [[ ! -f $facts ]]; then
  printf 'error: %s is missing: unpack the bundle again, or set SHIFTADD_BOARD to a folder there\n' "$facts" >&2
  exit 2
fi
# shellcheck source=device_scripts/boards/jetson-nano/facts.sh
source "$facts"

say() {
  printf '%s\n' "$*"
}

warn() {
  printf 'warning: %s\n' "$*" >&2
}

# Prints one line and ends the script with exit code 2.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Prints the text from a script's line 2 to its first empty line, without the "# " in front.
show_help() {
  sed -n '2,/^$/s/^#\( \|$\)//p' "$0"
}

bad_option() {
  die "$program: $1 is not an option (see --help)"
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# The Python of the environment that install.sh made; where there is none, the system's.
python=python3
if [[ -x $venv/bin/python ]]; then
  python=$venv/bin/python
fi

# NumPy 1.19's OpenBLAS mistakes a Cortex-A57 for a core with more instructions, and crashes.
if [[ $(uname -m) == aarch64 ]]; then
  export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-ARMV8}
fi

# default_model SUFFIX: the path of the bundle's model, or of the toolchain's default one.
default_model() {
  local name
  name=$(sed -n 's/.*"model": *"\([^"]*\)".*/\1/p' "$root/manifest.json" 2>/dev/null | head -n 1 || true)
  printf '%s/%s%s' "$models" "${name:-ghostshiftaddnet}" "$1"
}
