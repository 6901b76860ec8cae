// A fortnight of a made-up access log, the same in every run.

import type { Column, Row } from "../../src/api/types";

export const FIRST = Date.UTC(2026, 2, 1);
export const DAYS = 14;
const COUNT = 8000;

export const COLUMNS: Column[] = [
  { name: "ts", type: "time", filterable: true },
  { name: "ip", type: "text", filterable: true },
  { name: "method", type: "text", filterable: true },
  { name: "endpoint", type: "text", filterable: true },
  { name: "path", type: "text", filterable: true },
  { name: "status", type: "number", filterable: true },
  { name: "bytes", type: "number", filterable: true },
  { name: "response_time_ms", type: "number", filterable: true },
  { name: "referrer", type: "text", filterable: true },
  { name: "user_agent", type: "text", filterable: true },
  { name: "ua_browser", type: "text", filterable: true },
  { name: "ua_os", type: "text", filterable: true },
  { name: "ua_device", type: "text", filterable: true },
  { name: "ua_bot", type: "boolean", filterable: true },
  { name: "country", type: "text", filterable: true },
  { name: "_split", type: "text", filterable: false },
  { name: "_position", type: "number", filterable: false },
];

const PATHS: [string, number][] = [
  ["/", 16],
  ["/products", 12],
  ["/api/orders", 9],
  ["/api/cart", 8],
  ["/static/site.css", 12],
  ["/static/app.js", 11],
  ["/images/logo.svg", 9],
  ["/search", 7],
  ["/blog/exactly-once", 5],
  ["/blog/<script>alert(1)</script>", 1],
  ["/robots.txt", 3],
  ["/wp-login.php", 3],
  ["/api/payments", 3],
];
const AGENTS: [[string, string, string, boolean], number][] = [
  [["Chrome", "Windows", "Other", false], 34],
  [["Firefox", "Linux", "Other", false], 14],
  [["Safari", "Mac OS X", "Mac", false], 16],
  [["Mobile Safari", "iOS", "iPhone", false], 18],
  [["Googlebot", "Other", "Spider", true], 11],
  [["bingbot", "Other", "Spider", true], 7],
];
const COUNTRIES: [string | null, number][] = [
  ["Germany", 30],
  ["United States", 26],
  ["France", 12],
  ["India", 10],
  ["Brazil", 7],
  ["Japan", 5],
  [null, 4],
];
const REFERRERS: [string | null, number][] = [
  [null, 50],
  ["https://www.google.com/", 22],
  ["https://news.example.org/item?id=42", 12],
  ["https://shop.example/products", 16],
];

export const RECORDS: Row[] = make();

function make(): Row[] {
  const random = generator(7);
  const rows: Row[] = [];
  for (let at = 0; at < COUNT; at += 1) {
    const time = FIRST + spread((at + random()) / COUNT) * DAYS * 86_400_000;
    rows.push(row(at, new Date(time), random));
  }
  return rows.sort((one, other) => String(one["ts"]).localeCompare(String(other["ts"])));
}

function row(at: number, time: Date, random: () => number): Row {
  const [browser, system, device, isBot] = pick(AGENTS, random());
  const path = pick(PATHS, random());
  const isOutage = time.getUTCDate() === 9 && time.getUTCHours() >= 14 && time.getUTCHours() < 17;
  const status = statusOf(path, random(), isOutage);
  const base = path.startsWith("/api") ? 60 : 9;
  return {
    ts: time.toISOString().replace(/\.\d+Z/, "Z"),
    ip: `203.0.113.${Math.floor(random() ** 2.2 * 120) + 1}`,
    method: path.startsWith("/api") && random() < 0.4 ? "POST" : "GET",
    endpoint: path,
    path: path,
    status,
    bytes: Math.floor(400 + random() ** 3 * (path.startsWith("/images") ? 90_000 : 24_000)),
    response_time_ms: Math.round((base + random() ** 6 * 900) * (isOutage ? 4 : 1)),
    referrer: pick(REFERRERS, random()),
    user_agent: `${browser}/1.0 (${system})`,
    ua_browser: browser,
    ua_os: system,
    ua_device: device,
    ua_bot: isBot,
    country: pick(COUNTRIES, random()),
    _split: "access.log",
    _position: at * 100,
  };
}

function statusOf(path: string, chance: number, isOutage: boolean): number {
  if (path === "/wp-login.php") return 404;
  if (isOutage && chance < 0.45) return 503;
  if (chance < 0.008) return 500;
  if (chance < 0.05) return 404;
  if (chance < 0.1) return 304;
  if (chance < 0.13) return 301;
  return path === "/api/orders" && chance > 0.9 ? 201 : 200;
}

/** Nights are quiet. */
function spread(part: number): number {
  return part + (Math.sin(part * DAYS * 2 * Math.PI - 2.2) * 0.7) / (DAYS * 2 * Math.PI);
}

function pick<T>(choices: [T, number][], chance: number): T {
  const total = choices.reduce((sum, [, weight]) => sum + weight, 0);
  let rest = chance * total;
  for (const [choice, weight] of choices) {
    rest -= weight;
    if (rest < 0) return choice;
  }
  return (choices.at(-1) as [T, number])[0];
}

/** Mulberry32: small, and the same on every machine. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
