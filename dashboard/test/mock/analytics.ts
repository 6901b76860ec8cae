// The analytics of the HTTP contract over the made-up log: small, but it really filters.

import type { Cell, Point, Row, Summary, TopRow } from "../../src/api/types";
import { parseFilter, type Filter } from "../../src/state/filters";
import { COLUMNS, RECORDS } from "./records";

const SECONDS: Record<string, number> = {
  minute: 60,
  "5m": 300,
  hour: 3600,
  day: 86_400,
  week: 604_800,
  year: 31_557_600,
};
const STATIC = /\.(css|js|svg|png|jpg|woff2?|ico)$/;

/** A request that the server refuses. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

export function analytics(endpoint: string, params: URLSearchParams, all: Row[]): unknown {
  const rows = matching(all, params);
  if (endpoint === "columns") return COLUMNS;
  if (endpoint === "summary") return summary(rows, params);
  if (endpoint === "timeseries") return timeseries(rows, params);
  if (endpoint === "status_classes") return classes(rows);
  if (endpoint === "records") return records(rows, params);
  if (endpoint.startsWith("top/")) return top(rows, endpoint.slice(4), params);
  throw new Refusal(404, `there is no /analytics/${endpoint}`);
}

export function matching(all: Row[], params: URLSearchParams): Row[] {
  const filters = params.getAll("filter").map((text) => {
    const filter = parseFilter(text);
    if (!filter) throw new Refusal(400, `the filter ${text} has no operator`);
    const known = COLUMNS.some(({ name }) => name === filter.column);
    if (!known) throw new Refusal(400, `the table has no column ${filter.column}`);
    return filter;
  });
  const start = Date.parse(params.get("start") ?? "0001-01-01T00:00:00Z");
  const end = endOf(params) ?? Infinity;
  return all.filter((row) => {
    const time = Date.parse(String(row["ts"]));
    return (
      time >= start &&
      time <= end &&
      chosen(params.get("bots"), row["ua_bot"] === true) &&
      chosen(params.get("static"), STATIC.test(String(row["path"]))) &&
      filters.every((filter) => fits(row, filter))
    );
  });
}

/** Of a date, the end of the day. */
function endOf(params: URLSearchParams): number | null {
  const end = params.get("end");
  if (end === null) return null;
  return Date.parse(end) + (/^\d{4}-\d\d-\d\d$/.test(end) ? 86_399_999 : 0);
}

function chosen(choice: string | null, has: boolean): boolean {
  return choice === "only" ? has : choice === "exclude" ? !has : true;
}

function fits(row: Row, { column, operator, value }: Filter): boolean {
  const cell = row[column] ?? null;
  const text = cell === null ? "" : String(cell);
  if (operator === "=") return text === value;
  if (operator === "!=") return text !== value;
  if (operator === "~") return text.includes(value);
  return operator === ">=" ? Number(text) >= Number(value) : Number(text) <= Number(value);
}

function summary(rows: Row[], params: URLSearchParams): Summary {
  const errors = rows.filter((row) => Number(row["status"]) >= 500).length;
  const times = latencies(rows);
  return {
    requests: rows.length,
    visitors: params.get("visitors") === "exclude" ? null : visitors(rows),
    bytes: bytes(rows),
    errors,
    error_rate: rows.length === 0 ? 0 : errors / rows.length,
    first: moments(rows)[0] ?? null,
    last: moments(rows).at(-1) ?? null,
    latency_ms:
      times.length === 0
        ? null
        : {
            p50: quantile(times, 0.5),
            p90: quantile(times, 0.9),
            p95: quantile(times, 0.95),
            p99: quantile(times, 0.99),
            max: times.at(-1) ?? null,
          },
    dead_letters: 123,
  };
}

function timeseries(rows: Row[], params: URLSearchParams) {
  const wanted = Number(params.get("points") ?? "300");
  const times = moments(rows);
  const first = Date.parse(params.get("start") ?? String(times[0])) / 1000;
  const last = (endOf(params) ?? Date.parse(String(times.at(-1)))) / 1000;
  const asked = params.get("interval") ?? "auto";
  const fitting = Object.keys(SECONDS).find((name) => (last - first) / step(name) <= wanted);
  const interval = asked === "auto" ? (fitting ?? "year") : asked;
  const width = step(interval);
  const buckets = new Map<number, Row[]>();
  if (rows.length > 0) {
    for (let at = Math.floor(first / width) * width; at <= last; at += width) buckets.set(at, []);
  }
  for (const row of rows) {
    const at = Math.floor(Date.parse(String(row["ts"])) / 1000 / width) * width;
    buckets.get(at)?.push(row);
  }
  const points = [...buckets].map(([at, inside]) => point(at, inside, params));
  const lastBegin = [...buckets.keys()].at(-1);
  const until = lastBegin === undefined ? null : iso(lastBegin + width);
  return { interval, points, until, outliers: outliers(times, params) };
}

/** Rows of other years than the fortnight of the log. */
function outliers(times: string[], params: URLSearchParams) {
  if (params.has("start") || params.has("end")) return null;
  const before = times.filter((time) => time < "2026-02-28").length;
  const after = times.filter((time) => time > "2026-03-15").length;
  if (before + after === 0) return null;
  return { before, after, start: "2026-02-28", end: "2026-03-14" };
}

function moments(rows: Row[]): string[] {
  return rows.map((row) => String(row["ts"])).sort();
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000", "");
}

function step(interval: string): number {
  return SECONDS[interval] ?? 3600;
}

function point(at: number, rows: Row[], params: URLSearchParams): Point {
  const counted = (name: string) => {
    return rows.filter((row) => String(row["status"])[0] === name).length;
  };
  const times = latencies(rows);
  return {
    ts: iso(at),
    requests: rows.length,
    visitors: params.get("visitors") === "exclude" ? null : visitors(rows),
    bytes: bytes(rows),
    s1xx: counted("1"),
    s2xx: counted("2"),
    s3xx: counted("3"),
    s4xx: counted("4"),
    s5xx: counted("5"),
    p50: quantile(times, 0.5),
    p95: quantile(times, 0.95),
    p99: quantile(times, 0.99),
  };
}

function classes(rows: Row[]) {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const name = `${String(row["status"])[0]}xx`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort().map(([name, count]) => ({ class: name, count }));
}

function records(rows: Row[], params: URLSearchParams) {
  const limit = Number(params.get("limit") ?? "100");
  const columns = COLUMNS.map(({ name }) => name);
  return { columns, rows: rows.slice(-limit).reverse() };
}

function top(rows: Row[], column: string, params: URLSearchParams): TopRow[] {
  if (!COLUMNS.some(({ name }) => name === column)) {
    throw new Refusal(404, `the table has no column ${column}`);
  }
  const groups = new Map<Cell, Row[]>();
  for (const row of rows) {
    const value = row[column] ?? null;
    groups.set(value, [...(groups.get(value) ?? []), row]);
  }
  const by = (params.get("by") ?? "count") as "count" | "bytes" | "visitors";
  const found = [...groups].map(([value, inside]) => {
    const isCounted = params.get("visitors") !== "exclude";
    const counted = isCounted ? visitors(inside) : null;
    return { value, count: inside.length, bytes: bytes(inside), visitors: counted };
  });
  found.sort((one, other) => (other[by] ?? 0) - (one[by] ?? 0));
  return found.slice(0, Number(params.get("limit") ?? "10"));
}

function bytes(rows: Row[]): number {
  return rows.reduce((sum, row) => sum + Number(row["bytes"]), 0);
}

function visitors(rows: Row[]): number {
  const day = (row: Row) => String(row["ts"]).slice(0, 10);
  return new Set(rows.map((row) => `${row["ip"]} ${day(row)} ${row["user_agent"]}`)).size;
}

function latencies(rows: Row[]): number[] {
  return rows.map((row) => Number(row["response_time_ms"])).sort((one, other) => one - other);
}

function quantile(sorted: number[], part: number): number | null {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? null;
}

export { RECORDS };
