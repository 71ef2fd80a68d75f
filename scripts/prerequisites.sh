#!/usr/bin/env bash
# Sees that what a make target needs is here: `scripts/prerequisites.sh ROLE…`, with the roles
#   build       a Rust toolchain and a C compiler
#   test        openssl, curl, python3 with venv, git
#   lint        rustfmt and clippy
#   race        nginx, HAProxy, and what loads them (wrk, h2load)
#   conformance Go, etcd, and what sets up networks of their own (tests/conformance)
#   debian-std  Debian's Rust with the source of its standard library (scripts/plugins.sh asks for it)
# Where apt-get is there and we are root (or sudo asks for no password) what is missing is installed; otherwise one
# error names each missing tool and where it comes from.
set -euo pipefail

rust=1.95 # as rust-version in Cargo.toml
go=1.26 # as in tests/conformance/go.mod

# Each check is a function of its own, so that it can be asked again after an installation.
at_least() { # at_least VERSION COMMAND…: the command prints a version that is no older
    local wanted=$1 found
    found=$("${@:2}" 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p' | head -n 1)
    [ -n "$found" ] && printf '%s\n' "$wanted" "$found" | sort -CV
}
has_cargo() { at_least $rust cargo --version; }
has_cc() { echo '#include <stdlib.h>' | cc -x c -fsyntax-only - 2>/dev/null; }
has_openssl() { openssl version >/dev/null 2>&1; }
has_curl() { curl --version 2>/dev/null | grep -q HTTP2; }
has_python() { python3 -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 10)' 2>/dev/null; }
has_git() { git --version >/dev/null 2>&1; }
has_nginx() { nginx -v >/dev/null 2>&1; }
has_haproxy() { haproxy -v >/dev/null 2>&1; }
has_wrk() { [ -n "$(command -v wrk)" ]; }
has_h2load() { h2load --version >/dev/null 2>&1; }
has_taskset() { taskset -V >/dev/null 2>&1; }
has_go() { at_least $go env GOTOOLCHAIN=local go version; }
# etcd is run by hand, from wherever it is; a service of it that a package brings is of no use here.
has_etcd() { [ -x "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/etcd}" ] || etcd --version >/dev/null 2>&1; }
has_ip() { ip -V >/dev/null 2>&1; }
has_rustfmt() { cargo fmt --version >/dev/null 2>&1; }
has_clippy() { cargo clippy --version >/dev/null 2>&1; }
has_wasm_ld() { wasm-ld --version >/dev/null 2>&1; }
has_debian_cargo() { at_least $rust /usr/bin/cargo --version; }
has_debian_std() { [ -d "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std" ]; }

# tool | check | Debian packages (none: nothing to install with apt-get) | what to do by hand
tools_build='a C compiler|has_cc|gcc libc6-dev|package gcc with libc6-dev
Rust '$rust' or newer (cargo)|has_cargo||install it with rustup (https://rustup.rs), then open a new shell'
tools_test='openssl|has_openssl|openssl|package openssl
curl with HTTP/2|has_curl|curl|package curl
python3 (3.10 or newer) with venv|has_python|python3 python3-venv|packages python3 and python3-venv
git|has_git|git|package git'
tools_lint='rustfmt|has_rustfmt||rustup component add rustfmt
clippy|has_clippy||rustup component add clippy'
tools_race='nginx|has_nginx|nginx|package nginx
HAProxy|has_haproxy|haproxy|package haproxy
wrk|has_wrk|wrk|package wrk
h2load|has_h2load|nghttp2-client|package nghttp2-client
taskset|has_taskset|util-linux|package util-linux
openssl|has_openssl|openssl|package openssl
python3 (3.10 or newer)|has_python|python3 python3-venv|packages python3 and python3-venv'
tools_conformance='Go '$go' or newer|has_go||install it from https://go.dev/dl
etcd|has_etcd|etcd-server|package etcd-server, or KUBEBUILDER_ASSETS with the binaries of envtest
ip|has_ip|iproute2|package iproute2
curl with HTTP/2|has_curl|curl|package curl
openssl|has_openssl|openssl|package openssl'
tools_debian_std='wasm-ld|has_wasm_ld|lld|package lld
Debian'\''s Rust '$rust' or newer|has_debian_cargo|rustc-web cargo-web|packages rustc-web and cargo-web
the source of its standard library|has_debian_std|rust-web-src|package rust-web-src'

# The rows of the roles asked for whose check fails.
missing() {
    local role rows tool check packages byhand
    for role in "$@"; do
        rows="tools_${role//-/_}"
        while IFS='|' read -r tool check packages byhand; do
            $check || echo "$tool|$packages|$byhand"
        done <<<"${!rows}"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
    command -v apt-get >/dev/null && as_root true 2>/dev/null || return 0
    echo "prerequisites: installing $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq >&2 || true
    as_root apt-get install -y -qq --no-install-recommends "$@" >&2 || true
    # Debian starts what it installs. Of etcd the binary is what is wanted.
    case " $* " in *' etcd-server '*) as_root systemctl disable --now etcd >/dev/null 2>&1 || true ;; esac
}

[ $# -gt 0 ] || set -- build
for role in "$@"; do
    rows="tools_${role//-/_}"
    [ -n "${!rows-}" ] || { echo "prerequisites: no role \`$role\`: build, test, lint, race, conformance, debian-std" >&2; exit 2; }
done

lacking=$(missing "$@")
packages=$(cut -s -d'|' -f2 <<<"$lacking" | xargs)
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086  # a list of packages
    install $packages
    lacking=$(missing "$@")
fi
[ -z "$lacking" ] && exit 0
{
    echo "error: missing here, and not to be installed from here:"
    while IFS='|' read -r tool _ byhand; do echo "  - $tool: $byhand"; done <<<"$lacking"
} >&2
exit 1
