#!/usr/bin/env bash
# Goes through Istio's task "Secure Gateways" with kubectl, in both of its API forms, beside a cluster:
#   rig run tests/conformance/walk.sh
# The objects are those of sample-configs/secure-gateway. Where the task has httpbin and helloworld there are pods of the
# Gateway API's echo-basic, which answers /status/418 as httpbin does.
set -euo pipefail
cd "$(dirname "$0")/../.."
samples=sample-configs/secure-gateway
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

steps=0
ok() { steps=$((steps + 1)); echo "  ok  $*"; }
# eventually WHAT COMMAND…: the command succeeds within a while.
eventually() {
    local what=$1 output
    shift
    for _ in $(seq 100); do
        if output=$("$@" 2>&1); then ok "$what"; return; fi
        sleep 0.2
    done
    printf 'FAILED: %s\n  %s\n%s\n' "$what" "$*" "$output" >&2
    exit 1
}

# ask HOST PATH [CURL OPTIONS…]: prints the protocol and the status, fails as curl does.
ask() {
    local host=$1 path=$2
    shift 2
    curl -sS --max-time 5 -o "$work/answer" -w '%{http_version} %{http_code}\n' \
        --resolve "$host:$port:$address" "$@" "https://$host:$port$path"
}
answers() { # answers 'PROTOCOL STATUS' HOST PATH [CURL OPTIONS…]
    local wanted=$1 found
    found=$(ask "${@:2}") && [ "$found" = "$wanted" ] || { echo "wanted $wanted: $found"; return 1; }
}
refused() { # refused CODES HOST PATH [CURL OPTIONS…]: curl ends with one of the codes
    local codes=$1 code=0
    ask "${@:2}" || code=$?
    [[ " $codes " == *" $code "* ]] || { echo "curl ends with $code, wanted $codes"; return 1; }
}

certificates() { # the task's own commands
    local one dir
    for one in 1 2; do
        dir=$work/certs$one
        mkdir "$dir"
        openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' \
            -keyout "$dir/example.com.key" -out "$dir/example.com.crt"
        for name in httpbin helloworld client; do
            openssl req -out "$dir/$name.csr" -newkey rsa:2048 -nodes -keyout "$dir/$name.example.com.key" \
                -subj "/CN=$name.example.com/O=$name organization"
            openssl x509 -req -sha256 -days 365 -CA "$dir/example.com.crt" -CAkey "$dir/example.com.key" \
                -set_serial "$((RANDOM + 1))" -in "$dir/$name.csr" -out "$dir/$name.example.com.crt"
        done
    done
} 2>/dev/null

backend() { # backend NAME PORT
    kubectl create deployment "$1" --image=gateway-api/echo-basic:v1.6.1
    kubectl expose deployment "$1" --port="$2" --target-port=3000 --name="$1"
    kubectl wait --for=condition=Available --timeout=60s "deployment/$1"
} >/dev/null

secret() { # secret NAME CERTIFICATES
    kubectl create -n istio-system secret tls "$1-credential" \
        --key="$work/certs$2/$1.example.com.key" --cert="$work/certs$2/$1.example.com.crt"
} >/dev/null
forget() { kubectl -n istio-system delete secret "$1-credential"; } >/dev/null

apply() { sed 's/"gatewayClassName": "istio"/"gatewayClassName": "sekisho"/' "$@" | kubectl apply -f -; } >/dev/null

where() { # where FORM: sets address and port
    if [ "$1" = istio ]; then
        # Of an Istio Gateway the task asks the ingress gateway's Service; here the gateway has the machine's own address.
        address=127.0.0.1 port=443
    else
        kubectl wait --for=condition=programmed --timeout=30s gtw mygateway -n istio-system >/dev/null
        address=$(kubectl get gtw mygateway -n istio-system -o 'jsonpath={.status.addresses[0].value}')
        port=$(kubectl get gtw mygateway -n istio-system -o 'jsonpath={.spec.listeners[?(@.name=="https-httpbin")].port}')
        ok "the Gateway is programmed, at $address port $port"
    fi
}

walk() { # walk FORM
    local form=$1 old new
    old=(--cacert "$work/certs1/example.com.crt")
    new=(--cacert "$work/certs2/example.com.crt")
    echo "$form"
    secret httpbin 1
    secret helloworld 1
    for file in gateway httpbin helloworld; do apply "$samples/$form/$file.json"; done
    where "$form"
    eventually 'httpbin answers 418 by HTTP/2' answers '2 418' httpbin.example.com /status/418 "${old[@]}"
    eventually 'helloworld answers 200' answers '2 200' helloworld.example.com /hello "${old[@]}"
    eventually 'a path without a route is 404' answers '2 404' httpbin.example.com /other "${old[@]}"
    eventually 'a host without a route is 404' \
        answers '2 404' httpbin.example.com /status/418 "${old[@]}" -H 'Host: other.example.com'
    eventually 'another SNI is refused' refused '35' other.example.com /status/418 "${old[@]}"

    forget httpbin
    secret httpbin 2
    eventually 'another certificate takes effect' answers '2 418' httpbin.example.com /status/418 "${new[@]}"
    eventually 'the old authority no longer verifies it' refused '35 60' httpbin.example.com /status/418 "${old[@]}"
    forget httpbin
    if [ "$form" = istio ]; then
        sleep 6
        eventually 'a deleted secret stays in force' answers '2 418' httpbin.example.com /status/418 "${new[@]}"
    else
        eventually 'a deleted secret is refused' refused '35' httpbin.example.com /status/418 "${new[@]}"
    fi
    eventually 'the other host goes on' answers '2 200' helloworld.example.com /hello "${old[@]}"
    secret httpbin 1
    eventually 'the first certificate is back' answers '2 418' httpbin.example.com /status/418 "${old[@]}"

    forget httpbin
    kubectl create -n istio-system secret generic httpbin-credential \
        --from-file=tls.key="$work/certs1/httpbin.example.com.key" \
        --from-file=tls.crt="$work/certs1/httpbin.example.com.crt" \
        --from-file=ca.crt="$work/certs1/example.com.crt" >/dev/null
    apply "$samples/mutual/$form.json"
    eventually 'mutual TLS refuses a client without a certificate' refused '56' httpbin.example.com /status/418 "${old[@]}"
    eventually 'and takes one with it' answers '2 418' httpbin.example.com /status/418 "${old[@]}" \
        --cert "$work/certs1/client.example.com.crt" --key "$work/certs1/client.example.com.key"

    forget httpbin
    forget helloworld
    for file in gateway httpbin helloworld; do kubectl delete -f "$samples/$form/$file.json" >/dev/null; done
    eventually 'nothing listens any more' refused '7' httpbin.example.com /status/418 "${old[@]}"
}

certificates
kubectl create namespace istio-system >/dev/null
backend httpbin 8000
backend helloworld 5000
walk istio
walk gateway-api
echo "all $steps steps as the task has them"
