// Numbers, sizes and times as people read them. Pure; times are UTC, as the server counts days.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** In full up to four digits, then `12.3K`. */
export function shortCount(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) < 10_000 ? trimmed(value) : short.format(value);
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(size) : trimmed(size)} ${units[unit]}`;
}

export function percent(part: number | null | undefined): string {
  if (part === null || part === undefined || Number.isNaN(part)) return NONE;
  const hundred = part * 100;
  if (hundred !== 0 && hundred < 0.01) return "<0.01 %";
  return `${hundred.toFixed(hundred < 1 && hundred > 0 ? 2 : 1)} %`;
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return value >= 1000 ? seconds(value / 1000) : `${trimmed(value)} ms`;
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${trimmed(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172_800) return `${trimmed(value / 3600)} h`;
  return `${trimmed(value / 86_400)} d`;
}

export function rate(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : `${shortCount(value)}/s`;
}

/** `17 May 2015 10:05:03`. */
export function time(text: string | null | undefined): string {
  const date = dateOf(text);
  return date === null ? NONE : `${day(date)} ${clock(date, true)}`;
}

/** `17 May 2015 10:05`, or the day alone at midnight. */
export function shortTime(text: string | null | undefined): string {
  const date = dateOf(text);
  if (date === null) return NONE;
  const atMidnight = date.getTime() % 86_400_000 === 0;
  return atMidnight ? day(date) : `${day(date)} ${clock(date, false)}`;
}

/** `28 Feb – 14 Mar 2026`, and the hours of a single day. */
export function span(first: string | null, last: string | null): string {
  const [start, end] = [dateOf(first), dateOf(last)];
  if (start === null || end === null) return NONE;
  if (utcDay(start) === utcDay(end)) {
    return `${day(start)}, ${clock(start, false)} – ${clock(end, false)}`;
  }
  const isOneYear = start.getUTCFullYear() === end.getUTCFullYear();
  return `${isOneYear ? dayAndMonth(start) : day(start)} – ${day(end)}`;
}

/** `3 min ago`. */
export function ago(text: string | null | undefined, now: number): string {
  const date = dateOf(text);
  if (date === null) return NONE;
  const past = (now - date.getTime()) / 1000;
  if (Math.abs(past) < 1) return "now";
  return past > 0 ? `${seconds(Math.round(past))} ago` : `in ${seconds(Math.round(-past))}`;
}

/** The labels of a time axis: each says only what is new. */
export function axisLabels(ticks: readonly number[], step: number): string[] {
  let previous: Date | null = null;
  return ticks.map((tick) => {
    const date = new Date(tick * 1000);
    const label = axisLabel(date, previous, step);
    previous = date;
    return label;
  });
}

function axisLabel(date: Date, previous: Date | null, step: number): string {
  const isNewYear = previous?.getUTCFullYear() !== date.getUTCFullYear();
  const isNewDay = previous === null || utcDay(previous) !== utcDay(date);
  const year = date.getUTCFullYear();
  const month = MONTHS[date.getUTCMonth()];
  if (step >= 365 * 86_400) return `${year}`;
  if (step >= 28 * 86_400) return isNewYear ? `${month}\n${year}` : `${month}`;
  const dayText = dayAndMonth(date);
  if (step >= 86_400) return isNewYear ? `${dayText}\n${year}` : dayText;
  const clockText = clock(date, step < 60);
  if (!isNewDay) return clockText;
  return `${clockText}\n${dayText}${isNewYear ? ` ${year}` : ""}`;
}

function utcDay(date: Date): number {
  return Math.floor(date.getTime() / 86_400_000);
}

function day(date: Date): string {
  return `${dayAndMonth(date)} ${date.getUTCFullYear()}`;
}

function dayAndMonth(date: Date): string {
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
}

function clock(date: Date, withSeconds: boolean): string {
  return date.toISOString().slice(11, withSeconds ? 19 : 16);
}

/** Three digits that mean something: `1.2`, `12.3`, `123`. */
function trimmed(value: number): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1;
  return Math.abs(value) < 1 && value !== 0
    ? String(Number(value.toPrecision(2)))
    : new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
}

function dateOf(text: string | null | undefined): Date | null {
  if (!text) return null;
  const hasZone = /([zZ]|[+-]\d\d:?\d\d)$/.test(text) || !text.includes("T");
  const date = new Date(hasZone ? text : `${text}Z`);
  return Number.isNaN(date.getTime()) ? null : date;
}
