# shellcheck shell=bash
# The pinned Python packages by the version of Python. The dependencies of each are pinned as well,
# so that pip has nothing to choose. Each has a wheel for aarch64, except PyCUDA and pytools.

# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# pins GROUP PYTHON: GROUP is tools (pip's own), cpu or gpu; PYTHON "3.6". Prints nothing for a
# Python without pins.
pins() {
  case $1-$2 in
    # These are the last versions that support Python 3.6.
    tools-3.6) echo pip==21.3.1 setuptools==59.6.0 wheel==0.37.1 ;;
    cpu-3.6) echo numpy==1.19.5 Pillow==8.4.0 onnxruntime==1.10.0 flatbuffers==2.0.7 protobuf==3.19.6 ;;
    gpu-3.6) echo pycuda==2022.1 pytools==2022.1.12 Mako==1.1.6 MarkupSafe==2.0.1 appdirs==1.4.4 \
      platformdirs==2.4.0 dataclasses==0.8 typing-extensions==4.1.1 ;;
    # JetPack 5 and 6 have these versions of Python.
    tools-3.8 | tools-3.10) echo pip==24.0 setuptools==69.5.1 wheel==0.43.0 ;;
    cpu-3.8 | cpu-3.10) echo numpy==1.24.4 Pillow==10.4.0 onnxruntime==1.16.3 flatbuffers==24.3.25 \
      protobuf==4.25.3 coloredlogs==15.0.1 humanfriendly==10.0 packaging==24.1 sympy==1.12 mpmath==1.3.0 ;;
    gpu-3.8 | gpu-3.10) echo pycuda==2024.1 pytools==2024.1.10 Mako==1.3.5 MarkupSafe==2.1.5 \
      appdirs==1.4.4 platformdirs==4.2.2 typing-extensions==4.12.2 ;;
    *) ;;
  esac
}

# package_states PIN...: prints a line for each, as board/packages.py does: the pin, then ok,
# missing, wrong or damaged. It fails where nothing can be said.
package_states() {
  local status=0
  "$venv/bin/python" "$root/device_scripts/board/packages.py" "$@" || status=$?
  ((status <= 1))
}

# in_state STATE...: prints the pins that the lines of package_states show in one of these states.
in_state() {
  awk -v states=" $* " 'index(states, " " $2 " ") { print $1 }'
}
