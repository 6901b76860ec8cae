"""How long a first look at a log takes, from its start to answers about every row of it, and what
GoAccess takes for its report of the same file right after.

    python look.py PROGRAM LOG DATA REPORT

Prints seven figures. Seconds from the start of `logmill look`: until it says its address, until the
first rows are seen, until all rows are in the table, until every panel of the dashboard is there but
the count of visitors, until that is there too. Then the milliseconds that these questions take when
they are asked again, and the seconds of GoAccess (nan where it is not installed). Standard library
only.
"""

import concurrent.futures
import json
import math
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

# What the page asks for when it is opened, as it asks: visitors last.
PANELS = [
    "summary?visitors=exclude",
    "timeseries?interval=auto&points=400&visitors=exclude",
    "status_classes",
    *(f"top/{column}?limit=9&visitors=exclude" for column in
      ("endpoint", "ip", "referrer", "ua_browser", "ua_os", "status", "method", "ua_device")),
    "status_classes?filter=status%3E%3D500&filter=status%3C%3D599",
    "top/endpoint?filter=status%3E%3D500&filter=status%3C%3D599&visitors=exclude&limit=8",
    "records?filter=status%3E%3D500&filter=status%3C%3D599&limit=15",
]
VISITORS = ["summary", "timeseries?interval=auto&points=400"]
# A browser has so many connections to a host.
CONNECTIONS = 6
LOOK_EVERY = 0.05


def get(url, path):
    with urllib.request.urlopen(f"{url}/{path}") as answer:
        return json.load(answer)


def requests(url):
    try:
        return get(url, "analytics/summary?visitors=exclude")["requests"]
    except urllib.error.HTTPError as none_yet:
        if none_yet.code != 404:
            raise
        return 0


def ask_all(url, questions):
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as asking:
        return list(asking.map(lambda question: get(url, f"analytics/{question}"), questions))


def look(program, log, data):
    begun = time.monotonic()
    since = lambda: time.monotonic() - begun
    command = [program, "--quiet", "--data", data, "look", log, "--no-open"]
    looking = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        url = looking.stdout.readline().strip().rstrip("/")
        if not url:
            sys.exit(f"{command} said no address")
        times = [since()]
        # Once: to ask again and again would take from the milling.
        while requests(url) == 0:
            time.sleep(LOOK_EVERY)
        times.append(since())
        while not (milling := get(url, "session")["milling"])["done"]:
            time.sleep(LOOK_EVERY)
        times.append(since())
        answers = ask_all(url, PANELS)
        times.append(since())
        ask_all(url, VISITORS)
        times.append(since())
        again = time.monotonic()
        ask_all(url, PANELS + VISITORS)
        times.append((time.monotonic() - again) * 1e3)
        seen = answers[0]["requests"]
        if seen + milling["refused"] != milling["read"]:
            sys.exit(f"{seen} rows are seen of {milling}")
        return times
    finally:
        looking.terminate()
        looking.wait()


def goaccess(log, report):
    if shutil.which("goaccess") is None:
        return math.nan
    begun = time.monotonic()
    subprocess.run(["goaccess", log, "--no-progress", "--log-format=COMBINED", "-o", report],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def main(program, log, data, report):
    print(*look(program, log, data), goaccess(log, report))


main(*sys.argv[1:])
