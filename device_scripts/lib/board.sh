# shellcheck shell=bash
# Facts about the board. A function prints nothing where the fact is not known, and never fails.

# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# A string in the device tree ends in a NUL byte.
board_name() {
  tr -d '\0' 2>/dev/null <"$prefix/proc/device-tree/model" || true
}

# Prints "32.7.1" where the file says "# R32 (release), REVISION: 7.1, GCID: ...".
l4t_release() {
  sed -n 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\),.*/\1.\2/p' \
    "$prefix/etc/nv_tegra_release" 2>/dev/null | head -n 1 || true
}

# The compute capability of the board's GPU, without its point.
gpu_architecture() {
  compute_capability "$(tr '\0' ' ' 2>/dev/null <"$prefix/proc/device-tree/compatible" || true)"
}

# memory_mib ENTRY: an entry of /proc/meminfo, such as MemAvailable, in MiB; 0 where it is unknown.
memory_mib() {
  awk -v entry="$1:" '$1 == entry { mib = int($2 / 1024) } END { print mib + 0 }' \
    "$prefix/proc/meminfo" 2>/dev/null || echo 0
}

# free_mib FOLDER: the free space on its disk in MiB.
free_mib() {
  df -Pm "$1" 2>/dev/null | awk 'NR == 2 { print $4 }' || true
}

cuda_folder() {
  if [[ -x $prefix/usr/local/cuda/bin/nvcc ]]; then
    echo "$prefix/usr/local/cuda"
  fi
}

# The machine's folder for headers or libraries by the name that Debian's multiarch gives it.
multiarch() {
  echo "$prefix/usr/$1/$board_multiarch"
}

# Prints a version such as "8.2.1" from TensorRT's headers, in which a number may stand under
# another name.
tensorrt_version() {
  awk '$1 == "#define" { value[$2] = $3 }
    function number(name) { return name in value && value[name] in value ? value[value[name]] : value[name] }
    END {
      if ("NV_TENSORRT_MAJOR" in value)
        print number("NV_TENSORRT_MAJOR") "." number("NV_TENSORRT_MINOR") "." number("NV_TENSORRT_PATCH")
    }' "$(multiarch include)/NvInferVersion.h" 2>/dev/null || true
}

# Prints what is wrong with the TensorRT of these headers, if it is too old for the plugins.
tensorrt_problem() {
  local found least
  IFS=. read -ra found <<<"$(tensorrt_version)"
  IFS=. read -ra least <<<"$tensorrt_least"
  if [[ ${found[0]:-} ]] && ((1000 * found[0] + ${found[1]:-0} < 1000 * least[0] + least[1])); then
    echo "TensorRT $(tensorrt_version) is older than $tensorrt_least, which $tensorrt_system is the first to have"
  fi
}

# How many compilers fit into memory at a time.
build_jobs() {
  local jobs=$(($(memory_mib MemAvailable) / compiler_mib)) cores
  cores=$(nproc)
  ((jobs >= 1)) || jobs=1
  ((jobs <= cores)) || jobs=$cores
  echo "$jobs"
}

# Prints "MAXN" where nvpmodel says "NV Power Mode: MAXN".
power_mode() {
  nvpmodel -q 2>/dev/null | sed -n 's/.*NV Power Mode: *//p' | head -n 1 || true
}
