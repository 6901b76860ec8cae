# An authority, and a server's and a client's certificate that it signed.
set -eu
cd "$1"
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=test authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt
for name in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    {
        echo "basicConstraints=CA:FALSE"
        echo "subjectAltName=DNS:localhost,IP:127.0.0.1"
        echo "extendedKeyUsage=serverAuth,clientAuth"
    } >"$name.ext"
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 \
        -sha256 -extfile "$name.ext" -out "$name.crt"
done
cat server.key server.crt ca.crt >server.pem
