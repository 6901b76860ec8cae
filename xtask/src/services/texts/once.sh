# Runs a program to its end, or until our standard input closes: it does when whoever started us
# ends, in whatever way.
# Usage: once.sh PROGRAM ARGUMENT...
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; kill "$child"; } >/dev/null 2>&1 &
watch=$!
wait "$child"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
