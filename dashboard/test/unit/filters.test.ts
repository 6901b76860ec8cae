import { describe, expect, test } from "vitest";

import {
  addFilter,
  describe as describeFilter,
  FILTERS_MAX,
  formatFilter,
  negate,
  parseFilter,
  statusClass,
  type Filter,
} from "../../src/state/filters";

const filter = (text: string) => parseFilter(text) as Filter;
const texts = (filters: Filter[]) => filters.map(formatFilter);

describe("a filter", () => {
  test.each([
    ["status=404", ["status", "=", "404"]],
    ["status!=200", ["status", "!=", "200"]],
    ["status>=500", ["status", ">=", "500"]],
    ["endpoint~/api/?a=b", ["endpoint", "~", "/api/?a=b"]],
    ["country=", ["country", "=", ""]],
    ["referrer=https://a.example/?x!=1", ["referrer", "=", "https://a.example/?x!=1"]],
    ["user_agent=two\nlines", ["user_agent", "=", "two\nlines"]],
  ])("is read from %j and written back", (text, [column, operator, value]) => {
    expect(parseFilter(text)).toEqual({ column, operator, value });
    expect(formatFilter(filter(text))).toBe(text);
  });

  test.each(["", "status", "=404", "1x=2", "a b=c"])("is not %j", (text) => {
    expect(parseFilter(text)).toBeNull();
  });

  test.each([
    ["status=404", "status!=404"],
    ["status!=404", "status=404"],
    ["status>=500", "status<=499"],
    ["status<=499", "status>=500"],
  ])("%j has the opposite %j", (text, opposite) => {
    expect(formatFilter(negate(filter(text)) as Filter)).toBe(opposite);
  });

  test.each(["endpoint~/api", "ts>=2026-01-01"])("%j has no opposite", (text) => {
    expect(negate(filter(text))).toBeNull();
  });

  test("says what it does", () => {
    expect(describeFilter(filter("country="))).toBe("country is empty");
    expect(describeFilter(filter("status>=500"))).toBe("status at least 500");
  });
});

describe("a list of filters", () => {
  test("holds a filter once, and never beside its opposite", () => {
    const one = addFilter([], filter("status=404"));
    expect(texts(addFilter(one, filter("status=404")))).toEqual(["status=404"]);
    expect(texts(addFilter(one, filter("status!=404")))).toEqual(["status!=404"]);
    expect(texts(addFilter(one, filter("ip=1.2.3.4")))).toEqual(["status=404", "ip=1.2.3.4"]);
  });

  test("is never longer than the server takes", () => {
    let filters: Filter[] = [];
    for (let at = 0; at < 30; at += 1) filters = addFilter(filters, filter(`ip!=${at}`));
    expect(filters).toHaveLength(FILTERS_MAX);
    expect(formatFilter(filters.at(-1) as Filter)).toBe("ip!=29");
  });

  test("has one class of status at a time", () => {
    const before = [filter("ip=1.2.3.4"), filter("status=404")];
    const expected = ["ip=1.2.3.4", "status>=500", "status<=599"];
    expect(texts(statusClass(before, "5xx"))).toEqual(expected);
  });
});
