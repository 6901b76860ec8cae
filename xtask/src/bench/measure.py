"""Runs a command and prints what it cost: seconds, CPU seconds (user and system), bytes of memory.

    python measure.py OUTPUT COMMAND [ARGUMENT ...]

The command's standard output goes to the file OUTPUT. Only Python's standard library is used.
"""

import os
import sys
import time


def main(output, command):
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    begun = time.monotonic()
    child = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)]
    )
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - begun
    print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
    return os.waitstatus_to_exitcode(status)


sys.exit(main(sys.argv[1], sys.argv[2:]))
