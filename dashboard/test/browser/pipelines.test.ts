// Pipelines: list, graph, ledger, dead letters and their replay.

import { describe, expect, test } from "vitest";

import { eventually, queryOf, stage } from "./mocked";

const scene = stage();
const { visit } = scene;

test("the list leads to one pipeline, with graph, ledger, positions, epochs and schedule", async () => {
  const page = await visit("?view=pipelines");
  const row = page.getByRole("row", { name: /nightly-report/ });
  expect(await row.innerText()).toMatch(/scheduled/);
  await page.getByRole("link", { name: "web-logs" }).click();
  await page.getByRole("heading", { name: "web-logs", level: 1 }).waitFor();
  expect(queryOf(page)).toBe("?view=pipelines&pipeline=web-logs");
  expect(await page.locator("svg.graph .node").count()).toBe(9);
  expect(await page.locator("svg.graph .edge").count()).toBe(8);
  await page.getByText("100/s").first().waitFor();
  await page.getByText("balanced: every record is accounted for").waitFor();
  await page.getByRole("row", { name: /^lake exactly once 8,000/ }).waitFor();
  await page.getByRole("row", { name: /^files access.log.2.gz broken .*corrupt/ }).waitFor();
  await page.getByRole("row", { name: /^by_minute .* 3 1,204 .*webserver-logs\/0/ }).waitFor();
  await page.getByRole("row", { name: /stream.web.0 88/ }).waitFor();
  await page.getByRole("row", { name: /webserver-logs\/0 reading 52113 1,520/ }).waitFor();
  await eventually(
    () => page.getByRole("table", { name: "Newest epochs" }).getByRole("row").count(),
    51,
  );
  await page.goBack();
  await page.getByRole("link", { name: "nightly-report" }).click();
  await page.getByText("0 2 * * *").waitFor();
  await page.getByRole("row", { name: /succeeded 300 300/ }).waitFor();
});

test("the numbers follow the server by themselves", async () => {
  const page = await visit("?view=pipelines&pipeline=web-logs");
  await page.getByText("Replay all 123").waitFor();
  scene.mock.pipelines.replay({ sink: "warehouse" });
  await page.getByText("Replay all 82").waitFor();
});

test("a server slower than the polls is waited for", async () => {
  scene.mock.delays.set("pipelines", 7000);
  const page = await visit("?view=pipelines");
  await page.getByRole("link", { name: "web-logs" }).waitFor({ timeout: 12_000 });
});

describe("dead letters", () => {
  test("are filtered and turned over, and the address says so", async () => {
    const page = await visit("?view=pipelines&pipeline=web-logs");
    const rows = page.locator("table.letters tbody tr");
    await eventually(() => rows.count(), 20);
    await page.getByRole("button", { name: "Older" }).click();
    await page.getByText("21–40 of 123").waitFor();
    expect(queryOf(page)).toContain("page=2");
    await page.getByLabel("Sink").selectOption("warehouse");
    await page.getByText("1–20 of 41").waitFor();
    await page.getByLabel("Reason").fill("cut off");
    await page.keyboard.press("Enter");
    await page.getByText("1–20 of 20").or(page.getByText("20 in all")).waitFor();
    expect(queryOf(page)).toContain("sink=warehouse&reason=cut off");
    await page.getByLabel("State").selectOption("replayed");
    await page.getByText("No dead letter matches.").waitFor();
  });

  test("show what a stranger wrote, and run none of it", async () => {
    const page = await visit("?view=pipelines&pipeline=web-logs");
    const original = page.locator("table.letters .original").first();
    await original.waitFor();
    expect(await original.innerText()).toBe('<img src=x onerror="window.hacked=1"> line 0␀␛[31m');
    expect(await page.evaluate(() => "hacked" in window)).toBe(false);
    await page.getByText("Base64:").first().waitFor();
  });

  test("are replayed after a question, all of a sink", async () => {
    const page = await visit("?view=pipelines&pipeline=web-logs&sink=warehouse");
    await page.getByRole("button", { name: "Replay all 41" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.innerText()).toContain("Replay 41 dead letters?");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    expect(scene.mock.pipelines.replays).toEqual([]);
    await page.getByRole("button", { name: "Replay all 41" }).click();
    await dialog.getByRole("button", { name: "Replay", exact: true }).click();
    await page.getByText("41 replayed, 82 remain open.").waitFor();
    expect(scene.mock.pipelines.replays).toEqual([{ sink: "warehouse" }]);
    await page.getByText("No dead letter matches.").waitFor();
  });

  test("are replayed one by one", async () => {
    const page = await visit("?view=pipelines&pipeline=web-logs");
    await page.getByLabel("Select access.log@899900").check();
    await page.getByLabel("Select access.log@899800").check();
    await page.getByRole("button", { name: "Replay 2 selected" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Replay", exact: true }).click();
    await page.getByText("2 replayed, 121 remain open.").waitFor();
    const origins = ["access.log@899900", "access.log@899800"];
    expect(scene.mock.pipelines.replays).toEqual([{ origins }]);
  });

  test("stay where they are when the replay is refused, with the reason", async () => {
    const page = await visit("?view=pipelines&pipeline=web-logs");
    const path = "pipelines/web-logs/dead_letters/replay";
    const detail = "another process owns the pipeline";
    scene.mock.failing.set(path, { status: 409, title: "It runs elsewhere", detail });
    await page.getByRole("button", { name: "Replay all 123" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Replay", exact: true }).click();
    await page.getByText(detail).waitFor();
    scene.mock.failing.clear();
    await page.getByRole("dialog").getByRole("button", { name: "Try again" }).click();
    await page.getByText("123 replayed.").waitFor();
  });

  test("are only looked at where the server only looks", async () => {
    scene.mock.writable = false;
    const page = await visit("?view=pipelines&pipeline=web-logs");
    await page.getByText("This server only looks.").waitFor();
    expect(await page.getByRole("button", { name: /Replay/ }).count()).toBe(0);
  });
});

test("a pipeline that is not there is the server's sentence", async () => {
  const page = await visit("?view=pipelines&pipeline=nobody");
  await page.getByText("there is no pipelines/nobody").waitFor();
});
