# shellcheck shell=bash
# The state of the Python packages that the board's facts.sh pins.

# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# package_states PIN...: a line each, as board/packages.py writes it: the pin, then ok, missing, wrong
# or damaged. Fails where nothing can be said.
package_states() {
  local status=0
  "$venv/bin/python" "$root/device_scripts/board/packages.py" "$@" || status=$?
  ((status <= 1))
}

# in_state STATE...: the pins of package_states' lines that are in one of these states.
in_state() {
  awk -v states=" $* " 'index(states, " " $2 " ") { print $1 }'
}
