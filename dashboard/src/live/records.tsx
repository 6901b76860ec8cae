// Records as a table: a click on a value filters by it.

import type { Row, Records } from "../api/types";
import * as format from "../format";
import { FilterCell, cellText, moveBetweenCells } from "../parts/cells";
import { usePage } from "../state/page";

/** What people look for first; the rest follows in the order of the table. */
const FIRST = ["ts", "status", "method", "endpoint", "path", "ip", "bytes", "response_time_ms"];
/** Long, and said shorter by other columns. */
const LAST = ["user_agent"];
/** The same again in other words, or nothing for the eye. */
const HIDDEN = ["_split", "_position", "_epoch", "_lossy", "query", "ts_day"];

export function RecordTable({ title, records }: { title: string; records: Records }) {
  const { columns } = usePage();
  const isFilled = (name: string) => records.rows.some((row) => row[name] != null);
  const names = orderOf(records.columns.filter(isFilled));
  const filterable = new Set(columns.filter((column) => column.filterable).map(({ name }) => name));
  const times = new Set(columns.filter((column) => column.type === "time").map(({ name }) => name));
  const numbers = new Set(columns.filter(({ type }) => type === "number").map(({ name }) => name));
  const classOfColumn = (name: string) => {
    return numbers.has(name) && name !== "status" ? "number" : "";
  };
  if (records.rows.length === 0) return <p class="hint">No record matches.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`${title}, table`}>
      <table class="records" onKeyDown={moveBetweenCells}>
        <caption>{title}</caption>
        <thead>
          <tr>
            {names.map((name) => (
              <th scope="col" class={classOfColumn(name)}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {records.rows.map((row, at) => (
            <tr class={classOf(row)}>
              {names.map((name, place) => (
                <td data-name={name} class={classOfColumn(name)}>
                  {times.has(name) ? (
                    <time>{format.time(cellText(row[name] ?? null))}</time>
                  ) : filterable.has(name) ? (
                    <FilterCell
                      column={name}
                      value={row[name] ?? null}
                      reachable={at === 0 && place === firstFilterable(names, times, filterable)}
                    />
                  ) : (
                    cellText(row[name] ?? null)
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function orderOf(columns: string[]): string[] {
  const shown = columns.filter((name) => !HIDDEN.includes(name));
  const first = FIRST.filter((name) => shown.includes(name));
  const hasBoth = first.includes("endpoint") && first.includes("path");
  const rest = shown.filter((name) => !first.includes(name));
  const middle = rest.filter((name) => !LAST.includes(name));
  const last = rest.filter((name) => LAST.includes(name));
  return [...(hasBoth ? first.filter((name) => name !== "path") : first), ...middle, ...last];
}

function firstFilterable(names: string[], times: Set<string>, filterable: Set<string>): number {
  return names.findIndex((name) => filterable.has(name) && !times.has(name));
}

function classOf(row: Row): string {
  const status = row["status"];
  if (typeof status !== "number" || status < 400) return "";
  return status >= 500 ? "is5xx" : "is4xx";
}
