#!/usr/bin/env bash
# Installs on a Jetson what the runtime needs: NumPy, Pillow and ONNX Runtime, and, where CUDA is
# there, PyCUDA, which it builds. Safe to run again: it does what is missing and says so.
#
#   device_scripts/install.sh [--cpu-only] [--yes] [--dry-run] [--any-jetpack]
#
#   --cpu-only     leave the GPU out: no PyCUDA, no build tools
#   --yes          make swap without asking, where memory is short for building
#   --dry-run      print the commands, change nothing
#   --any-jetpack  go on with a JetPack other than 4.6 (5 and 6: Python 3.8 and 3.10; not tried)
#
# The packages go into an environment of their own, venv/, which sees the system's packages: only
# there are TensorRT's Python module and an OpenCV with GStreamer, and nothing of the system changes.
# Python programs of your own run with venv/bin/python. sudo is used for apt-get and for swap only.
# Exit codes: 0 fine; 2 stopped, with a line that says what to do; 130, 143 interrupted.

set -euo pipefail
# shellcheck source=device_scripts/lib/board.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/board.sh"
# shellcheck source=device_scripts/lib/packages.sh
source "$root/device_scripts/lib/packages.sh"

cpu_only='' yes='' dry_run='' any_jetpack=''
log=$state/install.log
record=$state/.installed
swap=$state/build.swap
child=''
apt_wait_s=600 apt_pause_s=10

parse() {
  while (($#)); do
    case $1 in
      --cpu-only) cpu_only=1 ;;
      --yes) yes=1 ;;
      --dry-run) dry_run=1 ;;
      --any-jetpack) any_jetpack=1 ;;
      -h | --help) show_help && exit 0 ;;
      *) bad_option "$1" ;;
    esac
    shift
  done
}

# Runs a command that changes something, or prints it.
run() {
  if [[ $dry_run ]]; then
    printf '+%s\n' "$(printf ' %q' "$@")"
  else
    "$@"
  fi
}

# Does what `run` does, with all output in the log, and in a process group of its own, so that all
# of it ends when this script is ended.
run_logged() {
  if [[ $dry_run ]]; then
    run "$@"
    return
  fi
  local status=0
  printf '+%s\n' "$(printf ' %q' "$@")" >>"$log"
  set -m
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  wait "$child" || status=$?
  child=''
  return "$status"
}

interrupted() {
  trap '' INT TERM HUP
  if [[ $child ]]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  printf 'error: interrupted; run it again to go on\n' >&2
  exit "$1"
}

# Writes standard input to the file $1, completely or not at all.
write() {
  if ! { cat >"$1.new" && mv "$1.new" "$1"; } 2>/dev/null; then
    rm -f "$1.new"
    die "$1 cannot be written: make room or give yourself the folder, then run this again"
  fi
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    run "$@"
  elif [[ $dry_run ]] || have sudo; then
    can_ask || die "sudo asks for a password here, and there is no terminal to ask on: run this once \
in a terminal on the board, or deploy from a terminal"
    run sudo "$@"
  else
    die "no sudo here: run \`$*\` as root, then this again"
  fi
}

# Whether sudo can ask for a password, or needs none.
can_ask() {
  [[ $dry_run ]] || { : </dev/tty; } 2>/dev/null || sudo -n true 2>/dev/null
}

# Runs apt-get. After a start the system updates itself, for minutes, and keeps others waiting.
apt_get() {
  local said status waited=0
  while true; do
    status=0
    said=$(as_root apt-get "$@" 2>&1) || status=$?
    [[ ! $said ]] || say "$said"
    [[ $status != 0 && $said == *[Uu]'nable to '*lock* && $waited -lt $apt_wait_s ]] || return "$status"
    ((waited)) || say "apt is locked, as after a start: waiting for it, up to $((apt_wait_s / 60)) minutes"
    sleep "$apt_pause_s"
    waited=$((waited + apt_pause_s))
  done
}

# The checks come first: where one of them stops the script nothing has been changed.
check_bundle() {
  local bad
  [[ ! -f $root/Makefile ]] || return 0
  [[ -f $root/SHA256SUMS ]] || die "$root/SHA256SUMS is missing: unpack the bundle's archive again, all of it"
  if ! bad=$(cd "$root" && LC_ALL=C sha256sum --check --quiet SHA256SUMS 2>/dev/null); then
    bad=${bad%%: *}
    die "$root/${bad:-SHA256SUMS} is damaged or missing: unpack the bundle's archive again, all of it"
  fi
  say "ok: the bundle is whole"
}

# Refuses to run as root, since the folder's owner could not change the files that root makes.
check_user() {
  [[ ! ${SUDO_USER:-} ]] || die "run it as $SUDO_USER, without sudo: it asks for that where it is needed"
}

check_architecture() {
  local machine
  machine=$(uname -m)
  [[ $machine == aarch64 ]] || die "this is a $machine machine: run it on the Jetson (aarch64)"
}

check_release() {
  local release
  release=$(l4t_release)
  if is_supported "$release"; then
    say "ok: L4T $release (JetPack $(jetpack_of "$release"))"
  elif [[ ! $release ]]; then
    [[ $any_jetpack ]] || die "no L4T release in $prefix/etc/nv_tegra_release: this is made for a \
$board_title with $board_system ($board_releases)"
  else
    [[ $any_jetpack ]] || die "L4T $release (JetPack $(jetpack_of "$release")) is not what this is \
made for, $board_system ($board_releases): install that, or try with --any-jetpack"
    warn "L4T $release was never tried"
  fi
}

check_python() {
  have python3 || die "no python3: sudo apt-get install python3"
  version=$(python3 -c 'import sys; print("{}.{}".format(*sys.version_info))') ||
    die "python3 does not run: sudo apt-get install --reinstall python3"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' ||
    die "python3 is $version, older than 3.6: JetPack 4.6 has 3.6"
  [[ $(pins cpu "$version") ]] || die "no packages are pinned for Python $version: 3.6, 3.8 and 3.10 \
are those of JetPack 4.6, 5 and 6"
  say "ok: Python $version"
}

choose_gpu() {
  local problem
  cuda=''
  if [[ ! $cpu_only ]]; then
    cuda=$(cuda_folder)
    [[ $cuda ]] || say "no CUDA in $prefix/usr/local/cuda: the GPU is left out"
    problem=$(tensorrt_problem)
    if [[ $cuda && $problem ]]; then
      warn "$problem: the GPU is left out; update JetPack and run this again to use it"
      cuda=''
    fi
  fi
}

check_disk() {
  local needed=$disk_cpu_mib free
  [[ ! $cuda ]] || needed=$disk_gpu_mib
  [[ ! -f $record ]] || needed=$disk_again_mib
  free=$(free_mib "$root")
  ((${free:-0} >= needed)) || die "$root: ${free:-0} MiB are free on this disk, $needed are needed: \
remove something, or put the folder on a larger disk"
}

# The lock holds as long as this process lives; no file is written for it.
lock() {
  exec 9<"$root"
  flock -n 9 || die "another install.sh is at work here: wait for it"
}

system_packages() {
  local packages=()
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  if [[ $cuda ]]; then
    [[ -f $(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] ||
      packages+=(python3-dev)
    have g++ || packages+=(g++)
    have cmake || packages+=(cmake)
    have make || packages+=(make)
  fi
  if ((${#packages[@]} == 0)); then
    say "ok: the system's packages"
    return
  fi
  say "installing the system's packages ${packages[*]}"
  { apt_get update -q && apt_get install -q -y --no-install-recommends "${packages[@]}"; } ||
    die "apt-get failed, see above: repair that, \`sudo apt-get install ${packages[*]}\`, then run this again"
}

# Makes the environment with pip's own packages, and writes a stamp at the end. An environment that
# is incomplete, perhaps with a broken pip, or that belongs to another Python, is made anew.
make_venv() {
  local tools stamp=$venv/.made
  tools=$(pins tools "$version")
  if "$venv/bin/python" -c '' 2>/dev/null && [[ "$version $tools" == "$(cat "$stamp" 2>/dev/null)" ]]; then
    say "ok: $venv"
    return
  fi
  say "making $venv"
  run rm -rf "$venv"
  run_logged python3 -m venv --system-site-packages "$venv" || explain "making $venv"
  # shellcheck disable=SC2086
  pip_install $tools || explain "installing $tools"
  [[ $dry_run ]] || write "$stamp" <<<"$version $tools"
}

# install GROUP: installs those of the group's pins that are missing or damaged.
install() {
  local all states broken wanted
  read -ra all <<<"$(pins "$1" "$version")"
  if [[ -x $venv/bin/python ]]; then
    states=$(package_states "${all[@]}") || die "$root/device_scripts/board/packages.py failed, see above"
  else # in a dry run
    states=$(printf '%s missing\n' "${all[@]}")
  fi
  read -ra wanted <<<"$(in_state missing wrong damaged <<<"$states" | tr '\n' ' ')"
  if ((${#wanted[@]} == 0)); then
    say "ok: ${all[*]}"
    return
  fi
  read -ra broken <<<"$(in_state damaged <<<"$states" | tr '\n' ' ')"
  if ((${#broken[@]})); then
    say "half installed, and now anew: ${broken[*]}"
    run "$venv/bin/python" "$root/device_scripts/board/packages.py" --forget "${broken[@]}"
  fi
  say "installing ${wanted[*]}"
  # PyCUDA is built with the pinned tools and NumPy; pip must not fetch others for the build.
  pip_install --no-build-isolation "${wanted[@]}" || explain "installing ${wanted[*]}"
}

pip_install() {
  run_logged "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --retries 2 \
    --timeout 30 "$@"
}

# Says why a command failed, from the end of its log.
explain() {
  local last why
  last=$(tail -n 200 "$log" 2>/dev/null || true)
  if grep -q 'No space left on device' <<<"$last"; then
    why="the disk is full: remove something, then run this again"
  elif grep -qE 'NewConnectionError|ConnectTimeout|ConnectionReset|ReadTimeout|ProxyError|SSLError|name resolution' <<<"$last"; then
    why="the package index cannot be reached: connect the board to the network, then run this again"
  elif grep -qE 'Killed|Cannot allocate memory' <<<"$last"; then
    why="memory ran out: close programs or give it swap (--yes), then run this again"
  else
    why=$(grep -E '^ *(ERROR|error|Error|[A-Za-z]*Error):' <<<"$last" | tail -n 1 || true)
    why="${why:-it failed}; the whole log: $log"
  fi
  die "$1: $why"
}

# OpenBLAS reads the variable when NumPy loads it. This file sets it for every program that runs in
# the environment, from whatever shell or service it is started.
set_core_type() {
  local site file
  [[ $version == 3.6 ]] || return 0
  site=$venv/lib/python$version/site-packages
  file=$site/shiftadd_openblas.pth
  if [[ -f $file ]]; then
    say "ok: OPENBLAS_CORETYPE in $venv"
    return
  fi
  say "setting OPENBLAS_CORETYPE=ARMV8 for what runs in $venv: $file"
  if [[ ! $dry_run ]]; then
    write "$file" <<<'import os; os.environ.setdefault("OPENBLAS_CORETYPE", "ARMV8")'
  fi
}

# Compilers and TensorRT's builder need more memory than a Nano has left beside its desktop.
needs_swap() {
  [[ $cuda ]] && (($(memory_mib MemAvailable) + $(memory_mib SwapFree) < build_memory_mib))
}

make_swap() {
  needs_swap || return 0
  if ! agreed; then
    warn "memory is short for building: one compiler at a time; --yes makes $swap_mib MiB of swap"
    return
  fi
  (($(free_mib "$root") >= swap_mib + disk_gpu_mib)) || die "$root: no room for $swap_mib MiB of swap: remove \
something, or run this again without --yes"
  say "making $swap_mib MiB of swap, until the next start, in $swap; to be rid of it: sudo swapoff $swap; sudo rm $swap"
  { as_root rm -f "$swap" && run touch "$swap" && run chmod 600 "$swap" &&
    run fallocate -l "${swap_mib}M" "$swap" && as_root chown root "$swap" &&
    as_root mkswap "$swap" && as_root swapon "$swap"; } || {
    as_root rm -f "$swap"
    die "the swap could not be made, see above: repair that, or run this again without --yes"
  }
}

agreed() {
  local answer
  if [[ $yes || $dry_run ]]; then
    return 0
  fi
  [[ -t 0 ]] || return 1
  read -rp "Memory is short for building. Make $swap_mib MiB of swap in $swap? [Y/n] " answer
  [[ ! $answer =~ ^[Nn] ]]
}

install_pycuda() {
  [[ $cuda ]] || return 0
  # PyCUDA's build finds CUDA through PATH.
  export PATH=$cuda/bin:$PATH CUDA_ROOT=$cuda
  say "PyCUDA is compiled here the first time, which takes ten minutes or more; log: $log"
  install gpu
}

check_imports() {
  local modules=numpy,PIL,onnxruntime status=0
  [[ ! $cuda ]] || modules=$modules,pycuda.driver
  [[ ! $dry_run ]] || return 0
  env -u OPENBLAS_CORETYPE "$venv/bin/python" -c "import ${modules//,/, }" >>"$log" 2>&1 || status=$?
  case $status in
    0) say "ok: import ${modules//,/, }" ;;
    132) die "NumPy dies of an illegal instruction: remove $venv and run this again" ;;
    *) explain "import ${modules//,/, }" ;;
  esac
  if [[ $cuda ]] && ! "$venv/bin/python" -c 'import tensorrt' >>"$log" 2>&1; then
    warn "TensorRT's Python module is missing, for the GPU: sudo apt-get install python3-libnvinfer"
  fi
}

write_record() {
  [[ ! $dry_run ]] || return 0
  {
    echo "L4T $(l4t_release)"
    echo "Python $version"
    pins cpu "$version" | tr ' ' '\n'
    [[ ! $cuda ]] || pins gpu "$version" | tr ' ' '\n'
  } | write "$record"
}

# The log only holds this run.
start_log() {
  [[ ! $dry_run ]] || return 0
  mkdir -p "$state"
  write "$log" </dev/null
}

main() {
  parse "$@"
  check_user
  lock
  check_bundle
  check_architecture
  check_release
  check_python
  choose_gpu
  check_disk
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  trap 'interrupted 129' HUP
  start_log
  system_packages
  make_venv
  set_core_type
  install cpu
  make_swap
  install_pycuda
  check_imports
  write_record
  [[ $dry_run ]] || say "installed; next: device_scripts/doctor.sh"
}

main "$@"
