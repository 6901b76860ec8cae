// The state of the page is its address: this module reads and writes it. Pure.

import { FILTERS_MAX, formatFilter, parseFilter, type Filter } from "./filters";

export const VIEWS = ["traffic", "live", "pipelines"] as const;
export const RANGES = ["1h", "24h", "7d", "30d"] as const;
export const CHOICES = ["include", "exclude", "only"] as const;
export const INTERVALS = ["auto", "minute", "5m", "hour", "day", "week", "month", "year"] as const;
export const MEASURES = ["count", "bytes", "visitors"] as const;

export type View = (typeof VIEWS)[number];
export type Range = (typeof RANGES)[number];
export type Choice = (typeof CHOICES)[number];
export type Interval = (typeof INTERVALS)[number];
export type Measure = (typeof MEASURES)[number];

export interface PageState {
  view: View;
  /** The last hours or days; set only where `start` and `end` are not. */
  range: Range | null;
  start: string | null;
  end: string | null;
  filters: Filter[];
  bots: Choice;
  statics: Choice;
  interval: Interval;
  by: Measure;
  pipeline: string | null;
  /** Of the dead letters. */
  letters: { state: string; sink: string; reason: string; page: number };
}

const HOURS: Record<Range, number> = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };
const PAGE_MAX = 1_000_000;

export const START: PageState = {
  view: "traffic",
  range: null,
  start: null,
  end: null,
  filters: [],
  bots: "include",
  statics: "include",
  interval: "auto",
  by: "count",
  pipeline: null,
  letters: { state: "open", sink: "", reason: "", page: 0 },
};

/** What it does not understand it leaves at the default: an old link still opens. */
export function parseState(search: string): PageState {
  const params = new URLSearchParams(search);
  const start = timeOf(params.get("start"));
  const end = timeOf(params.get("end"));
  const filters = params.getAll("filter").map(parseFilter);
  const page = Number(params.get("page") ?? "1") - 1;
  return {
    view: oneOf(VIEWS, params.get("view"), START.view),
    range: start || end ? null : oneOf<Range | null>(RANGES, params.get("range"), null),
    start,
    end,
    filters: filters.filter((filter) => filter !== null).slice(0, FILTERS_MAX),
    bots: oneOf(CHOICES, params.get("bots"), START.bots),
    statics: oneOf(CHOICES, params.get("static"), START.statics),
    interval: oneOf(INTERVALS, params.get("interval"), START.interval),
    by: oneOf(MEASURES, params.get("by"), START.by),
    pipeline: params.get("pipeline") || null,
    letters: {
      state: params.get("state") ?? START.letters.state,
      sink: params.get("sink") ?? "",
      reason: params.get("reason") ?? "",
      page: Number.isInteger(page) && page > 0 && page < PAGE_MAX ? page : 0,
    },
  };
}

/** The query with its `?`, or nothing; what stands at its default is left out. */
export function formatState(state: PageState): string {
  const params = new URLSearchParams();
  const put = (name: string, value: string | null, normal: string | null) => {
    if (value !== null && value !== normal) params.set(name, value);
  };
  put("view", state.view, START.view);
  put("range", state.range, null);
  put("start", state.start, null);
  put("end", state.end, null);
  for (const filter of state.filters) params.append("filter", formatFilter(filter));
  put("bots", state.bots, START.bots);
  put("static", state.statics, START.statics);
  put("interval", state.interval, START.interval);
  put("by", state.by, START.by);
  put("pipeline", state.pipeline, null);
  put("state", state.letters.state, START.letters.state);
  put("sink", state.letters.sink, "");
  put("reason", state.letters.reason, "");
  put("page", String(state.letters.page + 1), "1");
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** The filters as every analytics endpoint takes them. */
export function analyticsParams(state: PageState, now: Date): URLSearchParams {
  const params = new URLSearchParams();
  if (state.range) {
    params.set("start", isoTime(new Date(now.getTime() - HOURS[state.range] * 3_600_000)));
  }
  if (state.start) params.set("start", state.start);
  if (state.end) params.set("end", state.end);
  for (const filter of state.filters) params.append("filter", formatFilter(filter));
  if (state.bots !== "include") params.set("bots", state.bots);
  if (state.statics !== "include") params.set("static", state.statics);
  return params;
}

/** Whether anything narrows what is counted. */
export function isNarrowed(state: PageState): boolean {
  const { range, start, end, filters, bots, statics } = state;
  const ranged = range !== null || start !== null || end !== null;
  return ranged || filters.length > 0 || bots !== "include" || statics !== "include";
}

/** Seconds are enough, and shorter in an address. */
export function isoTime(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, "Z");
}

/** A date stays one: for the server it is the whole day. */
function timeOf(text: string | null): string | null {
  if (!text) return null;
  if (isDate(text)) return Number.isNaN(Date.parse(text)) ? null : text;
  const hasZone = /([zZ]|[+-]\d\d:?\d\d)$/.test(text);
  const time = new Date(hasZone ? text : `${text}Z`);
  return Number.isNaN(time.getTime()) ? null : isoTime(time);
}

export function isDate(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text);
}

function oneOf<T>(known: readonly T[], text: unknown, normal: T): T {
  return known.includes(text as T) ? (text as T) : normal;
}
