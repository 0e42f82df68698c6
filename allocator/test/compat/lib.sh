# shellcheck shell=bash
# lib.sh - sourced by every compatibility test.
#
# A test runs a program with the library preloaded and checks the program's own result;
# it ends with 77 and a line "SKIP: ..." where the program is not installed.
# MYMALLOC_PRELOAD: the library.
set -euo pipefail
: "${MYMALLOC_PRELOAD:?is to name libmymalloc_preload.so}"
# shellcheck disable=SC2034 # for the tests
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
work=$(mktemp -d)
chmod 755 "$work"
servers=()

finish() {
    local server
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# need PROGRAM...: skip the test unless all are installed.
need() {
    local program
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            echo "SKIP: $program is not installed"
            exit 77
        fi
    done
}

fail() {
    echo "FAILED: $*"
    exit 1
}

# with COMMAND...: run it on mymalloc.
with() {
    LD_PRELOAD=$MYMALLOC_PRELOAD "$@"
}

# loads PROGRAM: the dynamic linker puts the library in front of this program.
loads() {
    local path
    path=$(readlink -f "$(command -v "$1")")
    LD_TRACE_LOADED_OBJECTS=1 with "$path" | grep libmymalloc_preload >/dev/null ||
        fail "the preload does not take in $path"
}

# took PID: the library is mapped in a running process.
took() {
    local as=()
    # In a container root may not look into other users' processes; they themselves may.
    ((EUID != 0)) || as=(setpriv --reuid "$(stat -c %u "/proc/$1")" --regid "$(stat -c %g "/proc/$1")" --clear-groups)
    "${as[@]}" grep -q libmymalloc_preload "/proc/$1/maps" || fail "process $1 runs without mymalloc"
}

# same COMMAND...: with and without mymalloc it prints the same and ends the same.
same() {
    local status=0 expected=0
    "$@" >"$work/expected" 2>&1 || expected=$?
    with "$@" >"$work/got" 2>&1 || status=$?
    [[ $status == "$expected" ]] || fail "$1 ended with $status, without mymalloc with $expected"
    cmp -s "$work/expected" "$work/got" || {
        diff "$work/expected" "$work/got" | head -20
        fail "$* printed something else on mymalloc"
    }
}

# until_true COMMAND...: try until it succeeds.
until_true() {
    local end=$((SECONDS + 100))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "gave up waiting for: $*"
        sleep 0.1
    done
}
