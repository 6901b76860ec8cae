import { describe, expect, test } from "vitest";

import { parseFilter, type Filter } from "../../src/state/filters";
import { analyticsParams, formatState, isNarrowed, parseState, START } from "../../src/state/url";

const NOW = new Date("2026-03-10T12:00:00.500Z");
const params = (search: string) =>
  decodeURIComponent(String(analyticsParams(parseState(search), NOW)));

describe("the state", () => {
  test("of an empty address is the start", () => {
    expect(parseState("")).toEqual(START);
    expect(formatState(START)).toBe("");
  });

  test("survives its address", () => {
    const state = {
      ...START,
      view: "live" as const,
      start: "2026-03-01T00:00:00Z",
      end: "2026-03-02T10:30:00Z",
      filters: [parseFilter("endpoint=/a?b=c&d=é"), parseFilter("country=")] as Filter[],
      bots: "exclude" as const,
      statics: "only" as const,
      interval: "5m" as const,
      by: "visitors" as const,
      pipeline: "web logs/1",
      letters: { state: "all", sink: "lake", reason: "column 4 & more", page: 3 },
    };
    expect(parseState(formatState(state))).toEqual(state);
  });

  test.each([
    ["?view=nonsense&bots=perhaps&interval=decade", ""],
    ["?start=yesterday", ""],
    ["?filter=nonsense&filter=status=404", "?filter=status%3D404"],
    ["?page=-3", ""],
    ["?page=1.5", ""],
    ["?range=24h&start=2026-03-01", "?start=2026-03-01"],
    ["?start=2026-03-01&end=2026-13-01", "?start=2026-03-01"],
    ["?start=2026-03-01T10:00:00", "?start=2026-03-01T10%3A00%3A00Z"],
    ["?start=2026-03-01T10:00:00%2B02:00", "?start=2026-03-01T08%3A00%3A00Z"],
  ])("of %j is that of %j", (search, normal) => {
    expect(formatState(parseState(search))).toBe(normal);
  });

  test("of too many filters keeps what the server takes", () => {
    const search = `?${Array.from({ length: 30 }, (_, at) => `filter=ip!=${at}`).join("&")}`;
    expect(parseState(search).filters).toHaveLength(20);
  });
});

describe("a request", () => {
  test.each([
    ["", ""],
    ["?range=24h", "start=2026-03-09T12:00:00Z"],
    ["?start=2026-03-01&end=2026-03-02", "start=2026-03-01&end=2026-03-02"],
    ["?filter=status=404&filter=ip!=1.2.3.4", "filter=status=404&filter=ip!=1.2.3.4"],
    ["?bots=exclude&static=only", "bots=exclude&static=only"],
    ["?view=live&by=bytes&pipeline=x", ""],
  ])("of the page %j asks for %j", (search, expected) => {
    expect(params(search)).toBe(expected);
  });

  test("is narrowed by what leaves rows out, and by nothing else", () => {
    expect(isNarrowed(parseState("?view=live&by=bytes"))).toBe(false);
    for (const search of ["?range=1h", "?end=2026-01-01", "?bots=only", "?filter=a=b"]) {
      expect(isNarrowed(parseState(search)), search).toBe(true);
    }
  });
});
