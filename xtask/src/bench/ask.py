"""Asks a server every question of its dashboard, for each day in turn, each time of other rows.

    python ask.py URL DAYS LOG

DAYS is the number of days of the log LOG, which begins at its first line. Prints four figures: the
milliseconds of the first answer, the 95th percentile of the question for which it is largest, the
longest of all but the first, and the seconds that GoAccess takes for one question of the same kind
(nan where it is not installed): the lines of one day with one status, which grep picks out of the
log for it. What each question takes goes to stderr. Standard library only.
"""

import datetime
import itertools
import json
import math
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

# What the page asks for when it is opened, and what a click on a value makes it ask again.
QUESTIONS = [
    "summary",
    "timeseries?points=400",
    "status_classes",
    "latency",
    "bytes",
    "records?limit=20",
    "top_ips",
    "error_rate",
    "top/endpoint?limit=9&by=visitors",
    *(f"top/{column}?limit=9&visitors=exclude" for column in
      ("endpoint", "ip", "country", "referrer", "status", "method", "ua_browser", "ua_os")),
]
FILTERS = ["status=404", "method=POST", "status>=500", "path=/", "referrer=-", "protocol=HTTP/1.1"]


def first_day(log):
    with open(log, encoding="utf-8", errors="replace") as lines:
        moment = lines.readline().split("[", 1)[1].split("]", 1)[0]
    return datetime.datetime.strptime(moment, "%d/%b/%Y:%H:%M:%S %z").date()


def answer_milliseconds(url, question, day, condition):
    scope = {"start": f"{day}T00:00:00Z", "end": f"{day}T23:59:59.999999Z", "filter": condition}
    joint = "&" if "?" in question else "?"
    address = f"{url}/analytics/{question}{joint}{urllib.parse.urlencode(scope)}"
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(address) as answer:
            json.load(answer)
    except urllib.error.HTTPError as refused:
        # A column that this table does not have.
        if refused.code != 404:
            raise
        return None
    return (time.monotonic() - begun) * 1e3


def goaccess_seconds(log, day):
    if shutil.which("goaccess") is None:
        return math.nan
    pick = f"grep -F '[{day:%d/%b/%Y}:' \"$0\" | grep -F '\" 404 ' | "
    report = "goaccess --no-progress --log-format=COMBINED -o json -"
    begun = time.monotonic()
    subprocess.run(["sh", "-c", pick + report, log], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def percentile_95(times):
    return sorted(times)[int(len(times) * 0.95)]


def main(url, days, log):
    day = first_day(log)
    conditions = itertools.cycle(FILTERS)
    times = {question: [] for question in QUESTIONS}
    first = None
    for number in range(int(days)):
        condition = next(conditions)
        asked = day + datetime.timedelta(days=number)
        for question in QUESTIONS:
            took = answer_milliseconds(url, question, asked, condition)
            if first is None:
                first = took
            elif took is not None:
                times[question].append(took)
    times = {question: took for question, took in times.items() if took}
    for question, took in times.items():
        most = percentile_95(took)
        print(f"{question}: p95 {most:.0f} ms, longest {max(took):.0f} ms", file=sys.stderr)
    longest = max(max(took) for took in times.values())
    print(first, max(map(percentile_95, times.values())), longest,
          goaccess_seconds(log, day + datetime.timedelta(days=1)))


main(*sys.argv[1:])
