// Filters: `COLUMN` + operator + value, the same text in the address of the page and of the API.

export const OPERATORS = ["!=", ">=", "<=", "=", "~"] as const;
export type Operator = (typeof OPERATORS)[number];

export interface Filter {
  column: string;
  operator: Operator;
  value: string;
}

/** As many as the server takes. */
export const FILTERS_MAX = 20;

/** `null` if the text is no filter. */
export function parseFilter(text: string): Filter | null {
  const found = /^([A-Za-z_][A-Za-z0-9_.]*)(!=|>=|<=|=|~)([\s\S]*)$/.exec(text);
  if (!found) return null;
  const [, column, operator, value] = found;
  return { column: column as string, operator: operator as Operator, value: value as string };
}

export function formatFilter(filter: Filter): string {
  return `${filter.column}${filter.operator}${filter.value}`;
}

/** The opposite, or `null` where one filter cannot say it. */
export function negate(filter: Filter): Filter | null {
  const { operator, value } = filter;
  if (operator === "=") return { ...filter, operator: "!=" };
  if (operator === "!=") return { ...filter, operator: "=" };
  if (!/^-?\d+$/.test(value)) return null;
  if (operator === ">=") return { ...filter, operator: "<=", value: String(Number(value) - 1) };
  if (operator === "<=") return { ...filter, operator: ">=", value: String(Number(value) + 1) };
  return null;
}

/** The list with one more; the same filter twice, or beside its opposite, makes no sense. */
export function addFilter(filters: readonly Filter[], filter: Filter): Filter[] {
  const opposite = negate(filter);
  const isReplaced = (other: Filter) =>
    same(other, filter) || (opposite !== null && same(other, opposite));
  return [...filters.filter((other) => !isReplaced(other)), filter].slice(-FILTERS_MAX);
}

export function removeFilter(filters: readonly Filter[], filter: Filter): Filter[] {
  return filters.filter((other) => !same(other, filter));
}

export function same(one: Filter, other: Filter): boolean {
  return formatFilter(one) === formatFilter(other);
}

/** What a chip says. */
export function describe(filter: Filter): string {
  const words: Record<Operator, string> = {
    "=": "is",
    "!=": "is not",
    "~": "contains",
    ">=": "at least",
    "<=": "at most",
  };
  const value = filter.value === "" ? "empty" : filter.value;
  return `${filter.column} ${words[filter.operator]} ${value}`;
}

/** Replaces whatever narrows the status by the bounds of one class. */
export function statusClass(filters: readonly Filter[], name: string): Filter[] {
  const others = filters.filter((filter) => filter.column !== "status");
  const first = Number(name[0]) * 100;
  return [
    ...others,
    { column: "status", operator: ">=", value: String(first) },
    { column: "status", operator: "<=", value: String(first + 99) },
  ];
}
