// The page against the real program: what it shows is what SQL says of the same table.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { violations } from "./axe";
import { launch, open, type Watched } from "./browser";
import { eventually, figure, PHONE, queryOf, topValue } from "./mocked";
import { BROKEN, PROGRAM, RealServer, ROWS } from "./real";

const TOKEN = "a-token-of-this-test-alone";
/** Building a table and starting a server, on a machine that compiles beside. */
const START_LIMIT_MS = 180_000;

describe.runIf(PROGRAM)("the real server", () => {
  let server: RealServer;
  let browser: Browser;
  let watched: Watched[] = [];

  beforeAll(async () => {
    server = await RealServer.start();
    browser = await launch();
  }, START_LIMIT_MS);
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    expect(watched.flatMap(({ strangers }) => strangers)).toEqual([]);
    expect(watched.flatMap(({ complaints }) => complaints)).toEqual([]);
  });

  async function visit(query: string, options = {}) {
    const opened = await open(browser, server.url + query, options);
    watched = [...watched, opened];
    return opened.page;
  }

  const shown = (count: number) => count.toLocaleString("en");

  test("is painted within a second and shows what the table holds", async () => {
    const page = await visit("");
    await eventually(() => figure(page, "Requests"), shown(ROWS));
    const paint = await page.evaluate(
      () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    );
    expect(paint).toBeLessThan(1000);
    const [row] = await server.ask(
      "SELECT count(*) AS found FROM (SELECT DISTINCT ip, user_agent, date_trunc('day', ts) FROM web_logs)",
    );
    expect(await figure(page, "Visitors")).toBe(shown(Number(row?.["found"])));
    await page.locator(".charts canvas").first().waitFor();
  });

  test("filters by a click on a value, and excludes one", async () => {
    const page = await visit("");
    await topValue(page, "status", "404").click();
    await eventually(() => figure(page, "Requests"), shown(await server.count("status = 404")));
    await page.getByRole("button", { name: "Negate status is 404" }).click();
    await eventually(() => figure(page, "Requests"), shown(await server.count("status != 404")));
    await page.goBack();
    await page.goBack();
    await eventually(() => figure(page, "Requests"), shown(ROWS));
    await topValue(page, "referrer", "(none)").click();
    await eventually(
      () => figure(page, "Requests"),
      shown(await server.count("referrer IS NULL OR referrer = ''")),
    );
  });

  test("leaves bots out", async () => {
    const page = await visit("?bots=exclude");
    await eventually(
      () => figure(page, "Requests"),
      shown(await server.count("ua_bot IS NOT TRUE")),
    );
  });

  test("counts what lies in a marked range", async () => {
    const page = await visit("");
    // The chart is drawn anew when visitors were counted, too.
    await page.waitForLoadState("networkidle");
    const plot = page.locator(".charts .wide .u-over");
    const box = await plot.boundingBox();
    if (!box) throw new Error("the chart has a place");
    const height = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.3, height);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, height, { steps: 5 });
    await page.mouse.up();
    await eventually(() => queryOf(page).startsWith("?start="), true);
    const params = new URL(page.url()).searchParams;
    const inside = `ts >= '${params.get("start")}' AND ts <= '${params.get("end")}'`;
    const count = await server.count(inside);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(ROWS);
    await eventually(() => figure(page, "Requests"), shown(count));
  });

  test("opens an address as it was shared", async () => {
    const page = await visit("?filter=method=POST&filter=status>=200&filter=path~/&interval=day");
    const condition = "method = 'POST' AND status >= 200 AND path LIKE '%/%'";
    await eventually(() => figure(page, "Requests"), shown(await server.count(condition)));
    await page.getByText("path contains /").waitFor();
  });

  test("says that nothing matches, and that a column is not there", async () => {
    const page = await visit("?range=1h");
    await page.getByText("No request matches").waitFor();
    const other = await visit("?filter=stauts=404");
    await other
      .getByText(/stauts/)
      .first()
      .waitFor();
    await other.getByRole("button", { name: "Try again" }).first().waitFor();
  });

  test("shows every value of a hostile line as text", async () => {
    const agent = '"><img src=x onerror=window.hacked=1>';
    await server.append([
      `203.0.113.9 - - [12/Jan/2025:23:58:01 +0000] "GET /<script>window.hacked=1</script> HTTP/1.1" 599 5 "javascript:alert(1)" "${agent.replaceAll('"', "'")}"`,
    ]);
    const page = await visit("?filter=status=599");
    await page.getByRole("button", { name: "/<script>window.hacked=1</script>" }).first().waitFor();
    expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  });

  test("follows what is delivered while one looks", async () => {
    const page = await visit("?view=live&filter=status=598");
    await page.getByText("Following").waitFor();
    await server.append([
      '203.0.113.7 - - [12/Jan/2025:23:59:01 +0000] "GET /just-now HTTP/1.1" 598 5 "-" "curl/8"',
    ]);
    await page.getByRole("button", { name: "/just-now" }).waitFor();
  });

  test("shows the pipeline, its balance and its dead letters", async () => {
    const page = await visit("?view=pipelines");
    await page.getByRole("link", { name: "web", exact: true }).click();
    await page.getByText("balanced: every record is accounted for").waitFor();
    expect(await page.locator("svg.graph .node").count()).toBe(4);
    const rows = page.locator("table.letters tbody tr");
    await eventually(() => rows.count(), BROKEN.length);
    await page.getByText("this is no log line").waitFor();
    await page.getByText('<img src=x onerror="window.hacked=1">').waitFor();
    expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  });

  test("replays dead letters, which stay open while the file refuses them", async () => {
    const page = await visit("?view=pipelines&pipeline=web");
    await page.getByRole("button", { name: `Replay all ${BROKEN.length}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Replay", exact: true }).click();
    await page.getByText("remain open.").waitFor({ timeout: 60_000 });
    await eventually(() => page.locator("table.letters tbody tr").count(), BROKEN.length);
  });

  test.each(["light", "dark"] as const)(
    "has nothing that axe finds wrong, %s",
    async (colorScheme) => {
      for (const query of ["", "?view=live", "?view=pipelines&pipeline=web"]) {
        const page = await visit(query, { colorScheme });
        await page.locator("table tbody tr:visible").first().waitFor();
        await page.waitForFunction(() => !document.querySelector(".pending"));
        expect(await violations(page), query).toEqual([]);
      }
    },
  );

  test("fits on a phone", async () => {
    for (const query of ["", "?view=live", "?view=pipelines&pipeline=web"]) {
      const page = await visit(query, PHONE);
      await page.locator("table tbody tr:visible").first().waitFor();
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(width, query).toBeLessThanOrEqual(375);
    }
  });

  test(
    "asks for the token of a server that has one",
    async () => {
      const guarded = await RealServer.start({ LOGMILL_TOKEN: TOKEN });
      try {
        const { page } = await open(browser, guarded.url);
        await page.getByRole("textbox", { name: "Token" }).fill(TOKEN);
        await page.keyboard.press("Enter");
        await eventually(() => figure(page, "Requests"), shown(ROWS));
      } finally {
        await guarded.stop();
      }
    },
    START_LIMIT_MS,
  );
});
