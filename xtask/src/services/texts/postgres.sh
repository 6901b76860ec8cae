# Makes an empty cluster. Run as root, the user `postgres` will own it.
# Usage: postgres.sh FOLDER PROGRAMS CERTIFICATES [RUN-AS...]
set -eu
folder=$1 programs=$2 certificates=$3
shift 3
cp "$certificates/server.crt" "$certificates/server.key" "$folder"
chmod 600 "$folder/server.key"
printf %s secret >"$folder/password"
if [ $# -gt 0 ]; then
    chown -R postgres:postgres "$folder"
fi
cd "$folder"
"$@" "$programs/initdb" -D data -U postgres --pwfile=password -A scram-sha-256 -E UTF8 \
    --locale=C.UTF-8 -k
echo "include '$folder/postgresql.conf'" >>data/postgresql.conf
