"""Types a query into the SQL shell, several times, and prints the seconds of the quickest answer.

    python shell.py SQL COMMAND [ARGUMENT ...]

The shell says after each answer how long it took. Only Python's standard library is used.
"""

import os
import pty
import re
import sys

ROUNDS = 6
SAID = re.compile(rb"\d+ rows?, (\d+\.\d+) s")
PROMPT = b"logmill> "


def read_until(terminal, wanted):
    """What the shell writes until `wanted(text)` says something; it ends with an error if not."""
    text = b""
    while not (found := wanted(text)):
        text += os.read(terminal, 65536)
    return found


def main(sql, command):
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    read_until(terminal, lambda text: PROMPT in text)
    seconds = []
    for _ in range(ROUNDS):
        os.write(terminal, sql.encode() + b";\r")
        seconds.append(float(read_until(terminal, SAID.search).group(1)))
    os.write(terminal, b"\\q\r")
    os.close(terminal)
    os.waitpid(child, 0)
    print(min(seconds))


main(sys.argv[1], sys.argv[2:])
