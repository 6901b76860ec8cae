# Runs a server for as long as our standard input stays open: it closes when whoever started us
# ends, in whatever way. Then the server is stopped by its pid, and its folder removed.
# A server that somebody killed starts again, on the same folder; one that ends by itself does not.
# Usage: guard.sh FOLDER SIGNAL PROGRAM ARGUMENT...
folder=$1 signal=$2
shift 2
exec 3<&0
tries=0
while :; do
    "$@" </dev/null >>"$folder/log" 2>&1 3<&- &
    server=$!
    echo "$server" >"$folder/pid"
    {
        read -r _ <&3
        : >"$folder/stopping"
        kill -s "$signal" "$server"
        sleep 20
        kill -s KILL "$server"
    } >"$folder/guard.log" 2>&1 &
    watch=$!
    wait "$server"
    status=$?
    kill "$watch" 2>>"$folder/guard.log"
    [ -e "$folder/stopping" ] && break
    # What a killed server leaves (shared memory, locks) may refuse the first starts.
    [ "$status" -eq 137 ] && tries=50
    [ "$tries" -gt 0 ] || exit 1
    tries=$((tries - 1))
    sleep 0.2
done
rm -rf "$folder"
# The last one also removes the folder of them all.
rmdir "${folder%/*}" 2>/dev/null
