#!/bin/sh
# Runs MirrorMaker 2 on a Java machine of modest size.
installed=$(dirname "$0")
exec java -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$installed/log4j2.properties" \
    -cp "$installed/lib/*" org.apache.kafka.connect.mirror.MirrorMaker "$1"
