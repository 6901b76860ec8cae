import { describe, expect, test } from "vitest";

import { chartSpec } from "../../src/chart/options";
import { stack, wholeIntervals } from "../../src/chart/shape";

const HOURS = [0, 3600, 7200, 10_800];

test("a stack ends with the sums", () => {
  expect(
    stack([
      [1, 2],
      [3, 4],
      [5, 6],
    ]),
  ).toEqual([
    [1, 2],
    [4, 6],
    [9, 12],
  ]);
  expect(stack([])).toEqual([]);
});

describe("a marked stretch", () => {
  test.each([
    [
      { start: 3700, end: 7300 },
      { start: 3600, end: 10_799 },
    ],
    [
      { start: 3700, end: 3710 },
      { start: 3600, end: 7199 },
    ],
    [
      { start: -500, end: 99_999 },
      { start: 0, end: 14_399 },
    ],
  ])("%j shows the whole intervals %j", (marked, whole) => {
    expect(wholeIntervals(HOURS, 14_400, marked)).toEqual(whole);
  });

  test("of a single point is its interval", () => {
    const marked = { start: 7300, end: 7400 };
    expect(wholeIntervals([7200], 7260, marked)).toEqual({ start: 7200, end: 7259 });
  });
});

test("months are as long as they are", () => {
  const begin = (month: number) => Date.UTC(2026, month) / 1000;
  const months = [0, 1, 2].map(begin);
  const marked = { start: begin(1) + 86_400, end: begin(2) + 86_400 };
  const whole = { start: begin(1), end: begin(3) - 1 };
  expect(wholeIntervals(months, begin(3), marked)).toEqual(whole);
  const parts = { unit: "count" as const, format: String, series: [], title: "" };
  const spec = chartSpec({ ...parts, kind: "lines", times: months, until: begin(3) });
  expect(spec.drawn[1]).toBe((begin(1) + begin(2)) / 2);
});

test("a chart says what a look at it says", () => {
  const spec = chartSpec({
    title: "Requests",
    times: HOURS,
    until: 14_400,
    unit: "count",
    kind: "stack",
    format: String,
    series: [
      { label: "2xx", color: "--a", values: [1, 9, 3, 4] },
      { label: "5xx", color: "--b", values: [0, 1, 0, null] },
    ],
  });
  expect(spec.summary).toBe(
    "Requests: 4 points from 1 Jan 1970 to 1 Jan 1970 03:00 UTC; 2xx at most 9, 5xx at most 1.",
  );
  expect(spec.describe(1)).toBe("1 Jan 1970 01:00: 2xx 9, 5xx 1");
  // The highest row is drawn first, and those below it over it.
  expect(spec.data.slice(1)).toEqual([
    [1, 10, 3, 4],
    [1, 9, 3, 4],
  ]);
});
