// What the server answers. Each type is one answer of the HTTP contract, nothing else.

export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail?: string | null;
  /** A way out. */
  hint?: string | null;
}

export interface Session {
  version: string;
  analytics: { table: string; time: string; backend: string } | null;
  writable: boolean;
  /** The run that fills the table while one looks; none if there is no such run. */
  milling?: Milling | null;
}

export interface Milling {
  read: number;
  refused: number;
  bytes: number;
  bytes_total: number | null;
  epochs: number;
  done: boolean;
}

export interface Percentiles {
  p50: number | null;
  p90: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

export interface Summary {
  requests: number;
  visitors: number | null;
  bytes: number | null;
  /** None where the table knows no statuses. */
  errors: number | null;
  error_rate: number | null;
  first: string | null;
  last: string | null;
  latency_ms: Percentiles | null;
  dead_letters: number | null;
}

export interface Point {
  ts: string;
  requests: number;
  visitors: number | null;
  bytes: number | null;
  s1xx: number | null;
  s2xx: number | null;
  s3xx: number | null;
  s4xx: number | null;
  s5xx: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

export interface Series {
  interval: string;
  points: Point[];
  /** Where the last point ends. */
  until: string | null;
  outliers: Outliers | null;
}

/** Rows far outside of all others, and the days of the others. */
export interface Outliers {
  before: number;
  after: number;
  start: string;
  end: string;
}

export interface StatusClass {
  class: string;
  count: number;
}

export type Cell = string | number | boolean | null;

export interface TopRow {
  value: Cell;
  count: number;
  bytes: number | null;
  visitors: number | null;
}

export interface Column {
  name: string;
  type: "text" | "number" | "time" | "boolean";
  filterable: boolean;
}

export type Row = Record<string, Cell>;

export interface Records {
  columns: string[];
  rows: Row[];
}

export interface Schedule {
  cron: string;
  time_zone: string | null;
  next: string | null;
  last: { started: string; ended: string | null; outcome: string } | null;
}

export interface Pipeline {
  name: string;
  state: "running" | "idle" | "failed" | "scheduled" | "unknown";
  file: string | null;
  epochs: number | null;
  read: number | null;
  delivered: number | null;
  dead_letters: number | null;
  lag: number | null;
  splits_total: number;
  failing_splits: number;
  broken_splits: number;
  lagging_splits: number;
  oldest_unread: { source: string; split: string; since: string } | null;
  last_epoch_at: string | null;
  schedule: Schedule | null;
}

export interface GraphNode {
  id: string;
  kind: "source" | "transform" | "sink";
  type: string;
  rate: number | null;
}

export interface GraphEdge {
  from: string;
  to: string;
  rate: number | null;
}

export interface Graph {
  nodes: GraphNode[];
  edges: GraphEdge[];
}

/** Counts of the ledger, added up for one sink. */
export interface SinkSums {
  sink: string;
  promise: string | null;
  delivered: number;
  filtered: number;
  deduplicated: number;
  late: number;
  aggregated: number;
  dead_lettered: number;
  lost: number;
  expanded: number;
  rejected_after: number;
}

/** Something that cannot be read, as the newest run noted it. */
export interface FailingSplit {
  source: string;
  split: string;
  state: "failed" | "broken" | "passed_over" | "waiting";
  error: string;
  hint: string | null;
  since: string;
  next_try: string | null;
}

/** A step that has an event time. */
export interface StepTime {
  step: string;
  watermark: string | null;
  open_windows: number;
  open_records: number;
  closes_next: string | null;
  held_by: "split" | "failed" | "waiting" | null;
  held_by_split: string | null;
  held_since: string | null;
}

export interface PipelineDetail extends Pipeline {
  graph: Graph | null;
  lineages: {
    lineage: string;
    epoch: number;
    committed_at: string | null;
    owner: string | null;
  }[];
  splits: {
    source: string;
    split: string;
    phase: string;
    position: string | number | null;
    lag: number | null;
  }[];
  steps: StepTime[];
  failing: FailingSplit[];
  sinks: SinkSums[];
  balanced: boolean | null;
}

export interface Epoch {
  lineage: string;
  epoch: number;
  at: string | null;
  seconds: number | null;
  read: number;
  delivered: number;
  dead_lettered: number;
}

export interface DeadLetter {
  ts: string | null;
  /** None where a step refused the record, before any sink. */
  sink: string | null;
  step: string | null;
  split: string;
  position: number | string;
  epoch: number;
  reason: string;
  kind: string | null;
  original: string | null;
  original_base64?: string | null;
  state: string;
}

export interface DeadLetters {
  total: number;
  letters: DeadLetter[];
}

export interface Replayed {
  replayed: number;
  remaining: number;
  failed: number;
}

export interface Run {
  started: string;
  ended: string | null;
  due: string | null;
  outcome: string;
  read: number | null;
  delivered: number | null;
  message: string | null;
}
