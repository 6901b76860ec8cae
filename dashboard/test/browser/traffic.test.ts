// Traffic, as somebody uses it: click, filter, mark a range, share, go back.

import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { RECORDS } from "../mock/records";
import { eventually, figure, queryOf, stage, topValue } from "./mocked";

const { visit } = stage();

describe("clicking", () => {
  test("a value narrows everything to it, and the chip undoes that", async () => {
    const page = await visit("");
    await eventually(() => figure(page, "Requests"), "8,000");
    await topValue(page, "country", "Germany").click();
    const count = RECORDS.filter((row) => row["country"] === "Germany").length;
    await eventually(() => figure(page, "Requests"), count.toLocaleString("en"));
    expect(queryOf(page)).toBe("?filter=country=Germany");
    await page.getByRole("button", { name: "Remove country is Germany" }).click();
    await eventually(() => figure(page, "Requests"), "8,000");
    expect(queryOf(page)).toBe("");
  });

  test("the sign beside a value excludes it, and the chip turns that around", async () => {
    const page = await visit("");
    await page.locator('[data-column="status"] tr', { hasText: "404" }).hover();
    await page.getByRole("button", { name: "Exclude 404" }).click();
    await eventually(() => queryOf(page), "?filter=status!=404");
    const others = RECORDS.filter((row) => row["status"] !== 404).length;
    await eventually(() => figure(page, "Requests"), others.toLocaleString("en"));
    await page.getByRole("button", { name: "Negate status is not 404" }).click();
    await eventually(() => queryOf(page), "?filter=status=404");
    await eventually(() => figure(page, "Requests"), (8000 - others).toLocaleString("en"));
  });

  test("an absent value finds where there is none", async () => {
    const page = await visit("");
    await page
      .locator('[data-column="country"]')
      .getByRole("button", { name: "(none)", exact: true })
      .click();
    const count = RECORDS.filter((row) => row["country"] === null).length;
    await eventually(() => figure(page, "Requests"), String(count));
    await page.getByText("country is empty").waitFor();
  });

  test("a class of status narrows to it", async () => {
    const page = await visit("");
    await page
      .getByRole("list", { name: "Status classes" })
      .getByRole("button", { name: /5xx/ })
      .click();
    await eventually(() => queryOf(page), "?filter=status>=500&filter=status<=599");
    await eventually(() => figure(page, "Server errors"), "100.0 %");
  });

  test("bots and static files go in and out", async () => {
    const page = await visit("");
    await page.getByLabel("Bots", { exact: true }).selectOption("exclude");
    const people = RECORDS.filter((row) => row["ua_bot"] !== true);
    await eventually(() => figure(page, "Requests"), people.length.toLocaleString("en"));
    await page.getByLabel("Static", { exact: true }).selectOption("exclude");
    const pages = people.filter(
      (row) => !/\.(css|js|svg|txt)$/.test(String(row["path"])) || row["path"] === "/robots.txt",
    );
    await eventually(() => figure(page, "Requests"), pages.length.toLocaleString("en"));
    expect(queryOf(page)).toBe("?bots=exclude&static=exclude");
  });

  test("more shows more, and a measure ranks anew", async () => {
    const page = await visit("");
    const rows = page.locator('[data-column="ip"] tbody tr');
    await eventually(() => rows.count(), 8);
    await page.getByRole("button", { name: "More addresses" }).click();
    await eventually(() => rows.count(), 50);
    await page.getByLabel("by", { exact: true }).selectOption("bytes");
    await page.locator('[data-column="ip"] td.number', { hasText: /MB/ }).first().waitFor();
    expect(queryOf(page)).toBe("?by=bytes");
  });
});

test("a filter is typed in, with the columns and the values that there are", async () => {
  const page = await visit("");
  await page.getByRole("button", { name: "Filter", exact: true }).click();
  const form = page.getByRole("form", { name: "New filter" });
  await form.getByLabel("Column").selectOption("ua_browser");
  await eventually(() => page.locator("#filter-values option").count(), 6);
  await form.getByLabel("Condition").selectOption({ label: "contains" });
  await form.getByLabel("Value").fill("bot");
  await form.getByRole("button", { name: "Add" }).click();
  await eventually(() => queryOf(page), "?filter=ua_browser~bot");
  const bots = RECORDS.filter((row) => String(row["ua_browser"]).includes("bot")).length;
  await eventually(() => figure(page, "Requests"), bots.toLocaleString("en"));
});

describe("a range", () => {
  test("is marked in a chart, and back undoes it", async () => {
    const page = await visit("");
    // The chart is drawn anew when visitors were counted, too.
    await page.waitForLoadState("networkidle");
    const plot = page.locator(".charts .wide .u-over");
    await plot.waitFor();
    const box = await plot.boundingBox();
    if (!box) throw new Error("the chart has a place");
    const height = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.25, height);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, height, { steps: 8 });
    await page.mouse.up();
    await eventually(() => rangeOf(page) !== null, true);
    const range = rangeOf(page);
    expect(range?.start).toMatch(/^2026-03-04T/);
    expect(range?.end).toMatch(/^2026-03-0[78]T\d\d:59:59Z$/);
    const inside = RECORDS.filter((row) => {
      return String(row["ts"]) >= (range?.start ?? "") && String(row["ts"]) <= (range?.end ?? "");
    });
    await eventually(() => figure(page, "Requests"), inside.length.toLocaleString("en"));
    await page.goBack();
    await eventually(() => figure(page, "Requests"), "8,000");
    await page.goForward();
    await eventually(() => figure(page, "Requests"), inside.length.toLocaleString("en"));
  });

  test("is typed in", async () => {
    const page = await visit("");
    await page.getByRole("button", { name: "From, to" }).click();
    await page.getByLabel("From (UTC)").fill("2026-03-09T14:00:00");
    await page.getByLabel("To (UTC)").fill("2026-03-09T13:00:00");
    await page.getByText("The end lies before the start").waitFor();
    await page.getByLabel("To (UTC)").fill("2026-03-09T16:59:59");
    await page.getByRole("button", { name: "Apply" }).click();
    await eventually(() => queryOf(page), "?start=2026-03-09T14:00:00Z&end=2026-03-09T16:59:59Z");
    await page.getByText("9 Mar 2026 14:00 – 9 Mar 2026 16:59").waitFor();
    await page.getByText("minute (auto)").waitFor({ state: "attached" });
  });

  test("pointing at a chart tells the numbers", async () => {
    const page = await visit("?interval=day");
    const plot = page.locator(".charts .wide .u-over");
    await plot.waitFor();
    await plot.hover();
    const text = await page.locator(".charts .wide .tooltip").innerText();
    expect(text).toMatch(/Mar 2026/);
    expect(text).toMatch(/2xx\s+\d+/);
  });

  test("every chart is a table as well", async () => {
    const page = await visit("?interval=day");
    await page.locator(".charts .wide summary").click();
    const rows = page.getByRole("table", { name: "Requests" }).locator("tbody tr");
    await eventually(() => rows.count(), 15);
    expect(await rows.nth(9).innerText()).toMatch(/^9 Mar 2026\t\d+/);
  });
});

describe("the address", () => {
  test("restores all that was to be seen", async () => {
    const page = await visit(
      "?start=2026-03-09T00:00:00Z&end=2026-03-09T23:59:59Z&filter=endpoint~/api/&bots=exclude&static=exclude&interval=hour&by=visitors",
    );
    await page.getByText("endpoint contains /api/").waitFor();
    expect(await page.getByLabel("Bots", { exact: true }).inputValue()).toBe("exclude");
    expect(await page.getByLabel("Static", { exact: true }).inputValue()).toBe("exclude");
    expect(await page.getByLabel("by", { exact: true }).inputValue()).toBe("visitors");
    expect(await page.getByLabel("per").inputValue()).toBe("hour");
    const wanted = RECORDS.filter((row) => {
      const isDay = String(row["ts"]).startsWith("2026-03-09");
      return isDay && String(row["endpoint"]).includes("/api/") && row["ua_bot"] === false;
    });
    await eventually(() => figure(page, "Requests"), String(wanted.length));
  });

  test("is copied for somebody else", async () => {
    const page = await visit("?filter=status=404", {
      permissions: ["clipboard-read", "clipboard-write"],
    });
    await page.getByRole("button", { name: "Copy link" }).click();
    await page.getByText("Link copied").waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
  });
});

function rangeOf(page: Page): { start: string; end: string } | null {
  const params = new URL(page.url()).searchParams;
  const [start, end] = [params.get("start"), params.get("end")];
  return start && end ? { start, end } : null;
}
