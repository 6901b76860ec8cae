#!/bin/sh
# Runs rsyslog from where its packages are unpacked, in the foreground and without a pid file.
unpacked=$(dirname "$0")
LD_LIBRARY_PATH=$(echo "$unpacked"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
exec "$unpacked/usr/sbin/rsyslogd" -n -iNONE -M "$LD_LIBRARY_PATH/rsyslog" -f "$1"
