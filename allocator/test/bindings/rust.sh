#!/bin/bash
# The Rust crate by Debian's cargo, offline: its tests and its example, shared and static.
#   rust.sh LIBRARY-DIRECTORY | rust.sh refuses
set -euo pipefail
crate=$(cd "$(dirname "$0")/../../bindings/rust" && pwd)
[[ $# == 1 ]] || { sed -n '3s/^# *//p' "$0"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The distribution's tools, whatever toolchain the user has beside them.
export PATH=/usr/bin:/bin CARGO_HOME=$work/home CARGO_TARGET_DIR=$work/target
# Nothing is debugged, nor compiled again: without this it takes a third less time.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0
unset RUSTC RUSTDOC RUSTFLAGS RUSTC_WRAPPER
command -v cargo >/dev/null || { echo "SKIP: no cargo"; exit 77; }
fail() {
    echo "FAILED: $*"
    exit 1
}
run() { # COMMAND [OPTION...]
    local command=$1
    shift
    cargo "$command" --quiet --offline --locked --manifest-path "$crate/Cargo.toml" "$@"
}

# refused WORDS NAME=VALUE...: the crate does not build with these variables, and says why.
refused() {
    local words=$1 said
    shift
    if said=$(env "$@" cargo check --quiet --offline --locked --manifest-path "$crate/Cargo.toml" 2>&1); then
        fail "with $* it builds"
    fi
    [[ $said == *"$words"* ]] || fail "with $* it does not say '$words': $said"
}

if [[ $1 == refuses ]]; then
    refused "$work has no libmymalloc.so; install libmymalloc-dev" MYMALLOC_LIB_DIR="$work"
    refused "cannot run no-such-program" PKG_CONFIG=no-such-program
    refused "does not know mymalloc" PKG_CONFIG=pkg-config PKG_CONFIG_LIBDIR="$work"
    printf 'Name: mymalloc\nDescription: of another time\nVersion: 9.1.0\n' >"$work/mymalloc.pc"
    refused "version 9.1.0 is installed, this crate is for 0.1.x" PKG_CONFIG_LIBDIR="$work"
    mkdir "$work/with blank"
    # shellcheck disable=SC2016 # pkg-config expands it
    printf 'libdir=${pcfiledir}\nName: mymalloc\nDescription: elsewhere\nVersion: 0.1.9\n' >"$work/with blank/mymalloc.pc"
    refused "$work/with blank has no libmymalloc.so" PKG_CONFIG_LIBDIR="$work/with blank"
    exit 0
fi

export MYMALLOC_LIB_DIR=$1 LD_LIBRARY_PATH=$1
run test
for features in static secure secure,static; do
    run test --test '*' --features "$features"
done
# The hardened library in front of the one that the program is linked with: it serves both.
run test --test '*' --config "target.'cfg(all())'.runner = ['env', 'LD_PRELOAD=$1/libmymalloc_secure.so']"
for feature in '' static; do
    said=$(run run --features "$feature" --example words <<<'a rose is a rose is a rose')
    [[ $said == *"     3 a"*"     3 rose"*"     2 is"*"mymalloc "*"front end"* ]] || fail "the example: $said"
    linked=$(ldd "$work/target/debug/examples/words")
    if [[ $feature == static && $linked == *libmymalloc* ]]; then fail "static needs the library: $linked"; fi
    if [[ -z $feature && $linked != *libmymalloc.so* ]]; then fail "shared without the library: $linked"; fi
done
