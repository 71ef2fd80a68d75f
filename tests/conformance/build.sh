#!/usr/bin/env bash
# Builds what a conformance run needs, into conformance/ of cargo's target directory: bin/ and crds/. The first time takes
# about ten minutes on two cores and 2 GiB of memory; after that Go's cache has everything.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$root/$target ;; esac
out=$target/conformance
# What go.mod names is what is built, by the toolchain that is here.
export GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-} -trimpath -mod=readonly"
mkdir -p "$out/bin" "$out/crds"

# `-s -w` leaves out what only debuggers read. kubectl will not tell versions that it cannot parse, so they are stamped.
release=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${release#v}"
version=k8s.io/component-base/version
go build -ldflags "-s -w -X $version.gitVersion=$release -X $version.gitMajor=$major -X $version.gitMinor=$minor" -o "$out/bin/" ./cmd/rig k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kubectl} \
    sigs.k8s.io/gateway-api/conformance/echo-basic
go test -c -ldflags '-s -w' -o "$out/bin/conformance.test" sigs.k8s.io/gateway-api/conformance

# Modules carry their CRDs; the cache that they lie in is read-only. One that no package is built of is not in it yet.
module() { go mod download "$1" >&2 && go list -m -f '{{.Dir}}' "$1"; }
rm -rf "$out/crds"
mkdir -p "$out"/crds/{standard,experimental,istio}
for channel in standard experimental; do
    install -m 644 "$(module sigs.k8s.io/gateway-api)"/config/crd/$channel/gateway.networking.*.yaml "$out/crds/$channel/"
done
install -m 644 "$(module istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml" "$out/crds/istio/"
