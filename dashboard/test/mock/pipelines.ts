// Two pipelines: one with dead letters to replay, one that follows a schedule.

import type { DeadLetter, Pipeline, PipelineDetail } from "../../src/api/types";

const LETTERS = 123;

export class Pipelines {
  letters: DeadLetter[] = Array.from({ length: LETTERS }, (_, at) => letter(at));
  replays: unknown[] = [];

  list(): Pipeline[] {
    const web = {
      name: "web-logs",
      state: "running" as const,
      file: "web.yaml",
      epochs: 412,
      read: 8123,
      delivered: 8000,
      dead_letters: this.open().length,
      lag: 1520,
      splits_total: 3,
      failing_splits: 1,
      broken_splits: 1,
      lagging_splits: 1,
      oldest_unread: { source: "files", split: "access.log.2.gz", since: ago(600) },
      last_epoch_at: ago(7),
      schedule: null,
    };
    const nightly = {
      name: "nightly-report",
      state: "scheduled" as const,
      file: "nightly.yaml",
      epochs: 30,
      read: 300,
      delivered: 300,
      dead_letters: 0,
      lag: 0,
      splits_total: 1,
      failing_splits: 0,
      broken_splits: 0,
      lagging_splits: 0,
      oldest_unread: null,
      last_epoch_at: ago(30_000),
      schedule: {
        cron: "0 2 * * *",
        time_zone: "Europe/Berlin",
        next: ago(-40_000),
        last: { started: ago(46_400), ended: ago(46_300), outcome: "succeeded" },
      },
    };
    return [web, nightly];
  }

  detail(name: string): PipelineDetail | null {
    const found = this.list().find((pipeline) => pipeline.name === name);
    if (!found) return null;
    const dead = found.dead_letters ?? 0;
    const sums = {
      filtered: 0,
      deduplicated: 0,
      late: 0,
      aggregated: 0,
      dead_lettered: name === "web-logs" ? LETTERS : 0,
      lost: 0,
      expanded: 0,
      rejected_after: 0,
    };
    return {
      ...found,
      dead_letters: dead,
      graph: name === "web-logs" ? graph() : null,
      lineages: [
        { lineage: "main", epoch: 412, committed_at: ago(7), owner: "host-1/4711" },
        { lineage: "stream.web.0", epoch: 88, committed_at: ago(12), owner: "host-2/815" },
      ],
      splits: [
        { source: "files", split: "access.log", phase: "reading", position: 800_000, lag: 0 },
        {
          source: "stream",
          split: "webserver-logs/0",
          phase: "reading",
          position: 52_113,
          lag: 1520,
        },
      ],
      steps: [
        {
          step: "by_minute",
          watermark: ago(65),
          open_windows: 3,
          open_records: 1204,
          closes_next: ago(5),
          held_by: "split" as const,
          held_by_split: "webserver-logs/0",
          held_since: ago(40),
        },
      ],
      failing: [
        {
          source: "files",
          split: "access.log.2.gz",
          state: "broken" as const,
          error: "could not read file beyond byte 4096 (decompressed): corrupt deflate stream",
          hint: "its compressed form is damaged: restore it, or leave it out by `exclude`",
          since: ago(600),
          next_try: ago(-1200),
        },
      ],
      sinks: [
        { sink: "lake", promise: "exactly once", delivered: 8000, ...sums },
        { sink: "warehouse", promise: "exactly once", delivered: 7000, ...sums, filtered: 1000 },
      ],
      balanced: true,
    };
  }

  epochs(limit: number) {
    return Array.from({ length: Math.min(limit, 50) }, (_, at) => ({
      lineage: "main",
      epoch: 412 - at,
      at: ago(7 + at * 10),
      seconds: 0.4 + (at % 7) / 10,
      read: 100 + ((at * 37) % 90),
      delivered: 98 + ((at * 37) % 90),
      dead_lettered: at % 9 === 0 ? 2 : 0,
    }));
  }

  find(params: URLSearchParams) {
    const state = params.get("state") ?? "open";
    const sink = params.get("sink");
    const reason = params.get("reason") ?? "";
    const found = this.letters.filter((letter) => {
      const isWanted = state === "all" || letter.state === state;
      return isWanted && (!sink || letter.sink === sink) && letter.reason.includes(reason);
    });
    const offset = Number(params.get("offset") ?? "0");
    const limit = Number(params.get("limit") ?? "100");
    return { total: found.length, letters: found.slice(offset, offset + limit) };
  }

  replay(body: { sink?: string; origins?: string[] }) {
    this.replays.push(body);
    const { sink, origins } = body;
    const chosen = this.open().filter(({ split, position, sink: own }) => {
      const isNamed = !origins || origins.includes(`${split}@${position}`);
      return isNamed && (!sink || sink === own);
    });
    for (const letter of chosen) letter.state = "replayed";
    return { replayed: chosen.length, remaining: this.open().length, failed: 0 };
  }

  runs() {
    return [
      {
        started: ago(46_400),
        ended: ago(46_300),
        due: ago(46_400),
        outcome: "succeeded",
        read: 300,
        delivered: 300,
        message: null,
      },
    ];
  }

  private open(): DeadLetter[] {
    return this.letters.filter(({ state }) => state === "open");
  }
}

function graph() {
  const node = (id: string, kind: "source" | "transform" | "sink", type: string) => {
    return { id, kind, type, rate: 118.4 };
  };
  const edge = (from: string, to: string, rate: number) => ({ from, to, rate });
  return {
    nodes: [
      node("files", "source", "file"),
      node("stream", "source", "kafka"),
      node("streamed", "transform", "sql"),
      node("parsed", "transform", "parse"),
      node("enriched", "transform", "enrich"),
      node("records", "transform", "sql"),
      node("lake", "sink", "lake"),
      node("warehouse", "sink", "postgres"),
      node("search", "sink", "opensearch"),
    ],
    edges: [
      edge("files", "parsed", 100.2),
      edge("stream", "streamed", 18.2),
      edge("streamed", "parsed", 18.2),
      edge("parsed", "enriched", 117.9),
      edge("enriched", "lake", 117.9),
      edge("enriched", "records", 117.9),
      edge("records", "warehouse", 117.9),
      edge("records", "search", 0),
    ],
  };
}

function letter(at: number): DeadLetter {
  const hostile = `<img src=x onerror="window.hacked=1"> line ${at}\u0000\u001b[31m`;
  return {
    ts: new Date(Date.UTC(2026, 2, 14, 23, 59) - at * 60_000).toISOString(),
    sink: at % 3 === 0 ? "warehouse" : "lake",
    step: "parsed",
    split: "access.log",
    position: 900_000 - at * 100,
    epoch: 412 - Math.floor(at / 3),
    reason: at % 2 === 0 ? "column 4: expected a time" : "the line is cut off",
    kind: "record",
    original: at % 10 === 9 ? null : at === 0 ? hostile : `203.0.113.${at} - - [broken`,
    original_base64: at % 10 === 9 ? "//79" : null,
    state: "open",
  };
}

function ago(seconds: number): string {
  return new Date(Date.now() - seconds * 1000).toISOString();
}
