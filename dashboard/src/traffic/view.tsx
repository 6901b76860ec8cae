// Traffic: figures, charts over time, what is at the top, and errors.

import { useMemo } from "preact/hooks";

import type { Series, StatusClass, Summary } from "../api/types";
import { Await, Nothing, ProblemBox } from "../parts/notice";
import { FilterBar } from "../parts/filterbar";
import * as format from "../format";
import { useJson } from "../state/load";
import { usePage } from "../state/page";
import { analyticsParams, formatState, isNarrowed, isoTime } from "../state/url";
import { Charts } from "./charts";
import { Errors } from "./errors";
import { Figures } from "./figures";
import { Tops } from "./tops";

/** As many bars as can be told apart. */
const POINTS_MAX = 400;
const POINTS_MAX_PHONE = 120;
const PHONE_PIXELS = 640;

export function TrafficView() {
  const { state, tick } = usePage();
  // One instant for all requests of one state, so that they agree on what the last hour is.
  const query = useMemo(
    () => analyticsParams(state, new Date()).toString(),
    [formatState(state), tick],
  );
  const summary = useJson<Summary>(`analytics/summary?${query}`, tick);
  const isEmpty = !summary.pending && summary.error === null && summary.value?.requests === 0;
  const hasFailed = summary.error !== null && !summary.pending;
  return (
    <>
      <h1 class="sr-only">Traffic</h1>
      <FilterBar />
      {hasFailed && <ProblemBox error={summary.error} retry={summary.retry} />}
      {isEmpty && <NoRequests />}
      {!hasFailed && !isEmpty && (
        <>
          <Await loaded={summary}>{(value) => <Figures summary={value} />}</Await>
          <Timeline query={query} />
          <Tops query={query} summary={summary.value} />
          <Errors query={query} />
        </>
      )}
    </>
  );
}

function Timeline({ query }: { query: string }) {
  const { state, tick } = usePage();
  const points = innerWidth < PHONE_PIXELS ? POINTS_MAX_PHONE : POINTS_MAX;
  const path = `analytics/timeseries?${query}&interval=${state.interval}&points=${points}`;
  const series = useJson<Series>(path, tick);
  const classes = useJson<StatusClass[]>(`analytics/status_classes?${query}`, tick);
  return (
    <Await what="Requests over time" loaded={series}>
      {(value) => <Charts series={value} classes={classes.value ?? []} pending={series.pending} />}
    </Await>
  );
}

/** Nothing matches: says what there is, and leads there. */
function NoRequests() {
  const { state, go, tick } = usePage();
  const all = useJson<Summary>(isNarrowed(state) ? "analytics/summary" : null, tick);
  if (!isNarrowed(state)) {
    return (
      <Nothing title="No requests yet">
        <p>
          The table is empty. <code>logmill run web.yaml</code> fills it; this page shows the rows
          as soon as the first epoch is committed.
        </p>
      </Nothing>
    );
  }
  const { first = null, last = null } = all.value ?? {};
  const { range, start, end, filters, bots, statics } = state;
  const hasRange = range !== null || start !== null || end !== null;
  const hasFilters = filters.length > 0 || bots !== "include" || statics !== "include";
  const unfiltered = { filters: [], bots: "include" as const, statics: "include" as const };
  return (
    <Nothing title="No request matches">
      {first && last && <p>The table holds requests of {format.span(first, last)}.</p>}
      <div class="buttons">
        {hasRange && last && (
          <button type="button" onClick={() => go({ range: null, ...dayBefore(last) })}>
            Show the newest 24 h
          </button>
        )}
        {hasRange && (
          <button type="button" onClick={() => go({ range: null, start: null, end: null })}>
            Show all times
          </button>
        )}
        {hasFilters && (
          <button type="button" onClick={() => go(unfiltered)}>
            Remove filters
          </button>
        )}
      </div>
    </Nothing>
  );
}

function dayBefore(last: string) {
  const end = new Date(last);
  return { start: isoTime(new Date(end.getTime() - 86_400_000)), end: isoTime(end) };
}
