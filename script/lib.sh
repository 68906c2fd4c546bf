# Functions for the scripts beside this file, which source it. Bash; nothing else is needed but Python.
# shellcheck shell=bash

readonly MIN_PYTHON="3.11"

# say TEXT...: one calm line of what is going on.
say() {
  printf '· %s\n' "$*"
}

# fail TEXT...: what is wrong and what to do, then the end.
fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# find_python: print the path of a Python that is new enough; the environment's PYTHON wins.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    # It may be there and not work (a version manager's shim), so it is run and not only looked for.
    if "$candidate" -c "import sys; sys.exit(sys.version_info < (${MIN_PYTHON/./, }))" >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  fail "This needs Python $MIN_PYTHON or newer, and there is none on the PATH." \
    "Install one, or name it: PYTHON=/where/it/is/python3 $0"
}

# make_venv DIR [STAMP_FILE...] -- PIP_ARGUMENT...: make a virtual environment with what pip is asked for.
# One that is there is used again while the Python, the arguments, the place and the stamp files' content
# are what it was made from.
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
    fail "$dir is in the way: it is not a virtual environment. Move it, and start again."
  fi

  say "Making $(basename "$dir") with $("$python" --version 2>&1)"
  _need_venv_module "$python"
  "$python" -m venv --clear "$dir"
  _pip_install "$dir" "$@"
  printf '%s\n' "$stamp" >"$dir/stamp"
}

# need_program PROGRAM PACKAGE: install the system's package if the program is not there and we may.
# Where it can't be had, say so and go on: what needs it says it once more.
need_program() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "$1 is missing; on Debian and Ubuntu:  sudo apt-get install $2"
    return
  fi
  say "Installing the system's package $2"
  _apt_install "$2" || say "That failed; what needs $1 will say so. By hand:  apt-get update && apt-get install $2"
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

# Debian and its kin ship Python without the part that makes virtual environments.
_need_venv_module() {
  local package
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "This Python cannot make virtual environments: its modules ensurepip and venv are missing." \
      "On Debian and Ubuntu install them with:  sudo apt-get install $package"
  fi
  say "Installing the system's package $package"
  _apt_install "$package" || fail "That failed. Try it by hand:  apt-get update && apt-get install $package"
}

# Tells what pip is busy with, one short line a package, and shows all that it said when it fails.
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
        *"Installing build dependencies: started"*) say "  looking at this checkout" ;;
        "Installing collected packages"*) say "  installing" ;;
      esac
    done || {
    cat "$log" >&2
    fail "" "pip could not install what is needed; its own words are above. Is the network there?"
  }
}
