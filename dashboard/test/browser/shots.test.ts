// Pictures of the page for somebody to look at: `SHOTS=folder npm run test:browser shots`.

import { join } from "node:path";
import type { Browser, BrowserContextOptions } from "playwright-core";
import { afterAll, beforeAll, describe, test } from "vitest";

import { MockServer } from "../mock/server";
import { launch, open } from "./browser";

const folder = process.env["SHOTS"];
const PHONE: BrowserContextOptions = {
  viewport: { width: 375, height: 812 },
  deviceScaleFactor: 2,
};

describe.runIf(folder)("pictures", () => {
  let mock: MockServer;
  let browser: Browser;
  beforeAll(async () => {
    mock = await MockServer.start();
    browser = await launch();
  });
  afterAll(async () => {
    await browser.close();
    await mock.stop();
  });

  async function shoot(name: string, query: string, options: BrowserContextOptions = {}) {
    const { page } = await open(browser, mock.url + query, options);
    await page.waitForLoadState("networkidle");
    await page.screenshot({ path: join(folder ?? "", `${name}.png`), fullPage: true });
    await page.context().close();
  }

  test("of traffic", async () => {
    await shoot("traffic-light", "");
    await shoot("traffic-dark", "?filter=country=Germany&bots=exclude", { colorScheme: "dark" });
    await shoot(
      "traffic-outage",
      "?start=2026-03-09T12:00:00Z&end=2026-03-09T19:59:59Z&filter=status!=404",
    );
    await shoot("traffic-phone", "", PHONE);
  });

  test("of a first look", async () => {
    mock.milling = {
      read: 1_200_000,
      refused: 3,
      bytes: 310_000_000,
      bytes_total: 1_000_000_000,
      epochs: 1,
      done: false,
    };
    await shoot("look-milling", "");
    await shoot("look-milling-phone", "", PHONE);
    mock.milling = null;
    const { rows } = mock;
    const [first = {}] = rows;
    mock.rows = [{ ...first, ts: "1970-01-01T00:00:00Z" }, ...rows];
    await shoot("look-years", "");
    await shoot("look-years-dark", "", { colorScheme: "dark" });
    await shoot("look-years-phone", "", PHONE);
    mock.rows = rows;
  });

  test("of the live tail", async () => {
    const { page } = await open(browser, `${mock.url}?view=live`);
    await page.getByText("Following").waitFor();
    await page.screenshot({ path: join(folder ?? "", "live.png") });
    await page.context().close();
    const phone = await open(browser, `${mock.url}?view=live`, PHONE);
    await phone.page.getByText("Following").waitFor();
    await phone.page.screenshot({ path: join(folder ?? "", "live-phone.png") });
    await phone.page.context().close();
  });

  test("of pipelines", async () => {
    await shoot("pipelines", "?view=pipelines");
    await shoot("pipeline-light", "?view=pipelines&pipeline=web-logs");
    await shoot("pipeline-dark", "?view=pipelines&pipeline=web-logs", { colorScheme: "dark" });
    await shoot("pipeline-phone", "?view=pipelines&pipeline=web-logs", PHONE);
    await shoot("pipeline-schedule", "?view=pipelines&pipeline=nightly-report");
  });

  test("of empty states and errors", async () => {
    await shoot("empty-range", "?range=1h");
    const { rows } = mock;
    mock.rows = [];
    await shoot("empty-table", "");
    mock.rows = rows;
    mock.hasTable = false;
    await shoot("no-table", "");
    mock.hasTable = true;
    const failure = {
      status: 503,
      title: "The lake does not answer",
      detail: 'could not list "s3://logs/web_logs": connection refused',
    };
    mock.failing.set("analytics/", failure);
    await shoot("error", "");
    mock.failing.clear();
    mock.failing.set("analytics/top/country", {
      ...failure,
      title: "Too many requests",
      status: 503,
    });
    await shoot("error-panel", "");
    mock.reset();
    mock.token = "secret";
    const { page } = await open(browser, mock.url);
    await page.getByRole("dialog").waitFor();
    await page.screenshot({ path: join(folder ?? "", "token.png") });
    await page.context().close();
  });
});
