// The arithmetic of the charts, apart from any canvas.

/** Sums from the first row up, so that the last row is the height of the stack. */
export function stack(rows: readonly (readonly number[])[]): number[][] {
  const sums: number[][] = [];
  for (const row of rows) {
    const below = sums.at(-1);
    sums.push(row.map((value, at) => value + (below?.[at] ?? 0)));
  }
  return sums;
}

export interface Stretch {
  start: number;
  end: number;
}

/**
 * The whole intervals that a marked stretch touches. The server counts `end` in, so it is the last
 * second of the last interval.
 */
export function wholeIntervals(times: readonly number[], step: number, marked: Stretch): Stretch {
  const first = times[0] ?? marked.start;
  const last = times.at(-1) ?? marked.end;
  const at = (time: number) => first + Math.floor((time - first) / step) * step;
  const start = Math.min(Math.max(at(marked.start), first), last);
  const end = Math.min(Math.max(at(marked.end), start), last);
  return { start, end: end + step - 1 };
}

/** Seconds from one point to the next. */
export function stepOf(times: readonly number[], interval: string): number {
  const named: Record<string, number> = { minute: 60, "5m": 300, hour: 3600, day: 86_400 };
  const [first, second] = times;
  if (first !== undefined && second !== undefined) return second - first;
  return named[interval] ?? 3600;
}
