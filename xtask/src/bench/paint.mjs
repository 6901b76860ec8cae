// Opens a page in a headless Chromium some times and prints three times in milliseconds: until the
// first paint, the median of all visits; until every figure and list is there, of the first visit
// and the median of those that follow, which find answers that the server still has.
//
//     node paint.mjs FOLDER-OF-PACKAGES URL

import { createRequire } from "node:module";
import { join } from "node:path";

const [, , packages, url] = process.argv;
const { chromium } = createRequire(join(packages, "package.json"))(
  "playwright-core",
);

const VISITS = 5;
/** No answer is waited for so often in turn: everything is there. */
const QUIET_LOOKS = 10;
const LOOK_EVERY_MS = 50;
const ANALYTICS = "/analytics/";
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--disable-gpu", "--no-first-run", "--disable-background-networking"],
  chromiumSandbox: false,
});
const visits = [];
for (let visit = 0; visit < VISITS; visit++) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const open = new Set();
  page.on(
    "request",
    (request) => request.url().includes(ANALYTICS) && open.add(request),
  );
  for (const end of ["requestfinished", "requestfailed"]) {
    page.on(end, (request) => open.delete(request));
  }
  await page.goto(url);
  for (
    let quiet = 0;
    quiet < QUIET_LOOKS;
    quiet = open.size === 0 ? quiet + 1 : 0
  ) {
    await page.waitForTimeout(LOOK_EVERY_MS);
  }
  visits.push(
    await page.evaluate((analytics) => {
      const answers = performance.getEntriesByType("resource");
      const ends = answers.filter(({ name }) => name.includes(analytics));
      return {
        paint: performance.getEntriesByName("first-contentful-paint")[0]
          .startTime,
        whole: Math.max(...ends.map(({ responseEnd }) => responseEnd)),
      };
    }, ANALYTICS),
  );
  await context.close();
}
await browser.close();
const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
const [first, ...others] = visits.map(({ whole }) => whole);
console.log(
  median(visits.map(({ paint }) => paint)),
  first,
  median(others),
);
