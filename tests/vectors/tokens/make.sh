#!/usr/bin/env bash
# Makes the keys of this folder and signatures.json anew, with openssl alone: nothing of it comes from code of ours.
# They are for tests, and are published: use them for nothing else.
set -euo pipefail
cd "$(dirname "$0")"
rm -f ./*.pem ./*.key signatures.json
password=pass:open-sesame

for bits in 1024 2048 3072 4096; do
    openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "rsa-$bits.key"
    openssl pkey -in "rsa-$bits.key" -pubout -out "rsa-$bits.pem"
done
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key
openssl pkey -in ec.key -pubout -out ec.pem
openssl genpkey -quiet -algorithm ED25519 -out ed25519.key
openssl pkey -in ed25519.key -pubout -out ed25519.pem

# The key of 2048 bits in its other clothes.
openssl rsa -in rsa-2048.key -traditional -out rsa-2048.pkcs1.key
openssl rsa -in rsa-2048.key -RSAPublicKey_out -out rsa-2048.pkcs1.pem
openssl pkcs8 -topk8 -in rsa-2048.key -v2 aes-256-cbc -passout "$password" -out rsa-2048.encrypted.key
openssl rsa -in rsa-2048.key -traditional -aes128 -passout "$password" -out rsa-2048.pkcs1.encrypted.key
openssl req -x509 -new -key rsa-2048.key -subj "/CN=authorizer" -days 1 -out rsa-2048.certificate.pem
openssl req -x509 -new -key ec.key -subj "/CN=authorizer" -days 1 -out ec.certificate.pem

# Pairs of a token and its signature, by key.
{
    echo "{"
    comma=""
    for bits in 2048 3072 4096; do
        printf '%s "rsa-%s": [' "$comma" "$bits"
        inner=""
        for token in a 'allow-gateway-7' 'käse & brot=100% +/?#' 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJnYXRld2F5LTcifQ.'; do
            signature=$(printf '%s' "$token" | openssl dgst -sha256 -sign "rsa-$bits.key" | openssl base64 -A)
            printf '%s\n  ["%s", "%s"]' "$inner" "$token" "$signature"
            inner=","
        done
        printf '\n ]'
        comma=$',\n'
    done
    printf '\n}\n'
} >signatures.json
