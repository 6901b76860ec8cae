import { describe, expect, test } from "vitest";

import * as format from "../../src/format";

const HOUR = 3600;
const DAY = 24 * HOUR;
const at = (text: string) => Date.parse(text) / 1000;

describe("a number", () => {
  test.each([
    [null, "–"],
    [0, "0"],
    [0.25, "0.25"],
    [9999, "9,999"],
    [12_345, "12.3K"],
    [4_500_000, "4.5M"],
  ])("%j is short as %j", (value, text) => expect(format.shortCount(value)).toBe(text));

  test.each([
    [null, "–"],
    [999, "999 B"],
    [1500, "1.5 kB"],
    [123_456_789, "123 MB"],
    [5e15, "5 PB"],
    [5e18, "5,000 PB"],
  ])("of %j bytes is %j", (value, text) => expect(format.bytes(value)).toBe(text));

  test.each([
    [0, "0.0 %"],
    [0.000001, "<0.01 %"],
    [0.0069, "0.69 %"],
    [0.5, "50.0 %"],
    [1, "100.0 %"],
    [Number.NaN, "–"],
  ])("%j is a share of %j", (value, text) => expect(format.percent(value)).toBe(text));

  test.each([
    [0.4, "0.4 ms"],
    [60, "60 ms"],
    [1500, "1.5 s"],
    [600_000, "10 min"],
  ])("of %j milliseconds is %j", (value, text) => expect(format.milliseconds(value)).toBe(text));
});

describe("a time", () => {
  test("is UTC wherever one is", () => {
    expect(format.time("2026-03-09T23:05:03Z")).toBe("9 Mar 2026 23:05:03");
    expect(format.time("2026-03-09T23:05:03-02:00")).toBe("10 Mar 2026 01:05:03");
    expect(format.time("2026-03-09T23:05:03")).toBe("9 Mar 2026 23:05:03");
  });

  test.each([null, undefined, "", "soon"])("%j is none", (text) => {
    expect(format.time(text)).toBe("–");
  });

  test("at midnight is a day", () => {
    expect(format.shortTime("2026-03-09T00:00:00Z")).toBe("9 Mar 2026");
    expect(format.shortTime("2026-03-09T00:01:00Z")).toBe("9 Mar 2026 00:01");
  });

  test.each([
    ["2026-02-28T21:50:00Z", "2026-03-14T21:49:00Z", "28 Feb – 14 Mar 2026"],
    ["2025-12-31T00:00:00Z", "2026-01-01T00:00:00Z", "31 Dec 2025 – 1 Jan 2026"],
    ["2026-03-09T10:00:00Z", "2026-03-09T12:30:00Z", "9 Mar 2026, 10:00 – 12:30"],
  ])("from %s to %s is %j", (first, last, text) => expect(format.span(first, last)).toBe(text));

  test("is told from now", () => {
    const now = Date.parse("2026-03-09T12:00:00Z");
    expect(format.ago("2026-03-09T11:59:30Z", now)).toBe("30 s ago");
    expect(format.ago("2026-03-09T13:00:00Z", now)).toBe("in 60 min");
    expect(format.ago("2026-03-09T12:00:00Z", now)).toBe("now");
  });
});

describe("the labels of an axis say only what is new", () => {
  test.each([
    [HOUR, ["2026-03-09T22:00Z", "2026-03-09T23:00Z", "2026-03-10T00:00Z"]],
    [DAY, ["2025-12-31T00:00Z", "2026-01-01T00:00Z", "2026-01-02T00:00Z"]],
    [31 * DAY, ["2025-12-01T00:00Z", "2026-01-01T00:00Z"]],
    [30, ["2026-03-09T22:00:30Z", "2026-03-09T22:01:00Z"]],
  ])("every %i seconds", (step, times) => {
    const expected: Record<number, string[]> = {
      [HOUR]: ["22:00\n9 Mar 2026", "23:00", "00:00\n10 Mar"],
      [DAY]: ["31 Dec\n2025", "1 Jan\n2026", "2 Jan"],
      [31 * DAY]: ["Dec\n2025", "Jan\n2026"],
      30: ["22:00:30\n9 Mar 2026", "22:01:00"],
    };
    expect(format.axisLabels(times.map(at), step)).toEqual(expected[step]);
  });
});
