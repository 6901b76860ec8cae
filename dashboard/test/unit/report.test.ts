// The answers that stand in a report, under the addresses that the page asks for.

import { expect, test } from "vitest";

import { answerOf } from "../../src/api/client";

const ANSWERS = {
  "analytics/summary": 1,
  "analytics/records?filter=status>=500&filter=status<=599": 2,
};

test("an answer is found by its path and its conditions alone", () => {
  expect(answerOf(ANSWERS, "analytics/summary?visitors=exclude")).toBe(1);
  const filters = "filter=status%3E%3D500&filter=status%3C%3D599";
  expect(answerOf(ANSWERS, `analytics/records?${filters}&limit=15`)).toBe(2);
  expect(() => answerOf(ANSWERS, "analytics/records?limit=15")).toThrow("analytics/records");
});
