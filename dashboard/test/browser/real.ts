// The real program over a small log: generated, run, served. LOGMILL_PROGRAM says where it is.

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export const PROGRAM = process.env["LOGMILL_PROGRAM"];
export const ROWS = 3000;
/** Lines that no parser takes. */
export const BROKEN = [
  "this is no log line",
  '<img src=x onerror="window.hacked=1">',
  "\u0007bell",
];

const PIPELINE = `
name: web
serve: { table: web_logs, time: ts }
sources:
  access: { type: file, paths: ["access.log"] }
transforms:
  parsed: { type: parse, input: access, format: combined }
  enriched: { type: enrich, input: parsed, user_agent: user_agent }
sinks:
  lake: { type: lake, input: enriched, table: web_logs, partition_by: day(ts) }
`;
/** Stops the server when this process ends, in whatever way: the pipe closes then. */
const GUARD = 'exec 3<&0; "$@" <&- & pid=$!; cat <&3 >/dev/null; kill $pid; wait $pid';

export class RealServer {
  readonly folder: string;
  readonly url: string;
  private readonly shell: ChildProcess;

  private constructor(folder: string, url: string, shell: ChildProcess) {
    this.folder = folder;
    this.url = url;
    this.shell = shell;
  }

  static async start(environment: Record<string, string> = {}): Promise<RealServer> {
    const folder = await mkdtemp(join(tmpdir(), "logmill-dashboard-real-"));
    const { stdout } = await logmill(folder, ["generate", "access-log", "--rows", String(ROWS)]);
    await writeFile(join(folder, "access.log"), `${stdout}${BROKEN.join("\n")}\n`);
    await writeFile(join(folder, "web.yaml"), PIPELINE);
    await logmill(folder, ["run", "web.yaml", "--until-end"]);
    const shell = guarded(folder, ["serve", "web.yaml", "--listen", "127.0.0.1:0"], environment);
    const url = `http://${await firstLine(shell)}/`;
    return new RealServer(folder, url, shell);
  }

  /** `logmill look` at a log, which wrote a report of it before: `report.html`. */
  static async look(): Promise<RealServer> {
    const folder = await mkdtemp(join(tmpdir(), "logmill-dashboard-look-"));
    const { stdout } = await logmill(folder, ["generate", "access-log", "--rows", String(ROWS)]);
    await writeFile(join(folder, "access.log"), `${stdout}${BROKEN.join("\n")}\n`);
    await logmill(folder, ["look", "access.log", "--report", "report.html"]);
    const shell = guarded(folder, ["look", "access.log", "--no-open", "--quiet"], {});
    return new RealServer(folder, await firstLine(shell), shell);
  }

  /** What the table says, by SQL. */
  async ask(sql: string): Promise<Record<string, unknown>[]> {
    const { stdout } = await logmill(this.folder, ["query", sql, "--format", "json"]);
    return JSON.parse(stdout) as Record<string, unknown>[];
  }

  async count(condition: string): Promise<number> {
    const [row] = await this.ask(`SELECT count(*) AS found FROM web_logs WHERE ${condition}`);
    return Number(row?.["found"]);
  }

  /** New lines in the log, read and delivered. */
  async append(lines: string[]): Promise<void> {
    await appendFile(join(this.folder, "access.log"), lines.map((line) => `${line}\n`).join(""));
    await logmill(this.folder, ["run", "web.yaml", "--until-end"]);
  }

  async stop(): Promise<void> {
    const ended = new Promise((done) => this.shell.once("exit", done));
    this.shell.stdin?.end();
    await ended;
    await rm(this.folder, { recursive: true });
  }
}

function guarded(
  folder: string,
  arguments_: string[],
  environment: Record<string, string>,
): ChildProcess {
  return spawn("sh", ["-c", GUARD, "sh", program(), ...arguments_], {
    cwd: folder,
    env: { ...process.env, ...environment },
    stdio: ["pipe", "pipe", "inherit"],
  });
}

function program(): string {
  if (!PROGRAM) throw new Error("LOGMILL_PROGRAM names no program");
  return PROGRAM;
}

/** A log of a few thousand lines. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

function logmill(folder: string, arguments_: string[]) {
  const options = { cwd: folder, maxBuffer: OUTPUT_BYTES_MAX };
  return promisify(execFile)(program(), arguments_, options);
}

async function firstLine(shell: ChildProcess): Promise<string> {
  if (!shell.stdout) throw new Error("the server has an output");
  for await (const line of createInterface({ input: shell.stdout })) return line;
  throw new Error("the server ended before it said where it listens");
}
