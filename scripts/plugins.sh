#!/usr/bin/env bash
# Builds the plugins to WebAssembly and puts them where the host's build script looks: target/plugins/NAME.wasm.
#
# They need the standard library for wasm32-unknown-unknown. Two ways lead to it, tried in this order; SEKISHO_STD names
# one to use it alone:
#   rustup  the toolchain has it, or `rustup target add` brings it
#   debian  Debian's own Rust builds it from source; the toolchain on PATH still builds everything else
set -euo pipefail
cd "$(dirname "$0")/.."

plugins=(sekisho-istio sekisho-gateway-api sekisho-kubernetes-secrets sekisho-ingress)
# `tests` as the argument builds those too that the tests hold the sandbox against: every crate of tests/misbehaving/.
misbehaving=()
[[ ${1-} != tests ]] || for manifest in tests/misbehaving/*/Cargo.toml; do
    misbehaving+=("sekisho-misbehaving-$(basename "$(dirname "$manifest")")")
done

triple=wasm32-unknown-unknown
target=${CARGO_TARGET_DIR:-target}
built=$target

say() { echo "plugins: $*" >&2; }

has_target() { compgen -G "$(rustc --print target-libdir --target $triple 2>/dev/null)/libstd-*.rlib" >/dev/null; }

with_rustup() {
    has_target || { command -v rustup >/dev/null && timeout 300 rustup target add $triple >&2 && has_target; } || return 1
    say "standard library of the toolchain ($(rustc --version | cut -d' ' -f1-2))"
    build=(cargo build)
}

with_debian() {
    scripts/prerequisites.sh debian-std || return 1
    say "standard library built from source by Debian's $(/usr/bin/rustc --version | cut -d' ' -f1-2)"
    # Both by full path: the two must be of one version, and PATH belongs to the toolchain of the rest. The unstable
    # flag is why RUSTC_BOOTSTRAP is set; a folder of its own keeps the two compilers' artefacts apart.
    build=(env -u RUSTUP_TOOLCHAIN -u RUSTC_WRAPPER -u RUSTFLAGS RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld
        /usr/bin/cargo build -Zbuild-std=std,panic_abort)
    built=$target/debian-std
}

case ${SEKISHO_STD:-any} in
    any) with_rustup || { say "the toolchain has no $triple, trying Debian's Rust"; with_debian; } ;;
    rustup) with_rustup ;;
    debian) with_debian ;;
    *) say "SEKISHO_STD=$SEKISHO_STD is neither \`rustup\` nor \`debian\`"; exit 2 ;;
esac || {
    say "error: no standard library for $triple."
    case ${SEKISHO_STD:-any} in any | rustup) say "  tried: rustup target add $triple" ;; esac
    case ${SEKISHO_STD:-any} in any | debian) say "  tried: Debian's rustc-web, cargo-web, rust-web-src and lld" ;; esac
    say "  install one of the two, then run this again"
    exit 1
}

mkdir -p "$target/plugins"

# PROFILE PACKAGE...
build() {
    local profile=$1 package from to
    shift
    "${build[@]}" --locked --quiet --target $triple --target-dir "$built" --profile "$profile" "${@/#/--package=}"
    for package; do
        from=$built/$triple/$profile/${package//-/_}.wasm
        to=$target/plugins/${package#sekisho-}.wasm
        # A copy that did not change keeps its time, so that cargo does not build the host again.
        cmp -s "$from" "$to" || { cp "$from" "$to.new" && mv "$to.new" "$to"; }
    done
}
build plugin "${plugins[@]}"
[[ ${#misbehaving[@]} == 0 ]] || build misbehaving "${misbehaving[@]}"
