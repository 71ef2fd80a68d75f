# Makes the certificates of the tests in the current directory. Run by `bash -euc`.

# What the founding task says, word for word but for line breaks.
mkdir example_certs1
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' -keyout example_certs1/example.com.key -out example_certs1/example.com.crt
openssl req -out example_certs1/httpbin.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs1/httpbin.example.com.key -subj "/CN=httpbin.example.com/O=httpbin organization"
openssl x509 -req -sha256 -days 365 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key -set_serial 0 -in example_certs1/httpbin.example.com.csr -out example_certs1/httpbin.example.com.crt
mkdir example_certs2
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' -keyout example_certs2/example.com.key -out example_certs2/example.com.crt
openssl req -out example_certs2/httpbin.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs2/httpbin.example.com.key -subj "/CN=httpbin.example.com/O=httpbin organization"
openssl x509 -req -sha256 -days 365 -CA example_certs2/example.com.crt -CAkey example_certs2/example.com.key -set_serial 0 -in example_certs2/httpbin.example.com.csr -out example_certs2/httpbin.example.com.crt
openssl req -out example_certs1/client.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs1/client.example.com.key -subj "/CN=client.example.com/O=client organization"
openssl x509 -req -sha256 -days 365 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key -set_serial 1 -in example_certs1/client.example.com.csr -out example_certs1/client.example.com.crt

# key NAME ALGORITHM [options]: NAME.key, and NAME.csr for CN=NAME.
key() {
  local name=$1
  shift
  openssl genpkey -algorithm "$@" -out "$name.key"
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
}

# issue CSR SERIAL AUTHORITY NAME [options]: NAME.crt. Without -extfile it is of version 1, unless this OpenSSL makes it
# version 3 in any case; the tests then bend it.
issue() {
  local csr=$1 serial=$2 ca=$3 name=$4
  shift 4
  openssl x509 -req -in "$csr.csr" -set_serial "$serial" -CA "$ca.crt" -CAkey "$ca.key" -days 365 "$@" -out "$name.crt"
}

# extensions NAME TEXT: NAME.ext.
extensions() {
  printf '%b' "$2" > "$1.ext"
}

# root NAME KEY SUBJECT EXTENSIONS [options]: NAME.crt, signed by itself, and NAME.key.
root() {
  local name=$1 key=$2 subject=$3 extensions=$4
  shift 4
  printf '[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n%b' "$extensions" > "$name.cnf"
  [ "$name" = "$key" ] || cp "$key.key" "$name.key"
  openssl req -x509 -new -config "$name.cnf" -key "$name.key" -subj "$subject" -days 3650 -out "$name.crt" "$@"
}

# revoke NAME AUTHORITY SERIALS [options]: NAME.crl, for 30 days unless the options say otherwise.
revoke() {
  local name=$1 ca=$2 serials=$3 serial
  shift 3
  {
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s.txt\ncrlnumber=%s.number\n' "$name" "$name"
    printf 'default_md=sha256\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n'
  } > "$name.cnf"
  : > "$name.txt"
  echo 01 > "$name.number"
  for serial in $serials; do printf 'R\t360101000000Z\t250101000000Z\t%s\tunknown\t/CN=x\n' "$serial" >> "$name.txt"; done
  openssl ca -gencrl -config "$name.cnf" -keyfile "$ca.key" -cert "$ca.crt" -crldays 30 "$@" -out "$name.crl"
}

ca=example_certs1/example.com
other=example_certs2/example.com
client=example_certs1/client.example.com

key p256 EC -pkeyopt ec_paramgen_curve:P-256
key p384 EC -pkeyopt ec_paramgen_curve:P-384
key p521 EC -pkeyopt ec_paramgen_curve:P-521
key ed25519 ED25519
key inter ED25519
key ed448 ED448
key secp256k1 EC -pkeyopt ec_paramgen_curve:secp256k1
key rsa1024 RSA -pkeyopt rsa_keygen_bits:1024
openssl rsa -in "$client.key" -traditional -out client.pkcs1.key
openssl rsa -in rsa1024.key -traditional -out rsa1024.pkcs1.key
openssl ec -in p256.key -out p256.sec1.key
openssl ec -in secp256k1.key -out secp256k1.sec1.key

# Version 1.
for name in p256 p384 p521 ed25519 ed448 secp256k1 rsa1024; do issue $name 0x2a $ca $name; done
issue p256 7 $ca sha1 -sha1
issue p256 8 $ca short -days 1
issue $client 1 $other impostor
issue p384 9 p256 by-v1
openssl x509 -req -in p256.csr -signkey p256.key -days 365 -out self-signed.crt

# Version 3.
names='DNS:Client.example.com,DNS:*.example.net,URI:spiffe://cluster.local/ns/a/sa/b,email:ops@example.com'
names=$names,IP:192.0.2.7,IP:2001:db8::7,dirName:dir
extensions full "subjectAltName=$names\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n[dir]\nCN=x\n"
extensions client 'subjectAltName=DNS:client.example.com\nextendedKeyUsage=clientAuth\n'
extensions server 'subjectAltName=DNS:httpbin.example.com\nextendedKeyUsage=serverAuth\n'
extensions ca 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
issue p256 0x1000 $ca full -extfile full.ext
issue p256 0x1001 $ca client3 -extfile client.ext
issue p256 0x1002 $ca server3 -extfile server.ext
issue p256 0x1001 $other impostor3 -extfile client.ext
issue p256 0x1003 $ca short3 -extfile client.ext -days 1
issue inter 0x2000 $ca inter -extfile ca.ext
issue p256 0x2001 inter by-inter -extfile client.ext
issue p256 0x2003 inter server-by-inter -extfile server.ext
issue p256 0x2002 inter v1-by-inter

# What clients refuse from a server.
extensions nameless 'extendedKeyUsage=serverAuth\n'
extensions any 'subjectAltName=email:ops@example.com\nextendedKeyUsage=clientAuth,anyExtendedKeyUsage\n'
extensions fetchable 'subjectAltName=DNS:a.example.com\nauthorityInfoAccess=OCSP;URI:http://o.example,caIssuers;URI:http://ca.example/\n'
extensions authority 'subjectAltName=DNS:a.example.com\nbasicConstraints=critical,CA:TRUE\n'
issue p256 0x3000 $ca nameless -extfile nameless.ext
issue p256 0x3001 $ca any -extfile any.ext
issue p256 0x3002 inter fetchable -extfile fetchable.ext
issue p256 0x3003 $ca authority -extfile authority.ext
issue p256 0x3004 $ca sha1-3 -extfile server.ext -sha1
issue inter 0x3005 $ca inter-sha1 -extfile ca.ext -sha1
issue p256 0x3006 rsa1024 server-by-small -extfile server.ext
root alone p256 /CN=alone 'subjectAltName=DNS:a.example.com\n'
root alone-authority p256 /CN=alone "subjectAltName=DNS:a.example.com\nbasicConstraints=critical,CA:TRUE\n"
root alone-sha1 p256 /CN=alone 'subjectAltName=DNS:a.example.com\n' -sha1

# Authorities of one name and key, one of which may vouch for version 1.
subject=/CN=odd
authority='basicConstraints=critical,CA:TRUE\n'
root good p384 $subject "${authority}keyUsage=critical,keyCertSign,cRLSign\n"
root bare p384 $subject "$authority"
root no-ca p384 $subject 'basicConstraints=critical,CA:FALSE\n'
root no-sign p384 $subject "${authority}keyUsage=critical,digitalSignature\n"
root no-crl-sign p384 $subject "${authority}keyUsage=critical,keyCertSign\n"
root eku p384 $subject "${authority}extendedKeyUsage=clientAuth\n"
root constrained p384 $subject "${authority}nameConstraints=critical,permitted;DNS:example.com\n"
root critical p384 $subject "${authority}1.2.3.4=critical,ASN1:NULL\n"
root old p384 $subject "$authority" -days 1
issue p256 5 good odd
issue p256 6 good odd3 -extfile client.ext
openssl req -new -key p384.key -subj $subject -out v1-root.csr
openssl x509 -req -in v1-root.csr -signkey p384.key -days 365 -out v1-root.crt
cp p384.key v1-root.key

# An authority whose key is too small.
root small rsa1024 /CN=small "$authority"
issue p256 6 small by-small

revoke none $ca ''
revoke one $ca '01 1001'
revoke short $ca '' -crldays 1
revoke former $ca '' -crl_lastupdate 20200101000000Z -crl_nextupdate 20490101000000Z
revoke others $other 01
revoke odd good ''
revoke odd-five good 05
revoke inter inter ''
revoke inter-2001 inter 2001
{
  cat none.cnf
  printf 'issuingDistributionPoint=critical,@point\n[point]\nfullname=URI:http://crl.example.com/\nonlyuser=TRUE\n'
} > partial.cnf
openssl ca -gencrl -config partial.cnf -keyfile $ca.key -cert $ca.crt -crldays 30 -out partial.crl
sed '/^crl_extensions/d;/^crlnumber/d' none.cnf > v1.cnf
openssl ca -gencrl -config v1.cnf -keyfile $ca.key -cert $ca.crt -crldays 30 -out v1.crl

# A subject with everything in it.
cat > subject.cnf <<'END'
[req]
distinguished_name=dn
prompt=no
string_mask=utf8only
utf8=yes
[dn]
C=JP
ST=Tokyo
1.O=Comma, \"Quote\" + <Angle>; Back\\slash
2.O=\#hash
OU=\ both \ 
DC=example
UID=me
emailAddress=a@example.com
serialNumber=17
street=1 Way
1.2.3.4=odd
CN=関所
END
openssl req -x509 -new -config subject.cnf -key p256.key -days 9 -set_serial -129 -out subject.crt
openssl x509 -in subject.crt -noout -subject -nameopt RFC2253 > subject.txt
openssl x509 -in subject.crt -noout -serial > serial.txt
openssl x509 -in full.crt -noout -dates -dateopt iso_8601 > dates.txt
