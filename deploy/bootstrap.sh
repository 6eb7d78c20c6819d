#!/bin/sh
# Make .venv from the hashed locks: `deploy/bootstrap.sh run|dev|lock|uv`.
#   run   what the platform needs (requirements.txt)
#   dev   that and the tools of `make test` and `make check` (requirements-dev.txt)
#   lock  write both locks anew from pyproject.toml; with UPGRADE=1 to the newest versions
#   uv    only fetch uv into .tools
# A second call does nothing until a lock, a pyproject.toml or Python itself changes.
# Settings of pip (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX, PIP_CERT, and the
# index of pip's configuration file) hold for uv too. PYTHON=… chooses the interpreter.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd)
mode=${1:-run}
venv=$root/.venv
tools=$root/.tools
uv_lock=deploy/requirements-uv.txt

say() { printf '%s\n' "· $*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>&1 || echo none)
    die "Fisc needs Python 3.11 or newer; found: $found. Install one, or name it: make PYTHON=/path/to/python3.12 …"
}

carry_pip_settings_to_uv() {
    if [ -z "${PIP_INDEX_URL:-}" ]; then
        PIP_INDEX_URL=$("$python" -m pip config get global.index-url 2>/dev/null || true)
    fi
    [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
    [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || export UV_INDEX="${UV_INDEX:-$PIP_EXTRA_INDEX_URL}"
    [ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"
    [ -z "${PIP_NO_INDEX:-}" ] || export UV_NO_INDEX="${UV_NO_INDEX:-$PIP_NO_INDEX}"
    [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    export UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never
    # The operator's habits for their own environments do not fit ours.
    export PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    unset VIRTUAL_ENV CONDA_PREFIX PYTHONHOME
}

# Prints the path of a uv, or nothing when none can be had. FISC_UV=off leaves it out.
find_uv() {
    [ "${FISC_UV:-on}" != off ] || return 0
    if ! "$tools/bin/uv" --version >/dev/null 2>&1; then
        say "fetching uv into .tools"
        rm -rf "$tools"
        "$python" -m pip install --quiet --target "$tools" --require-hashes -r "$uv_lock" >&2 ||
            say "uv could not be fetched with pip"
    fi
    if "$tools/bin/uv" --version >/dev/null 2>&1; then
        echo "$tools/bin/uv"
    elif command -v uv >/dev/null 2>&1; then
        command -v uv
    fi
}

fingerprint() {
    { cat "$1" pyproject.toml protos/pyproject.toml; "$venv/bin/python" -c 'import sys; print(sys.version)'; echo "$root"; } | cksum
}

is_fresh() {
    [ -x "$venv/bin/python" ] && [ -f "$venv/.installed-$1" ] &&
        [ "$(cat "$venv/.installed-$1")" = "$(fingerprint "$2")" ]
}

install_with_uv() {
    say "installing $(grep -c '^[a-z]' "$2") packages with uv"
    if ! is_new_enough "$venv/bin/python"; then
        "$1" venv --quiet --clear --python "$python" "$venv" || return 1
    fi
    "$1" pip install --python "$venv/bin/python" --require-hashes -r "$2" &&
        "$1" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation \
            -e ./protos -e .
}

install_with_pip() {
    say "installing $(grep -c '^[a-z]' "$1") packages with pip (uv is not available; this takes minutes)"
    if ! is_new_enough "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear "$venv" ||
            die "Python's venv module does not work. On Debian: apt-get install python3-venv"
    fi
    "$venv/bin/python" -m pip install --progress-bar off --require-hashes -r "$1" &&
        "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e ./protos -e .
}

install() {
    is_fresh dev requirements-dev.txt && return
    if [ "$1" = run ] && is_fresh run requirements.txt; then return; fi
    python=$(find_python)
    carry_pip_settings_to_uv
    say "using $("$python" --version) at $python"
    rm -f "$venv"/.installed-*
    uv=$(find_uv)
    if [ -z "$uv" ] || ! install_with_uv "$uv" "$2"; then
        install_with_pip "$2" ||
            die "The packages could not be installed; see above. Behind a mirror, set PIP_INDEX_URL."
    fi
    fingerprint "$2" >"$venv/.installed-$1"
    say "installed in .venv"
}

compile() {
    output=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header \
        --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-package fisc-protos \
        ${UPGRADE:+--upgrade} "$@" --output-file "$output"
}

lock() {
    python=$(find_python)
    carry_pip_settings_to_uv
    # Only the public index: nothing of this machine may reach the locks.
    unset UV_FIND_LINKS PIP_FIND_LINKS
    uv=$(find_uv)
    [ -n "$uv" ] || die "make lock needs uv"
    # Besides the project: what builds its editable installs. The run lock follows the dev lock.
    inputs='hatchling>=1.31
editables>=0.5
fisc-protos @ ./protos'
    say "requirements-dev.txt"
    echo "$inputs" | compile requirements-dev.txt pyproject.toml - --extra embedded --extra dev
    say "requirements.txt"
    echo "$inputs" | compile requirements.txt pyproject.toml - --extra embedded \
        --constraint requirements-dev.txt
    say "$uv_lock"
    echo 'uv>=0.13,<0.14' | compile "$uv_lock" -
}

case $mode in
    run) install run requirements.txt ;;
    dev) install dev requirements-dev.txt ;;
    lock) lock ;;
    uv) python=$(find_python); carry_pip_settings_to_uv; find_uv ;;
    *) die "usage: $0 run|dev|lock|uv" ;;
esac
