// The figures on top.

import type { ComponentChildren } from "preact";

import { isReport } from "../api/client";
import type { Summary } from "../api/types";
import * as format from "../format";
import { PageLink } from "../parts/link";
import { statusClass } from "../state/filters";
import { usePage } from "../state/page";

interface FiguresProps {
  summary: Summary;
  /** Whether visitors are being counted, which takes longest. */
  isCounting: boolean;
}

export function Figures({ summary, isCounting }: FiguresProps) {
  const { state } = usePage();
  const { requests, visitors, bytes, errors, error_rate, latency_ms, dead_letters } = summary;
  const perVisitor = visitors ? `${format.shortCount(requests / visitors)} requests each` : "";
  return (
    <section aria-label="Summary">
      <dl class="figures">
        <Figure name="Requests" value={format.shortCount(requests)} title={format.count(requests)}>
          {format.span(summary.first, summary.last)}
        </Figure>
        <Figure
          name="Visitors"
          value={visitors === null && isCounting ? "…" : format.shortCount(visitors)}
          title={format.count(visitors)}
        >
          <span title="Distinct address, day and user agent">{perVisitor}</span>
        </Figure>
        <Figure name="Bandwidth" value={format.bytes(bytes)} title={`${format.count(bytes)} bytes`}>
          {bytes !== null && requests > 0 ? `${format.bytes(bytes / requests)} each` : ""}
        </Figure>
        <Figure name="Server errors" value={format.percent(error_rate)} isBad={(errors ?? 0) > 0}>
          {errors === null ? (
            "not in this log"
          ) : (
            <PageLink change={{ filters: statusClass(state.filters, "5xx") }}>
              {format.count(errors)} with 5xx
            </PageLink>
          )}
        </Figure>
        <Figure name="Latency p95" value={format.milliseconds(latency_ms?.p95)}>
          {latency_ms
            ? `p50 ${format.milliseconds(latency_ms.p50)}, p99 ${format.milliseconds(latency_ms.p99)}`
            : "not in this log"}
        </Figure>
        <Figure
          name="Dead letters"
          value={format.shortCount(dead_letters)}
          isBad={(dead_letters ?? 0) > 0}
        >
          {isReport ? (
            "lines that were refused"
          ) : (
            <PageLink change={{ view: "pipelines" }}>Pipelines</PageLink>
          )}
        </Figure>
      </dl>
    </section>
  );
}

interface Props {
  name: string;
  value: string;
  title?: string;
  isBad?: boolean;
  children?: ComponentChildren;
}

function Figure({ name, value, title, isBad = false, children }: Props) {
  return (
    <div class={isBad ? "figure bad" : "figure"}>
      <dt>{name}</dt>
      <dd class="big" title={title}>
        {value}
      </dd>
      <dd class="small">{children}</dd>
    </div>
  );
}
