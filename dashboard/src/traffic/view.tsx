// Traffic: figures, charts over time, what is at the top, and errors.

import { useMemo } from "preact/hooks";

import { ApiError, isReport } from "../api/client";
import type { Series, StatusClass, Summary } from "../api/types";
import { PageLink } from "../parts/link";
import { MillingBar } from "../parts/milling";
import { Await, Nothing, ProblemBox } from "../parts/notice";
import { FilterBar } from "../parts/filterbar";
import * as format from "../format";
import { useJson, useStaged } from "../state/load";
import { usePage } from "../state/page";
import { analyticsParams, formatState, isNarrowed, isoTime } from "../state/url";
import { Charts } from "./charts";
import { Errors } from "./errors";
import { Figures } from "./figures";
import { OutlierNotice } from "./outliers";
import { Tops } from "./tops";

/** As many bars as can be told apart. */
const POINTS_MAX = 400;
const POINTS_MAX_PHONE = 120;
const PHONE_PIXELS = 640;

export function TrafficView() {
  const { state, tick, milling, session } = usePage();
  // One instant for all requests of one state, so that they agree on what the last hour is.
  const query = useMemo(
    () => analyticsParams(state, new Date()).toString(),
    [formatState(state), tick],
  );
  const hasRows = milling === null || milling.epochs > 0;
  const summary = useStaged<Summary>(
    hasRows ? `analytics/summary?${query}&visitors=exclude` : null,
    milling === null ? `analytics/summary?${query}` : null,
    tick,
  );
  // A run that has delivered nothing leaves no table behind.
  const isRefused = session?.milling?.done === true && session.milling.refused > 0;
  const isEmpty =
    !summary.pending && summary.error === null && summary.value?.requests === 0 && milling === null;
  const isFailed = summary.error !== null && !summary.pending;
  const hasNoRow = isFailed && isRefused && isMissing(summary.error);
  const hasFailed = isFailed && !hasNoRow && milling === null;
  return (
    <>
      <h1 class="sr-only">Traffic</h1>
      {!isReport && <FilterBar />}
      {milling !== null && <MillingBar milling={milling} />}
      {hasFailed && <ProblemBox error={summary.error} retry={summary.retry} />}
      {isEmpty && <NoRequests />}
      {hasNoRow && <AllRefused />}
      {hasRows && !isFailed && !isEmpty && (
        <>
          <Await loaded={summary}>
            {(value) => (
              <Figures summary={value} isCounting={summary.isCounting || milling !== null} />
            )}
          </Await>
          <Timeline query={query} />
          <Tops query={query} summary={summary.value} />
          <Errors query={query} />
        </>
      )}
    </>
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof ApiError && error.problem.status === 404;
}

/** The format that was taken fits no line. */
function AllRefused() {
  return (
    <Nothing title="No line has the format that was taken">
      <p>
        Every line was refused; the <PageLink change={{ view: "pipelines" }}>pipelines</PageLink>{" "}
        show them with the reasons. <code>logmill look … --as FORMAT</code> takes another format.
      </p>
    </Nothing>
  );
}

function Timeline({ query }: { query: string }) {
  const { state, tick, columns, session, milling } = usePage();
  const names = new Set(columns.map((column) => column.name));
  const hasTimes = columns.length === 0 || names.has(session?.analytics?.time ?? "");
  const hasStatus = columns.length === 0 || names.has("status");
  const points = innerWidth < PHONE_PIXELS ? POINTS_MAX_PHONE : POINTS_MAX;
  const path = `analytics/timeseries?${query}&interval=${state.interval}&points=${points}`;
  const series = useStaged<Series>(
    hasTimes ? `${path}&visitors=exclude` : null,
    milling === null ? path : null,
    tick,
  );
  const classes = useJson<StatusClass[]>(
    hasStatus ? `analytics/status_classes?${query}` : null,
    tick,
  );
  const isCounting = series.isCounting || milling !== null;
  if (!hasTimes) {
    return (
      <p class="hint">The table has no column of times, so that nothing is drawn over time.</p>
    );
  }
  return (
    <Await what="Requests over time" loaded={series}>
      {(value) => (
        <>
          <OutlierNotice outliers={value.outliers} />
          <Charts
            series={value}
            classes={classes.value ?? []}
            pending={series.pending}
            isCounting={isCounting && names.has("ip") && names.has("user_agent")}
          />
        </>
      )}
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
