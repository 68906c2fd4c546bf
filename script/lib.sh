# Functions for the other scripts in this folder, which source this file. It needs only Bash and Python.
# shellcheck shell=bash

readonly MIN_PYTHON="3.11"

# say TEXT...: print one line about the present step.
say() {
  printf '· %s\n' "$*"
}

# fail TEXT...: print what is wrong and what to do, and exit.
fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# find_python: print the path of a Python that is new enough. The environment variable PYTHON wins.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    # Each candidate is run: a version manager's shim may exist and not work.
    if "$candidate" -c "import sys; sys.exit(sys.version_info < (${MIN_PYTHON/./, }))" >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  fail "This needs Python $MIN_PYTHON or newer, and there is none on the PATH." \
    "Install one, or give its path: PYTHON=/path/to/python3 $0"
}

# make_venv DIR [STAMP_FILE...] -- PIP_ARGUMENT...: make a virtual environment and install packages with pip.
# An existing one is used again if it was made with the same Python, arguments and place, and if the contents of the
# stamp files are the same.
make_venv() {
  local dir=$1 python stamp
  local -a stamp_files=()
  shift
  while [ "$1" != "--" ]; do
    stamp_files+=("$1")
    shift
  done
  shift

  python=$(find_python)
  stamp=$(_stamp "$python" "$dir" "$*" ${stamp_files[@]+"${stamp_files[@]}"})
  if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ] && "$dir/bin/python" -c '' 2>/dev/null; then
    say "Using what is installed in $(basename "$dir")"
    return
  fi
  if [ -e "$dir" ] && [ ! -f "$dir/pyvenv.cfg" ]; then
    fail "$dir is no virtual environment, so it cannot be replaced. Move it, and start again."
  fi

  say "Making $(basename "$dir") with $("$python" --version 2>&1)"
  _need_venv_module "$python"
  "$python" -m venv --clear "$dir"
  _pip_install "$dir" "$@"
  printf '%s\n' "$stamp" >"$dir/stamp"
}

# need_program PROGRAM PACKAGE: install the system's package if the program is missing and this user may install it.
# If that is not possible, say so and go on: the tests that need the program say so again.
need_program() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "$1 is missing. On Debian and Ubuntu run:  sudo apt-get install $2"
    return
  fi
  say "Installing the system's package $2"
  _apt_install "$2" || say "That failed, and tests that need $1 will say so. Try:  apt-get update && apt-get install $2"
}

_apt_install() {
  {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$1"
  } >/dev/null 2>&1
}

_stamp() {
  "$1" - "$@" <<'PYTHON'
import hashlib, sys
from pathlib import Path

python, directory, arguments, *files = sys.argv[1:]
parts = [sys.version, str(Path(directory).absolute()), arguments, *(Path(file).read_text() for file in files)]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
PYTHON
}

# Debian and Ubuntu ship Python without the modules that make virtual environments.
_need_venv_module() {
  local package
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "This Python cannot make virtual environments: its modules ensurepip and venv are missing." \
      "On Debian and Ubuntu run:  sudo apt-get install $package"
  fi
  say "Installing the system's package $package"
  _apt_install "$package" || fail "That failed. Try it yourself:  apt-get update && apt-get install $package"
}

# Show pip's progress, one short line for each package, and all of its output if it fails.
_pip_install() {
  local dir=$1 log=$1/pip.log line what
  shift
  PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1 \
    "$dir/bin/python" -m pip install --no-input --progress-bar off "$@" 2>&1 | tee "$log" |
    while IFS= read -r line; do
      case $line in
        "Collecting "*)
          what=${line#Collecting }
          say "  fetching ${what%% *}"
          ;;
        *"Installing build dependencies: started"*) say "  preparing this checkout" ;;
        "Installing collected packages"*) say "  installing" ;;
      esac
    done || {
    cat "$log" >&2
    fail "" "pip could not install the packages. Read its output above, and check the network."
  }
}
