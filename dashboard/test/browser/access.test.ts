// For everybody: with keys alone, read aloud, in both themes, on a phone, with little motion.

import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { violations } from "./axe";
import { eventually, figure, PHONE, queryOf, stage, topValue } from "./mocked";

const scene = stage();
const { visit } = scene;

const VIEWS: [string, string, string][] = [
  ["traffic", "?filter=status!=404&start=2026-03-02", "Newest: server errors (5xx)"],
  ["the live tail", "?view=live", "Newest records"],
  ["pipelines", "?view=pipelines", "nightly-report"],
  ["a pipeline", "?view=pipelines&pipeline=web-logs", "Replay all"],
  ["a schedule", "?view=pipelines&pipeline=nightly-report", "0 2 * * *"],
  ["nothing", "?range=1h", "No request matches"],
  ["a problem", "?filter=nobody=1", "the table has no column nobody"],
];

describe.each(["light", "dark"] as const)(
  "axe finds nothing wrong in the %s theme",
  (colorScheme) => {
    test.each(VIEWS)("with %s", async (_name, query, text) => {
      const page = await visit(query, { colorScheme });
      await page.getByText(text).first().waitFor();
      await page.waitForFunction(() => !document.querySelector(".pending"));
      expect(await violations(page)).toEqual([]);
    });

    test("with the forms open", async () => {
      const page = await visit("", { colorScheme });
      await page.getByRole("button", { name: "Filter", exact: true }).click();
      await page.getByRole("form", { name: "New filter" }).waitFor();
      await page.locator("summary").first().click();
      expect(await violations(page)).toEqual([]);
      await page.getByRole("button", { name: "From, to" }).click();
      await page.getByLabel("From (UTC)").waitFor();
      expect(await violations(page)).toEqual([]);
    });

    test("with a dialog open", async () => {
      const page = await visit("?view=pipelines&pipeline=web-logs", { colorScheme });
      await page.getByRole("button", { name: /Replay all/ }).click();
      await page.getByRole("dialog").waitFor();
      expect(await violations(page)).toEqual([]);
    });
  },
);

test("the theme is switched, and remembered", async () => {
  const page = await visit("", { colorScheme: "light" });
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await back();
  await page.getByRole("button", { name: "Colours: as the system" }).click();
  await page.getByRole("button", { name: "Colours: light" }).click();
  await page.getByRole("button", { name: "Colours: dark" }).waitFor();
  const dark = await back();
  expect(dark).not.toBe(light);
  await page.reload();
  expect(await back()).toBe(dark);
  await page.getByRole("button", { name: "Colours: dark" }).click();
  await eventually(back, light);
});

describe("with keys alone", () => {
  test("one filters, reads a chart, marks a range and goes back", async () => {
    const page = await visit("?interval=day");
    await eventually(() => figure(page, "Requests"), "8,000");
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("Skip to content");
    await page.keyboard.press("Enter");
    await tabTo(page, /^Requests: 15 points from 28 Feb 2026/);
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.getByText(/^1 Mar 2026: 2xx \d+/).waitFor({ state: "attached" });
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.press("Enter");
    await eventually(
      () => queryOf(page),
      "?start=2026-03-01T00:00:00Z&end=2026-03-03T23:59:59Z&interval=day",
    );
    await tabTo(page, /^Germany$/);
    await page.keyboard.press("Enter");
    await eventually(() => queryOf(page).includes("filter=country=Germany"), true);
    await page.goBack();
    await eventually(() => queryOf(page).includes("filter"), false);
  });

  test("one walks the cells of a table with the arrows", async () => {
    const page = await visit("?view=live");
    await page.locator("table.records").waitFor();
    await tabTo(page, /^\d\d\d$/);
    await page.keyboard.press("ArrowRight");
    expect(await focused(page)).toMatch(/^(GET|POST)$/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowLeft");
    expect(await focused(page)).toMatch(/^\d\d\d$/);
    await page.keyboard.press("Enter");
    await eventually(() => /filter=status=\d\d\d$/.test(queryOf(page)), true);
  });

  test("the focus can be seen", async () => {
    const page = await visit("");
    await tabTo(page, /^24 h$/);
    const outline = await page.evaluate(() => {
      return document.activeElement && getComputedStyle(document.activeElement).outlineStyle;
    });
    expect(outline).toBe("solid");
  });
});

describe("on a phone", () => {
  test.each(VIEWS)("nothing sticks out sideways with %s", async (_name, query, text) => {
    const page = await visit(query, PHONE);
    await page.getByText(text).first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width).toBeLessThanOrEqual(375);
  });

  test("one filters by a touch", async () => {
    const page = await visit("", PHONE);
    await topValue(page, "country", "Germany").tap();
    await page.getByText("country is Germany").waitFor();
    const { mock } = scene;
    expect(mock.asked.some((path) => path.includes("points=120"))).toBe(true);
  });
});

async function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const element = document.activeElement;
    return element?.getAttribute("aria-label") ?? element?.textContent ?? "";
  });
}

/** More stops than the page has before what is looked for. */
const STOPS_MAX = 120;

async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let stop = 0; stop < STOPS_MAX; stop += 1) {
    await page.keyboard.press("Tab");
    if (name.test(await focused(page))) return;
  }
  throw new Error(`no Tab leads to ${name}`);
}
