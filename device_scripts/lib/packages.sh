# shellcheck shell=bash
# Asks for the state of the Python packages that the board's facts.sh pins.

# shellcheck source=device_scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

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
