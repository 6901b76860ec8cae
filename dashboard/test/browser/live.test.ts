// The live tail.

import { describe, expect, test } from "vitest";

import { RECORDS } from "../mock/records";
import { eventually, queryOf, stage } from "./mocked";

const scene = stage();
const { visit } = scene;
const newest = RECORDS.at(-1) ?? {};
const fresh = (endpoint: string, at: number) => ({
  ...newest,
  endpoint,
  status: 500,
  ts: "2026-03-14T23:59:59Z",
  _position: 9_000_000 + at,
});

describe("the live tail", () => {
  test("shows records as they come, newest first, and can be paused", async () => {
    const page = await visit("?view=live");
    const rows = page.locator("table.records tbody tr");
    await page.getByText("Following").waitFor();
    await eventually(() => rows.count(), 100);
    scene.mock.append(fresh("/fresh/1", 1));
    await page.getByText(", 1 new").waitFor();
    expect(await rows.first().innerText()).toContain("/fresh/1");
    await page.getByRole("button", { name: "Pause" }).click();
    await eventually(() => scene.mock.followers, 0);
    scene.mock.append(fresh("/fresh/2", 2));
    await page.getByRole("button", { name: "Follow" }).click();
    await page.getByText("Following").waitFor();
    expect(await page.getByText("/fresh/2").count()).toBe(0);
    scene.mock.append(fresh("/fresh/3", 3));
    await page.getByRole("button", { name: "/fresh/3" }).waitFor();
  });

  test("follows the filters", async () => {
    const page = await visit("?view=live");
    await page.getByText("Following").waitFor();
    await page
      .locator("td[data-name=method]")
      .getByRole("button", { name: "POST" })
      .first()
      .click();
    await eventually(() => queryOf(page), "?view=live&filter=method=POST");
    await eventually(() => scene.mock.followers, 1);
    await page.getByText("Following").waitFor();
    scene.mock.append({ ...fresh("/get", 4), method: "GET" });
    scene.mock.append({ ...fresh("/post", 5), method: "POST" });
    await page.getByRole("button", { name: "/post" }).waitFor();
    expect(await page.getByRole("button", { name: "/get" }).count()).toBe(0);
  });

  test("holds no more rows than it says, however fast they come", async () => {
    const page = await visit("?view=live");
    await page.getByText("Following").waitFor();
    for (let at = 0; at < 1200; at += 1) scene.mock.append(fresh(`/flood/${at}`, at));
    await page.getByRole("button", { name: "/flood/1199", exact: true }).waitFor();
    expect(await page.locator("table.records tbody tr").count()).toBeLessThanOrEqual(500);
  });

  test("says when the stream ends, and follows again", async () => {
    const page = await visit("?view=live");
    await page.getByText("Following").waitFor();
    scene.mock.endTails();
    await page.getByText("The server ended the stream.").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("Following").waitFor();
    scene.mock.append(fresh("/again", 6));
    await page.getByRole("button", { name: "/again" }).waitFor();
  });

  test("leaves the server when one goes elsewhere", async () => {
    const page = await visit("?view=live");
    await page.getByText("Following").waitFor();
    await page.getByRole("link", { name: "Traffic" }).click();
    await eventually(() => scene.mock.followers, 0);
  });
});
