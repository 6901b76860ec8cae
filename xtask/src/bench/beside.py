"""What DuckDB needs for the same work, in seconds: the quickest of six rounds, without its start.

    python beside.py convert LOG PARQUET     reads the log as CSV, writes Parquet with zstd
    python beside.py top-paths-of-log LOG    reads the log as CSV
    python beside.py QUERY TABLE             over the current Parquet files of a lake table
"""

import sys
import time

import duckdb
from deltalake import DeltaTable

# A combined log as CSV: blanks between the fields, quotes around the long ones. The time is two
# fields; bad lines are skipped, and good ones near them, too.
LOG = """
    read_csv('{log}', delim=' ', quote='"', escape='\\', header=false, nullstr='-',
             auto_detect=false, strict_mode=false, ignore_errors=true, null_padding=false,
             columns={{'ip': 'VARCHAR', 'ident': 'VARCHAR', 'user': 'VARCHAR', 'clock': 'VARCHAR',
                      'zone': 'VARCHAR', 'request': 'VARCHAR', 'status': 'INTEGER',
                      'bytes': 'BIGINT', 'referrer': 'VARCHAR', 'user_agent': 'VARCHAR'}})
"""
ENDPOINT = "split_part(request, ' ', 2)"
CONVERT = f"""
    COPY (SELECT ip, ident, "user", strptime(clock, '[%d/%b/%Y:%H:%M:%S') AS ts,
                 split_part(request, ' ', 1) AS method, {ENDPOINT} AS endpoint,
                 split_part({ENDPOINT}, '?', 1) AS path, split_part({ENDPOINT}, '?', 2) AS query,
                 split_part(request, ' ', 3) AS protocol, status, bytes, referrer, user_agent
          FROM {LOG})
    TO '{{parquet}}' (FORMAT parquet, CODEC zstd)
"""
TOP_PATHS_OF_LOG = f"""
    SELECT split_part({ENDPOINT}, '?', 1) AS path, count(*) AS hits FROM {LOG}
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10
"""
QUERIES = {
    "status": "SELECT status, count(*) AS hits FROM {table} GROUP BY 1 ORDER BY 1",
    # As text: Python would need another package for times with a zone.
    "hours": """SELECT CAST(hour AS VARCHAR), hits FROM (
                    SELECT date_trunc('hour', ts) AS hour, count(*) AS hits FROM {table} GROUP BY 1)""",
    "paths": "SELECT path, count(*) AS hits FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
}
ROUNDS = 6


def quickest(connection, sql):
    seconds = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        connection.execute(sql).fetchall()
        seconds.append(time.monotonic() - begun)
    return min(seconds)


def main(work, *names):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    match work:
        case "convert":
            log, parquet = names
            connection.execute(CONVERT.format(log=log, parquet=parquet))
        case "top-paths-of-log":
            connection.execute(TOP_PATHS_OF_LOG.format(log=names[0])).fetchall()
        case query:
            files = DeltaTable(names[0]).file_uris()
            table = f"read_parquet({[uri.removeprefix('file://') for uri in files]})"
            print(quickest(connection, QUERIES[query].format(table=table)))


main(*sys.argv[1:])
