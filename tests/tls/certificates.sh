#!/bin/sh
# certificates.sh <directory>: an authority, what it has issued, and what it has not. 77: there is no openssl.
set -eu
command -v openssl >/dev/null 2>&1 || exit 77
cd "$1"
mkdir -p old
: >old/index.txt
names="DNS:localhost,DNS:first.test,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1"
leaf="basicConstraints=critical,CA:FALSE"

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }

# authority <name>
authority() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# issue <name> <authority> <names>
issue() {
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    printf '%s\nsubjectAltName=%s\n' "$leaf" "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -set_serial "0x$(openssl rand -hex 8)" -days 30 \
        -extfile "$1.ext" -out "$1.pem"
}

{
    authority authority
    authority stranger
    issue server authority "$names"
    issue second authority "DNS:second.test,DNS:*.wild.test"
    issue other authority "DNS:other.example"
    issue unknown stranger "$names"
    issue client authority "DNS:client.test"

    # What openssl makes when nobody says otherwise: an authority of its own, for the server's name.
    key whole
    openssl req -x509 -new -key whole.key -subj /CN=whole -days 30 -out whole.pem -addext "subjectAltName=$names"
    key alone
    openssl req -x509 -new -key alone.key -subj /CN=alone -days 30 -out alone.pem -addext "subjectAltName=$names" \
        -addext "$leaf"

    # Only `openssl ca` makes what has expired.
    key expired
    openssl req -new -key expired.key -subj /CN=expired -out expired.csr
    printf '%s\nsubjectAltName=%s\n' "$leaf" "$names" >expired.ext
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=old/index.txt\nnew_certs_dir=old\npolicy=p\nrand_serial=yes\n%s\n' \
        'default_md=sha256
[p]
commonName=supplied' >expired.cnf
    openssl ca -batch -notext -config expired.cnf -in expired.csr -cert authority.pem -keyfile authority.key \
        -startdate 200101000000Z -enddate 210101000000Z -extfile expired.ext -out expired.pem

    openssl pkcs8 -topk8 -in server.key -passout pass:secret -out encrypted.key
    openssl genrsa -out rsa.key 2048
    openssl req -x509 -new -key rsa.key -subj /CN=rsa -days 30 -out rsa.pem -addext "subjectAltName=$names" \
        -addext "$leaf"
    cat server.pem server.key >both.pem
} >log 2>&1 || { cat log >&2; exit 1; }
