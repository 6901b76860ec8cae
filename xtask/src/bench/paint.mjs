// Opens a page in a headless Chromium and prints two times in milliseconds, the median of some
// visits: until the first paint, and until every figure and list is there.
//
//     node paint.mjs FOLDER-OF-PACKAGES URL

import { createRequire } from "node:module";
import { join } from "node:path";

const [, , packages, url] = process.argv;
const { chromium } = createRequire(join(packages, "package.json"))("playwright-core");

const VISITS = 5;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--disable-gpu", "--no-first-run", "--disable-background-networking"],
  chromiumSandbox: false,
});
const visits = [];
for (let visit = 0; visit < VISITS; visit++) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "networkidle" });
  visits.push(
    await page.evaluate(() => ({
      paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
      whole: Math.max(...performance.getEntriesByType("resource").map((got) => got.responseEnd)),
    })),
  );
  await context.close();
}
await browser.close();
const median = (times) => times.sort((a, b) => a - b)[VISITS >> 1];
console.log(median(visits.map(({ paint }) => paint)), median(visits.map(({ whole }) => whole)));
