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
 * The whole intervals that a marked stretch touches, where `until` is the end of the last one. The
 * server counts `end` in, so it is the last second of the last interval.
 */
export function wholeIntervals(times: readonly number[], until: number, marked: Stretch): Stretch {
  const first = intervalOf(times, marked.start);
  const last = Math.max(intervalOf(times, marked.end), first);
  return { start: times[first] ?? marked.start, end: endOf(times, until, last) - 1 };
}

/** Where an interval ends: months and years are of different lengths. */
export function endOf(times: readonly number[], until: number, at: number): number {
  return times[at + 1] ?? until;
}

/** The place of the interval that a time lies in, or of the nearest one. */
function intervalOf(times: readonly number[], time: number): number {
  const after = times.findIndex((begin) => begin > time);
  return Math.max((after < 0 ? times.length : after) - 1, 0);
}
