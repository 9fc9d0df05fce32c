# shellcheck shell=bash
# Sourced by every script: messages, the repository's root, and one temporary directory that is always removed.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export REPOSITORY

say() { printf '%s\n' "$*" >&2; }

# One clear sentence and a non-zero exit: die CAUSE_AND_REMEDY
die() { say "error: $*"; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }

# Sets WORK to a fresh directory; on_exit (if the script defines one) runs before it is removed, also after Ctrl-C.
make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/iommufd.XXXXXX")
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

leave() {
    local status=$?
    trap - EXIT
    if declare -F on_exit >/dev/null; then on_exit || true; fi
    if [[ -n ${KEEP:-} ]]; then say "kept: $WORK"; else rm -rf "$WORK"; fi
    exit "$status"
}

cache_folder() { printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/iommufd"; }
