import { expect, test } from "vitest";

import type { FailingSplit } from "../../src/api/types";
import { titleOfFailing } from "../../src/pipelines/ledger";

function splits(states: FailingSplit["state"][]): FailingSplit[] {
  return states.map((state) => ({
    source: "access",
    split: "a.log",
    state,
    error: "why",
    hint: null,
    since: "2026-01-01T00:00:00Z",
    next_try: null,
  }));
}

test("what is passed over or waits is not said to be what cannot be read", () => {
  expect(titleOfFailing(splits(["passed_over", "waiting"]))).toBe("Waiting or passed over");
  expect(titleOfFailing(splits(["passed_over", "broken"]))).toBe("Cannot be read");
  expect(titleOfFailing(splits(["failed"]))).toBe("Cannot be read");
});
