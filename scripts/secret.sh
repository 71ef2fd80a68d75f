#!/usr/bin/env bash
# Prints a Secret as JSON: the part of `kubectl create secret … --dry-run=client -o json` that the gateway needs, for
# people without kubectl. The flags are kubectl's, so a line of a tutorial works with `kubectl create` replaced by this
# script's name.
set -euo pipefail

usage() {
    cat <<'END'
Usage: scripts/secret.sh [-n NAMESPACE] [secret] tls NAME --key=FILE --cert=FILE
       scripts/secret.sh [-n NAMESPACE] [secret] generic NAME [--from-file=[KEY=]FILE]… [--from-literal=KEY=VALUE]…

Prints the Secret as JSON; put it where the gateway reads its resources:
  scripts/secret.sh -n istio-system secret tls httpbin-credential \
    --key=example_certs1/httpbin.example.com.key --cert=example_certs1/httpbin.example.com.crt \
    > resources/httpbin-credential.json
Deleting that file deletes the secret.

  tls       tls.key and tls.crt; checks that the two belong together
  generic   one entry for each --from-file (its name is the file's, unless KEY= names another) and --from-literal
  -n, --namespace   where the secret lives; `default` unless given
END
}

fail() {
    echo "secret.sh: $*" >&2
    exit 1
}

misused() {
    echo "secret.sh: $*; see scripts/secret.sh --help" >&2
    exit 2
}

namespace=default
words=()
key='' cert=''
entries=() # KEY=BASE64

encoded_file() { # encoded_file FILE WHAT
    [ -e "$1" ] || fail "$2: there is no file $1"
    [ -f "$1" ] && [ -r "$1" ] || fail "$2: cannot read $1"
    base64 <"$1" | tr -d '\n'
}

add() { # add KEY BASE64
    [[ $1 =~ ^[-._a-zA-Z0-9]+$ ]] || fail "\`$1\` cannot be the name of an entry: only letters, digits, -, _ and . can"
    local entry
    for entry in "${entries[@]+"${entries[@]}"}"; do
        [ "${entry%%=*}" != "$1" ] || fail "the entry \`$1\` is given twice"
    done
    entries+=("$1=$2")
}

add_file() { # add_file KEY FILE FLAG
    local data
    data=$(encoded_file "$2" "$3") || exit 1
    add "$1" "$data"
}

from_file() { # from_file [KEY=]FILE
    local name=${1%%=*} file=${1#*=}
    [ -n "$file" ] && [ -n "$name" ] || misused "--from-file=$1: write --from-file=KEY=FILE"
    [ "$file" != "$1" ] || name=${file##*/}
    add_file "$name" "$file" "--from-file=$1"
}

from_literal() { # from_literal KEY=VALUE
    [[ $1 == ?*=* ]] || misused "--from-literal=$1: write --from-literal=KEY=VALUE"
    add "${1%%=*}" "$(printf %s "${1#*=}" | base64 | tr -d '\n')"
}

while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
        -h | --help) usage; exit 0 ;;
        # One form for both ways to give a value: `--key=FILE` and `--key FILE`.
        --*=*) value=${option#*=} option=${option%%=*} ;;
        -n?*) value=${option#-n} value=${value#=} option=-n ;;
        -o?*) value=${option#-o} value=${value#=} option=-o ;;
        -n | -o | --*) [ $# -gt 0 ] || misused "$option needs a value"; value=$1; shift ;;
        -*) misused "unknown flag $option" ;;
        *) words+=("$option"); continue ;;
    esac
    case $option in
        -n | --namespace) namespace=$value ;;
        --key) key=$value ;;
        --cert) cert=$value ;;
        --from-file) from_file "$value" ;;
        --from-literal) from_literal "$value" ;;
        --dry-run) ;; # nothing is sent anywhere
        -o | --output) [ "$value" = json ] || misused "$option $value: the output is JSON" ;;
        *) misused "unknown flag $option" ;;
    esac
done

[ "${words[0]-}" != secret ] || words=("${words[@]:1}")
kind=${words[0]-} name=${words[1]-}
[ -n "$kind" ] || misused "say what to make: tls or generic"
case $kind in tls | generic) ;; *) misused "\`$kind\` is neither tls nor generic" ;; esac
[ -n "$name" ] || misused "the secret needs a name"
[ ${#words[@]} -le 2 ] || misused "\`${words[2]}\` is one word too many"
for word in "$name" "$namespace"; do
    [ ${#word} -le 253 ] && [[ $word =~ ^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$ ]] ||
        fail "\`$word\` is no name for Kubernetes: lower-case letters, digits, - and . only"
done

if [ "$kind" = tls ]; then
    type=kubernetes.io/tls
    [ ${#entries[@]} = 0 ] || misused "tls takes --key and --cert; for other entries use generic"
    [ -n "$key" ] || misused "tls needs --key=FILE"
    [ -n "$cert" ] || misused "tls needs --cert=FILE"
    add_file tls.crt "$cert" --cert
    add_file tls.key "$key" --key
    if command -v openssl >/dev/null; then
        of_cert=$(openssl x509 -in "$cert" -noout -pubkey 2>/dev/null) || fail "--cert: $cert is no PEM certificate"
        of_key=$(openssl pkey -in "$key" -pubout -passin pass: 2>/dev/null) ||
            fail "--key: $key is no unencrypted PEM private key"
        [ "$of_cert" = "$of_key" ] || fail "the key $key does not belong to the certificate $cert"
    fi
else
    type=Opaque
    [ -z "$key$cert" ] || misused "generic takes --from-file=KEY=FILE; --key and --cert are for tls"
    [ ${#entries[@]} -gt 0 ] || misused "generic needs --from-file or --from-literal"
fi

# One write at the end, so that a gateway that watches the file sees nothing half done.
json='{
  "apiVersion": "v1",
  "kind": "Secret",
  "metadata": { "name": "'$name'", "namespace": "'$namespace'" },
  "type": "'$type'",
  "data": {'
comma=
for entry in "${entries[@]}"; do
    json+=$comma$'\n    "'${entry%%=*}'": "'${entry#*=}'"'
    comma=,
done
printf '%s\n  }\n}\n' "$json"
