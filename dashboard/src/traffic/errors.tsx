// Requests that went wrong: where most of them are, and the newest.

import { useId, useState } from "preact/hooks";

import type { Records, StatusClass, TopRow } from "../api/types";
import { RecordTable } from "../live/records";
import { Await } from "../parts/notice";
import { statusClass } from "../state/filters";
import { useJson } from "../state/load";
import { usePage } from "../state/page";
import { formatFilter } from "../state/filters";
import { TopTable } from "./tops";

const ROWS = 8;
const RECORDS = 15;
const NAMES = { "5xx": "Server errors (5xx)", "4xx": "Client errors (4xx)" } as const;
type Kind = keyof typeof NAMES;

export function Errors({ query }: { query: string }) {
  const { columns, tick } = usePage();
  const id = useId();
  const [kind, setKind] = useState<Kind>("5xx");
  const names = new Set(columns.map((column) => column.name));
  const column = names.has("endpoint") ? "endpoint" : "path";
  const hasStatus = columns.length === 0 || names.has("status");
  const narrowed = new URLSearchParams(query);
  for (const filter of statusClass([], kind)) narrowed.append("filter", formatFilter(filter));
  const classes = useJson<StatusClass[]>(
    hasStatus ? `analytics/status_classes?${narrowed}` : null,
    tick,
  );
  const top = useJson<TopRow[]>(
    hasStatus ? `analytics/top/${column}?${narrowed}&visitors=exclude&limit=${ROWS}` : null,
    tick,
  );
  const newest = useJson<Records>(
    hasStatus ? `analytics/records?${narrowed}&limit=${RECORDS}` : null,
    tick,
  );
  if (!hasStatus) return null;
  const total = classes.value?.find((found) => found.class === kind)?.count ?? 0;
  return (
    <section aria-labelledby={id} class="errors">
      <header class="section">
        <h2 id={id}>Errors</h2>
        <div class="segments" role="group" aria-label="Kind of error">
          {(Object.keys(NAMES) as Kind[]).map((choice) => (
            <button type="button" aria-pressed={choice === kind} onClick={() => setKind(choice)}>
              {NAMES[choice]}
            </button>
          ))}
        </div>
      </header>
      <div class="split">
        <div class="panel top">
          <Await what="Errors" loaded={top}>
            {(rows) =>
              rows.length === 0 ? (
                <p class="hint">No {NAMES[kind].toLowerCase()} here. Good.</p>
              ) : (
                <TopTable
                  title={`${NAMES[kind]} by ${column}`}
                  column={column}
                  rows={rows}
                  measure="count"
                  total={total}
                />
              )
            }
          </Await>
        </div>
        <div class="panel">
          <Await what="Newest errors" loaded={newest}>
            {(records) => (
              <RecordTable title={`Newest: ${NAMES[kind].toLowerCase()}`} records={records} />
            )}
          </Await>
        </div>
      </div>
    </section>
  );
}
