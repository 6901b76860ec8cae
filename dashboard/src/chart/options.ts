// From what a chart shows to the options of uPlot: axes, series, tooltip, and the marking of a range.

import uPlot from "uplot";

import { axisLabels, shortTime } from "../format";
import { endOf, stack, type Stretch } from "./shape";

export interface ChartSeries {
  label: string;
  /** A custom property of the style sheet, such as `--s2xx`. */
  color: string;
  values: (number | null)[];
}

export interface ChartSpec {
  title: string;
  /** One sentence that says what a look at the chart says. */
  summary: string;
  times: number[];
  /** Where the last interval ends. */
  until: number;
  /** Where in their intervals points are drawn. */
  drawn: number[];
  series: ChartSeries[];
  data: uPlot.AlignedData;
  kind: "stack" | "lines";
  /** What is counted has no halves. */
  unit: "count" | "measure";
  format: (value: number | null) => string;
  /** What is read out at a point. */
  describe: (at: number) => string;
}

interface Parts {
  title: string;
  times: number[];
  until: number;
  series: ChartSeries[];
  kind: ChartSpec["kind"];
  unit: ChartSpec["unit"];
  format: ChartSpec["format"];
}

/** Marking fewer pixels than this is a click. */
const MARK_PIXELS_MIN = 4;
const CURSOR_GROUP = "time";
const WHOLE_STEPS = Array.from({ length: 13 }, (_, power) => 10 ** power).flatMap((power) => [
  power,
  2 * power,
  5 * power,
]);

export function chartSpec({ title, times, until, series, kind, unit, format }: Parts): ChartSpec {
  const middle = (time: number, at: number) => (time + endOf(times, until, at)) / 2;
  const drawn = kind === "stack" ? times : times.map(middle);
  const rows = series.map(({ values }) => values);
  const heights =
    kind === "stack" ? stack(rows.map((row) => row.map((value) => value ?? 0))).reverse() : rows;
  const describe = (at: number) => {
    const time = shortTime(isoOf(times[at] ?? 0));
    return `${time}: ${series.map(({ label, values }) => `${label} ${format(values[at] ?? null)}`).join(", ")}`;
  };
  const data: uPlot.AlignedData = [drawn, ...heights];
  const summary = summaryOf(title, times, series, format);
  return { title, summary, times, until, drawn, series, data, kind, unit, format, describe };
}

function summaryOf(
  title: string,
  times: number[],
  series: ChartSeries[],
  format: ChartSpec["format"],
): string {
  const [first, last] = [times[0], times.at(-1)];
  if (first === undefined || last === undefined) return `${title}: no points.`;
  const peaks = series.map(({ label, values }) => {
    const numbers = values.filter((value) => value !== null);
    return numbers.length === 0 ? null : `${label} at most ${format(Math.max(...numbers))}`;
  });
  const range = `${times.length} points from ${shortTime(isoOf(first))} to ${shortTime(isoOf(last))} UTC`;
  return `${title}: ${range}; ${peaks.filter((peak) => peak !== null).join(", ")}.`;
}

export function plotOptions(
  spec: ChartSpec,
  size: { width: number; height: number },
  onMark: (marked: Stretch) => void,
): uPlot.Options {
  const color = resolvedColor;
  const first = spec.times[0] ?? 0;
  const last = spec.until;
  const axis = {
    stroke: color("--muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: color("--grid"), width: 1 },
    ticks: { show: false },
  };
  return {
    ...size,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: spec.kind === "lines", size: 7 },
      drag: { x: true, y: false, setScale: false },
      sync: { key: CURSOR_GROUP, filters: { pub: isMoving } },
    },
    scales: {
      x: { time: true, range: [first, last] },
      y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 36,
        space: 64,
        gap: 4,
        grid: { show: false },
        values: (_plot, ticks, _axis, _space, step) => axisLabels(ticks, step),
      },
      {
        ...axis,
        size: 58,
        gap: 4,
        space: 34,
        ...(spec.unit === "count" ? { incrs: WHOLE_STEPS } : {}),
        values: (_plot, ticks) => ticks.map((tick) => spec.format(tick)),
      },
    ],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    series: [{}, ...drawnSeries(spec, color)],
    hooks: {
      setSelect: [(plot) => takeMark(plot, onMark)],
      setCursor: [tooltip(spec, color)],
    },
  };
}

/** What a custom property is in the theme of now; a canvas does not know `light-dark()`. */
function resolvedColor(name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function isMoving(type: string): boolean {
  return type === "mousemove" || type === "mouseleave";
}

function drawnSeries(spec: ChartSpec, color: (name: string) => string): uPlot.Series[] {
  if (spec.kind === "stack") {
    const bars = uPlot.paths.bars?.({ size: [0.86, 64], align: 1 });
    const top = [...spec.series].reverse();
    return top.map((series) => ({
      label: series.label,
      fill: color(series.color),
      stroke: color(series.color),
      width: 0,
      points: { show: false },
      ...(bars ? { paths: bars } : {}),
    }));
  }
  const isSingle = spec.series.length === 1;
  return spec.series.map((series) => ({
    label: series.label,
    stroke: color(series.color),
    width: 1.5,
    ...(isSingle ? { fill: color(`${series.color}-soft`) } : {}),
    // A line needs two of them, side by side.
    points: { show: series.values.filter((value) => value !== null).length <= 2, size: 5 },
  }));
}

function takeMark(plot: uPlot, onMark: (marked: Stretch) => void): void {
  const { left, width } = plot.select;
  if (width < MARK_PIXELS_MIN) return;
  const marked = { start: plot.posToVal(left, "x"), end: plot.posToVal(left + width, "x") };
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  onMark(marked);
}

/** A box beside the pointer; for the eye alone, others hear the point or read the table. */
function tooltip(spec: ChartSpec, color: (name: string) => string): (plot: uPlot) => void {
  let box: HTMLElement | null = null;
  return (plot) => {
    if (!box) {
      box = document.createElement("div");
      box.className = "tooltip";
      box.setAttribute("aria-hidden", "true");
      plot.over.appendChild(box);
    }
    const at = plot.cursor.idx;
    const left = plot.cursor.left ?? -1;
    const time = at === null || at === undefined ? undefined : spec.times[at];
    box.hidden = time === undefined || left < 0;
    if (box.hidden || time === undefined || at === null || at === undefined) return;
    const title = document.createElement("b");
    title.textContent = shortTime(isoOf(time));
    const rows = spec.series.map((series) =>
      tooltipRow(series, spec.format(series.values[at] ?? null), color),
    );
    box.replaceChildren(title, ...rows.reverse());
    const isRight = left > plot.over.clientWidth / 2;
    box.style.left = isRight ? "" : `${left + 12}px`;
    box.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : "";
  };
}

function tooltipRow(
  series: ChartSeries,
  value: string,
  color: (name: string) => string,
): HTMLElement {
  const row = document.createElement("div");
  const mark = document.createElement("i");
  mark.style.background = color(series.color);
  const label = document.createElement("span");
  label.textContent = series.label;
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = value;
  row.append(mark, label, number);
  return row;
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
