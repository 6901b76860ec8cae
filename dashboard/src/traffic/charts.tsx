// Requests by class of status, visitors, bandwidth and latency over time. Marking a stretch of one
// narrows the page to it.

import { useId, useMemo } from "preact/hooks";
import type { ComponentChildren } from "preact";

import type { Point, Series, StatusClass } from "../api/types";
import { TimeChart } from "../chart/chart";
import { chartSpec, type ChartSeries } from "../chart/options";
import { isReport } from "../api/client";
import * as format from "../format";
import { statusClass } from "../state/filters";
import { usePage } from "../state/page";
import { INTERVALS, type Interval } from "../state/url";

const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"] as const;

const INTERVAL_NAMES: Record<Interval, string> = {
  auto: "automatic",
  minute: "minute",
  "5m": "5 minutes",
  hour: "hour",
  day: "day",
  week: "week",
  month: "month",
  year: "year",
};
/** The shortest that they are, in seconds. */
const SECONDS: Record<Exclude<Interval, "auto">, number> = {
  minute: 60,
  "5m": 300,
  hour: 3600,
  day: 82_800,
  week: 601_200,
  month: 2_415_600,
  year: 31_532_400,
};
/** The most points that the server gives. */
const POINTS_MAX = 1000;

interface Props {
  series: Series;
  classes: StatusClass[];
  pending: boolean;
  /** Whether visitors are being counted, which takes longest. */
  isCounting: boolean;
}

export function Charts({ series, classes, pending, isCounting }: Props) {
  const { go } = usePage();
  const specs = useMemo(() => specsOf(series), [series]);
  const onRange = (start: string, end: string) => go({ range: null, start, end });
  const rest = { pending, onRange };
  const shown = [specs.visitors ?? isCounting, specs.bytes, specs.latency];
  const panels = shown.filter((panel) => panel !== null && panel !== false).length;
  return (
    <div class={["charts one", "charts one", "charts two", "charts"][panels]}>
      <Panel class="wide" title="Requests" aside={<IntervalSelect series={series} />}>
        {classes.length > 0 && <ClassBar classes={classes} />}
        <TimeChart spec={specs.requests} height={210} {...rest} />
      </Panel>
      {(specs.visitors || isCounting) && (
        <Panel title="Visitors" aside="distinct address, day, agent">
          {specs.visitors ? (
            <TimeChart spec={specs.visitors} height={150} {...rest} />
          ) : (
            <p class="loading counting">Counting…</p>
          )}
        </Panel>
      )}
      {specs.bytes && (
        <Panel title="Bandwidth" aside="bytes sent">
          <TimeChart spec={specs.bytes} height={150} {...rest} />
        </Panel>
      )}
      {specs.latency && (
        <Panel title="Latency" aside={<LatencyKey />}>
          <TimeChart spec={specs.latency} height={150} {...rest} />
        </Panel>
      )}
    </div>
  );
}

interface PanelProps {
  title: string;
  aside?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

function Panel({ title, aside, children, ...rest }: PanelProps) {
  const id = useId();
  return (
    <section class={`panel ${rest.class ?? ""}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        <span class="aside">{aside}</span>
      </header>
      {children}
    </section>
  );
}

function IntervalSelect({ series }: { series: Series }) {
  const { state, go } = usePage();
  const id = useId();
  const used = series.interval;
  if (isReport) return <span>per {INTERVAL_NAMES[used as Interval] ?? used}</span>;
  const first = series.points[0]?.ts ?? "";
  const seconds = (Date.parse(series.until ?? "") - Date.parse(first)) / 1000;
  const fits = (interval: Interval) =>
    interval === "auto" || interval === state.interval || seconds / SECONDS[interval] < POINTS_MAX;
  return (
    <span class="choice">
      <label for={id}>per</label>
      <select
        id={id}
        value={state.interval}
        onChange={(event) => go({ interval: event.currentTarget.value as Interval })}
      >
        {INTERVALS.filter(fits).map((interval) => (
          <option value={interval}>
            {interval === "auto"
              ? `${INTERVAL_NAMES[used as Interval] ?? used} (auto)`
              : INTERVAL_NAMES[interval]}
          </option>
        ))}
      </select>
    </span>
  );
}

/** The legend of the first chart: shares of the classes, each a filter. */
function ClassBar({ classes }: { classes: StatusClass[] }) {
  const { state, go } = usePage();
  const total = classes.reduce((sum, { count }) => sum + count, 0);
  const there = classes.filter(({ count }) => count > 0);
  return (
    <div class="classes">
      <div class="classbar" aria-hidden="true">
        {there.map(({ class: name, count }) => (
          <span class={`s${name}`} style={{ flexGrow: count / total }} />
        ))}
      </div>
      <ul aria-label="Status classes">
        {there.map(({ class: name, count }) => (
          <li>
            <button
              type="button"
              class="value"
              title={`Only ${name}`}
              disabled={isReport}
              onClick={() => go({ filters: statusClass(state.filters, name) })}
            >
              <i class={`s${name}`} aria-hidden="true" />
              <span>{name}</span>
              <b>{format.shortCount(count)}</b>
              <span class="share">{format.percent(count / total)}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function LatencyKey() {
  return (
    <span class="key" aria-hidden="true">
      <i class="p50" /> p50 <i class="p95" /> p95 <i class="p99" /> p99
    </span>
  );
}

function specsOf({ points, until }: Series) {
  const times = points.map((point) => Date.parse(point.ts) / 1000);
  const shape = { times, until: Date.parse(until ?? "") / 1000 };
  const pick = (value: (point: Point) => number | null) => points.map(value);
  const line = (label: string, color: string, value: (point: Point) => number | null) => {
    return { label, color, values: pick(value) } satisfies ChartSeries;
  };
  const used = CLASSES.filter((name) => points.some((point) => (point[`s${name}`] ?? 0) > 0));
  const classes = used.map((name) => line(name, `--s${name}`, (point) => point[`s${name}`]));
  const all = line("Requests", "--s2xx", (point) => point.requests);
  const requests = chartSpec({
    ...shape,
    title: "Requests",
    unit: "count",
    kind: "stack",
    format: format.shortCount,
    series: classes.length > 0 ? classes : [all],
  });
  const visitors = chartSpec({
    ...shape,
    title: "Visitors",
    unit: "count",
    kind: "lines",
    format: format.shortCount,
    series: [line("Visitors", "--visitors", (point) => point.visitors)],
  });
  const bytes = chartSpec({
    ...shape,
    title: "Bandwidth",
    unit: "measure",
    kind: "lines",
    format: format.bytes,
    series: [line("Bytes", "--bytes", (point) => point.bytes)],
  });
  const known = (value: (point: Point) => number | null) =>
    points.some((point) => value(point) !== null);
  const latency = chartSpec({
    ...shape,
    title: "Latency",
    unit: "measure",
    kind: "lines",
    format: format.milliseconds,
    series: [
      line("p50", "--p50", (point) => point.p50),
      line("p95", "--p95", (point) => point.p95),
      line("p99", "--p99", (point) => point.p99),
    ],
  });
  return {
    requests,
    visitors: known((point) => point.visitors) ? visitors : null,
    bytes: known((point) => point.bytes) ? bytes : null,
    latency: known((point) => point.p50) ? latency : null,
  };
}
