// What is at the top of each column. A click on a value filters by it; the sign beside it excludes it.

import { useEffect, useId, useState } from "preact/hooks";

import { isReport } from "../api/client";
import type { Cell, Column, Summary, TopRow } from "../api/types";
import * as format from "../format";
import { cellText } from "../parts/cells";
import { Icon } from "../parts/icon";
import { Await } from "../parts/notice";
import { useJson } from "../state/load";
import { usePage } from "../state/page";
import { MEASURES, type Measure } from "../state/url";

interface Panel {
  title: string;
  /** Tables have either of these. */
  columns: string[];
}

const PANELS: Panel[] = [
  { title: "Endpoints", columns: ["endpoint", "path"] },
  { title: "Addresses", columns: ["ip"] },
  { title: "Countries", columns: ["country"] },
  { title: "Referrers", columns: ["referrer"] },
  { title: "Browsers", columns: ["ua_browser"] },
  { title: "Systems", columns: ["ua_os"] },
  { title: "Status codes", columns: ["status"] },
  { title: "Methods", columns: ["method"] },
  { title: "Devices", columns: ["ua_device"] },
];
const MEASURE_NAMES: Record<Measure, string> = {
  count: "requests",
  bytes: "bandwidth",
  visitors: "visitors",
};
/** Panels of a table that holds no requests; `rest` is what its format has no columns for. */
const OTHERS_MAX = 9;
const ROWS_FIRST = 8;
const ROWS_MORE = 50;

interface Props {
  query: string;
  summary: Summary | null;
}

export function Tops({ query, summary }: Props) {
  const { state, go, columns } = usePage();
  const id = useId();
  const found = panelsOf(columns);
  const absent = found.filter(({ column }) => column === undefined).map(({ title }) => title);
  return (
    <section aria-labelledby={`${id}-title`}>
      <header class="section">
        <h2 id={`${id}-title`}>Top</h2>
        <span class="choice" hidden={isReport}>
          <label for={id}>by</label>
          <select
            id={id}
            value={state.by}
            onChange={(event) => go({ by: event.currentTarget.value as Measure })}
          >
            {MEASURES.map((measure) => (
              <option value={measure}>{MEASURE_NAMES[measure]}</option>
            ))}
          </select>
        </span>
      </header>
      <div class="tops">
        {found.map(
          ({ title, column }) =>
            column && (
              <TopPanel
                key={column}
                title={title}
                column={column}
                query={query}
                summary={summary}
              />
            ),
        )}
      </div>
      {!isReport && columns.length > 0 && absent.length > 0 && (
        <p class="hint">
          The table has no column for {absent.join(", ").toLowerCase()}; the transform{" "}
          <code>enrich</code> adds user agents and countries.
        </p>
      )}
    </section>
  );
}

/** A table that holds no requests shows the largest groups of its own columns. */
function panelsOf(columns: readonly Column[]): { title: string; column: string | undefined }[] {
  const names = new Set(columns.map((column) => column.name));
  const found = PANELS.map(({ title, columns }) => {
    return { title, column: columns.find((name) => names.has(name)) };
  });
  const isOfRequests = ["endpoint", "path", "ip"].some((name) => names.has(name));
  if (columns.length === 0 || isOfRequests) return found;
  const others = columns.filter(
    ({ name, type }) => type !== "time" && name !== "rest" && !name.startsWith("_"),
  );
  return others.slice(0, OTHERS_MAX).map(({ name }) => ({ title: name, column: name }));
}

interface TopProps extends Props {
  title: string;
  column: string;
}

function TopPanel({ title, column, query, summary }: TopProps) {
  const { state, tick } = usePage();
  const [isLong, setLong] = useState(false);
  useEffect(() => setLong(false), [query]);
  const limit = isLong ? ROWS_MORE : ROWS_FIRST;
  // One more than shown says whether there are more.
  const visitors = state.by === "visitors" ? "include" : "exclude";
  const path = `analytics/top/${column}?${query}&by=${state.by}&visitors=${visitors}&limit=${limit + 1}`;
  const top = useJson<TopRow[]>(path, tick);
  return (
    <div class="panel top" data-column={column}>
      <Await what={title} loaded={top}>
        {(rows) => (
          <>
            <TopTable
              title={title}
              column={column}
              rows={rows.slice(0, limit)}
              measure={state.by}
              total={totalOf(summary, state.by)}
            />
            {(rows.length > limit || isLong) && (
              <button type="button" class="plain more" onClick={() => setLong(!isLong)}>
                {isLong ? "Fewer" : "More"}
                <span class="sr-only"> {title.toLowerCase()}</span>
              </button>
            )}
          </>
        )}
      </Await>
    </div>
  );
}

interface TableProps {
  title: string;
  column: string;
  rows: TopRow[];
  measure: Measure;
  total: number | null;
}

export function TopTable({ title, column, rows, measure, total }: TableProps) {
  const most = Math.max(1, ...rows.map((row) => measured(row, measure) ?? 0));
  return (
    <table class="bars">
      <caption>{title}</caption>
      <thead>
        <tr>
          <th scope="col">{column}</th>
          <th scope="col" class="number">
            {MEASURE_NAMES[measure]}
          </th>
          <th scope="col" class="number share">
            share
          </th>
          <th scope="col">
            <span class="sr-only">exclude</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <TopLine
            key={String(row.value)}
            column={column}
            value={row.value}
            amount={measured(row, measure)}
            most={most}
            total={total}
            measure={measure}
          />
        ))}
      </tbody>
    </table>
  );
}

interface LineProps {
  column: string;
  value: Cell;
  amount: number | null;
  most: number;
  total: number | null;
  measure: Measure;
}

function TopLine({ column, value, amount, most, total, measure }: LineProps) {
  const { filterBy } = usePage();
  const text = cellText(value);
  const wanted = value === null ? "" : String(value);
  const isBytes = measure === "bytes";
  return (
    <tr>
      <td>
        <span class="bar" style={{ width: `${((amount ?? 0) / most) * 100}%` }} />
        <button
          type="button"
          class="value"
          title={text}
          disabled={isReport}
          onClick={() => filterBy({ column, operator: "=", value: wanted })}
        >
          {text}
        </button>
      </td>
      <td class="number" title={format.count(amount)}>
        {isBytes ? format.bytes(amount) : format.shortCount(amount)}
      </td>
      <td class="number share">{total ? format.percent((amount ?? 0) / total) : "–"}</td>
      <td class="exclude">
        {!isReport && (
          <button
            type="button"
            class="icon"
            aria-label={`Exclude ${text}`}
            title={`Exclude ${text}`}
            onClick={() => filterBy({ column, operator: "!=", value: wanted })}
          >
            <Icon name="not" />
          </button>
        )}
      </td>
    </tr>
  );
}

function measured(row: TopRow, measure: Measure): number | null {
  return row[measure];
}

function totalOf(summary: Summary | null, measure: Measure): number | null {
  if (!summary) return null;
  const totals = { count: summary.requests, bytes: summary.bytes, visitors: summary.visitors };
  return totals[measure];
}
