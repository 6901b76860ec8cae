// `logmill look` in a browser: its dashboard, and the page that it writes, without any server.

import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { violations } from "./axe";
import { launch, open } from "./browser";
import { eventually, figure, PHONE } from "./mocked";
import { PROGRAM, RealServer, ROWS } from "./real";

const START_LIMIT_MS = 180_000;
const SHOTS = process.env["SHOTS"];

describe.runIf(PROGRAM)("a first look", () => {
  let server: RealServer;
  let browser: Browser;

  beforeAll(async () => {
    server = await RealServer.look();
    browser = await launch();
  }, START_LIMIT_MS);
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  const requests = ROWS.toLocaleString("en");
  const report = () => `file://${join(server.folder, "report.html")}`;

  test("is the dashboard of the file", async () => {
    const { page, strangers, complaints } = await open(browser, server.url);
    await eventually(() => figure(page, "Requests"), requests);
    await page.getByText("access_log").waitFor();
    await page.locator(".charts canvas").first().waitFor();
    expect(await page.getByRole("progressbar").count()).toBe(0);
    expect([...strangers, ...complaints]).toEqual([]);
    if (SHOTS) await page.screenshot({ path: join(SHOTS, "look.png"), fullPage: true });
  });

  test.each(["light", "dark"] as const)("as a page needs nobody, %s", async (colorScheme) => {
    const { page, strangers, complaints } = await open(browser, report(), { colorScheme });
    await page.context().setOffline(true);
    await eventually(() => figure(page, "Requests"), requests);
    expect(await figure(page, "Visitors")).toMatch(/^[\d,.]+K?$/);
    await page.locator(".charts canvas").first().waitFor();
    await page.locator('[data-column="ip"] tbody tr').first().waitFor();
    await page.getByRole("button", { name: "Client errors (4xx)" }).click();
    await page.getByText("Newest: client errors (4xx)").waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    expect([...strangers, ...complaints]).toEqual([]);
    if (SHOTS)
      await page.screenshot({ path: join(SHOTS, `report-${colorScheme}.png`), fullPage: true });
  });

  test("as a page fits on a phone", async () => {
    const { page } = await open(browser, report(), PHONE);
    await eventually(() => figure(page, "Requests"), requests);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width).toBeLessThanOrEqual(375);
    if (SHOTS) await page.screenshot({ path: join(SHOTS, "report-phone.png"), fullPage: true });
  });
});
