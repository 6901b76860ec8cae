// A chart over time: drawn by uPlot, marked with the mouse or the keyboard, and readable as a table.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import { isoTime } from "../state/url";
import { useColors } from "../state/theme";
import { shortTime } from "../format";
import { plotOptions, type ChartSpec } from "./options";
import { endOf, wholeIntervals, type Stretch } from "./shape";

interface Props {
  spec: ChartSpec;
  height: number;
  pending: boolean;
  onRange: (start: string, end: string) => void;
}

const HELP = "Arrow keys read points, Shift and arrow keys mark a range, Enter shows it alone.";

export function TimeChart({ spec, height, pending, onRange }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const colors = useColors();
  const keyboard = useKeyboard(plot, spec, onRange);
  const pick = useRef((_: Stretch) => {});
  pick.current = (marked) => {
    const { start, end } = wholeIntervals(spec.times, spec.until, marked);
    onRange(isoTime(new Date(start * 1000)), isoTime(new Date(end * 1000)));
  };

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const size = { width: Math.max(element.clientWidth, 120), height };
    const options = plotOptions(spec, size, (marked) => pick.current(marked));
    const made = new uPlot(options, spec.data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      made.setSize({ width: Math.max(element.clientWidth, 120), height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [spec, colors, height]);

  return (
    <figure class={pending ? "chart pending" : "chart"} aria-busy={pending}>
      <div
        ref={box}
        class="plot"
        tabIndex={0}
        role="group"
        aria-roledescription="chart"
        aria-label={`${spec.summary} ${HELP}`}
        onKeyDown={keyboard.onKeyDown}
        onBlur={keyboard.onBlur}
      />
      <p class="sr-only" role="status">
        {keyboard.announced}
      </p>
      <PointsTable spec={spec} />
    </figure>
  );
}

interface Keyboard {
  announced: string;
  onKeyDown: (event: KeyboardEvent) => void;
  onBlur: () => void;
}

/** What a mouse does by dragging, with keys. */
function useKeyboard(
  plot: { current: uPlot | null },
  spec: ChartSpec,
  onRange: Props["onRange"],
): Keyboard {
  const [announced, setAnnounced] = useState("");
  const at = useRef(-1);
  const anchor = useRef(-1);
  useEffect(() => {
    at.current = -1;
    anchor.current = -1;
  }, [spec]);

  const move = (to: number, isMarking: boolean) => {
    const last = spec.times.length - 1;
    const target = Math.min(Math.max(to, 0), last);
    if (isMarking && anchor.current < 0) anchor.current = Math.max(at.current, 0);
    if (!isMarking) anchor.current = -1;
    at.current = target;
    show(plot.current, spec, target, anchor.current);
    setAnnounced(spec.describe(target));
  };
  const apply = () => {
    if (at.current < 0) return;
    const from = anchor.current < 0 ? at.current : anchor.current;
    const [first, last] = from < at.current ? [from, at.current] : [at.current, from];
    const start = spec.times[first];
    const end = spec.times[last];
    if (start === undefined || end === undefined) return;
    const whole = wholeIntervals(spec.times, spec.until, { start, end });
    onRange(isoTime(new Date(whole.start * 1000)), isoTime(new Date(whole.end * 1000)));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const moves: Record<string, number> = {
      ArrowLeft: at.current - 1,
      ArrowRight: at.current + 1,
      Home: 0,
      End: spec.times.length - 1,
    };
    const to = moves[event.key];
    if (to !== undefined) move(to, event.shiftKey);
    else if (event.key === "Enter") apply();
    else return;
    event.preventDefault();
  };
  const onBlur = () => {
    plot.current?.setCursor({ left: -10, top: -10 });
    plot.current?.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };
  return { announced, onKeyDown, onBlur };
}

function show(plot: uPlot | null, spec: ChartSpec, at: number, anchor: number): void {
  const time = spec.times[at];
  if (!plot || time === undefined) return;
  const left = plot.valToPos(spec.drawn[at] ?? time, "x");
  plot.setCursor({ left, top: plot.over.clientHeight / 3 });
  const from = anchor < 0 ? undefined : spec.times[anchor];
  if (from === undefined) {
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    return;
  }
  const start = plot.valToPos(Math.min(from, time), "x");
  const end = plot.valToPos(endOf(spec.times, spec.until, Math.max(at, anchor)), "x");
  const height = plot.over.clientHeight;
  plot.setSelect({ left: start, top: 0, width: end - start, height }, false);
}

function PointsTable({ spec }: { spec: ChartSpec }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="points" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        Table<span class="sr-only"> of {spec.title}</span>
      </summary>
      {isOpen && (
        <div class="scroll tall" tabIndex={0} role="region" aria-label={`${spec.title}, table`}>
          <table>
            <caption class="sr-only">{spec.title}</caption>
            <thead>
              <tr>
                <th scope="col">Time (UTC)</th>
                {spec.series.map((series) => (
                  <th scope="col" class="number">
                    {series.label}
                  </th>
                ))}
              </tr>
            </thead>
            <PointRows spec={spec} />
          </table>
        </div>
      )}
    </details>
  );
}

function PointRows({ spec }: { spec: ChartSpec }) {
  const rows = useMemo(() => spec.times.map((time, at) => ({ time, at })), [spec]);
  return (
    <tbody>
      {rows.map(({ time, at }) => (
        <tr>
          <th scope="row">{shortTime(new Date(time * 1000).toISOString())}</th>
          {spec.series.map((series) => (
            <td class="number">{spec.format(series.values[at] ?? null)}</td>
          ))}
        </tr>
      ))}
    </tbody>
  );
}
