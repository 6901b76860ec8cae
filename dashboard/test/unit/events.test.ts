import { expect, test } from "vitest";

import { EventParser } from "../../src/api/client";
import { visible } from "../../src/pipelines/lettertable";

test("events are whole, however the network cuts them", () => {
  const text =
    ': hello\n\ndata: {"a":1}\n\nevent: x\r\ndata: one\r\ndata: two\r\n\r\ndata: unfinished\n';
  for (let cut = 0; cut <= text.length; cut += 1) {
    const events: string[] = [];
    const parser = new EventParser((event) => events.push(event));
    parser.push(text.slice(0, cut));
    parser.push(text.slice(cut));
    expect(events, `cut at ${cut}`).toEqual(['{"a":1}', "one\ntwo"]);
  }
});

test("an event without end is refused", () => {
  const parser = new EventParser(() => {});
  expect(() => parser.push("x".repeat(5_000_000))).toThrow("too long");
});

test("no control character of a dead letter hides", () => {
  expect(visible("a\u0000b\u001b[31m\tc\u007f")).toBe("a␀b␛[31m␉c␡");
});
