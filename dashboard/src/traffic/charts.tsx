// Requests by class of status, visitors, bandwidth and latency over time. Marking a stretch of one
// narrows the page to it.

import { useId, useMemo } from "preact/hooks";
import type { ComponentChildren } from "preact";

import type { Point, Series, StatusClass } from "../api/types";
import { TimeChart } from "../chart/chart";
import { chartSpec, type ChartSeries } from "../chart/options";
import { stepOf } from "../chart/shape";
import * as format from "../format";
import { statusClass } from "../state/filters";
import { usePage } from "../state/page";
import { INTERVALS, type Interval } from "../state/url";

const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"] as const;
type ClassName = (typeof CLASSES)[number];

const INTERVAL_NAMES: Record<Interval, string> = {
  auto: "automatic",
  minute: "minute",
  "5m": "5 minutes",
  hour: "hour",
  day: "day",
};

interface Props {
  series: Series;
  classes: StatusClass[];
  pending: boolean;
}

export function Charts({ series, classes, pending }: Props) {
  const { go } = usePage();
  const specs = useMemo(() => specsOf(series), [series]);
  const onRange = (start: string, end: string) => go({ range: null, start, end });
  const rest = { pending, onRange };
  return (
    <div class={specs.latency ? "charts" : "charts two"}>
      <Panel class="wide" title="Requests" aside={<IntervalSelect used={series.interval} />}>
        <ClassBar classes={classes} />
        <TimeChart spec={specs.requests} height={210} {...rest} />
      </Panel>
      <Panel title="Visitors" aside="distinct address, day, agent">
        <TimeChart spec={specs.visitors} height={150} {...rest} />
      </Panel>
      <Panel title="Bandwidth" aside="bytes sent">
        <TimeChart spec={specs.bytes} height={150} {...rest} />
      </Panel>
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

function IntervalSelect({ used }: { used: string }) {
  const { state, go } = usePage();
  const id = useId();
  return (
    <span class="choice">
      <label for={id}>per</label>
      <select
        id={id}
        value={state.interval}
        onChange={(event) => go({ interval: event.currentTarget.value as Interval })}
      >
        {INTERVALS.map((interval) => (
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

function specsOf({ interval, points }: Series) {
  const times = points.map((point) => Date.parse(point.ts) / 1000);
  const step = stepOf(times, interval);
  const shape = { times, step };
  const pick = (value: (point: Point) => number | null) => points.map(value);
  const line = (label: string, color: string, value: (point: Point) => number | null) => {
    return { label, color, values: pick(value) } satisfies ChartSeries;
  };
  const used = CLASSES.filter((name) => points.some((point) => classCount(point, name) > 0));
  const shown = used.length > 0 ? used : (["2xx"] as const);
  const requests = chartSpec({
    ...shape,
    title: "Requests",
    unit: "count",
    kind: "stack",
    format: format.shortCount,
    series: shown.map((name) => line(name, `--s${name}`, (point) => classCount(point, name))),
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
  const hasLatency = points.some((point) => point.p50 !== null);
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
  return { requests, visitors, bytes, latency: hasLatency ? latency : null };
}

function classCount(point: Point, name: ClassName): number {
  return point[`s${name}`];
}
