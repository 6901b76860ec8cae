// The sums of the ledger, and where each lineage and split stands.

import type { FailingSplit, PipelineDetail, SinkSums, StepTime } from "../api/types";
import * as format from "../format";
import { Head, type HeadCell } from "../parts/head";

type Count = Exclude<keyof SinkSums, "sink" | "promise">;

const COUNTS: [Count, string][] = [
  ["delivered", "delivered"],
  ["filtered", "filtered"],
  ["deduplicated", "deduplicated"],
  ["late", "late"],
  ["aggregated", "aggregated"],
  ["dead_lettered", "dead-lettered"],
  ["lost", "lost"],
  ["expanded", "expanded"],
  ["rejected_after", "rejected after"],
];

export function LedgerTable({ sinks, read }: { sinks: SinkSums[]; read: number | null }) {
  if (sinks.length === 0)
    return <p class="hint">The ledger holds no epoch of this pipeline yet.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Ledger sums, table">
      <table>
        <caption class="sr-only">What became of the {format.count(read)} records read</caption>
        <Head
          cells={["Sink", "Promise", ...COUNTS.map(([, label]): HeadCell => [label, "number"])]}
        />
        <tbody>
          {sinks.map((sums) => (
            <tr key={sums.sink}>
              <th scope="row">{sums.sink}</th>
              <td>{sums.promise ?? "–"}</td>
              {COUNTS.map(([count]) => (
                <td class={classOf(count, sums[count])}>{format.count(sums[count])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function classOf(count: Count, value: number): string {
  if (value === 0) return "number zero";
  return count === "dead_lettered" || count === "lost" ? "number bad" : "number";
}

const STATES: Record<FailingSplit["state"], string> = {
  failed: "tried again soon",
  broken: "broken",
  passed_over: "passed over",
  waiting: "waiting",
};

/** The heading over what is not read: only what somebody misses cannot be. */
export function titleOfFailing(failing: FailingSplit[]): string {
  const isMissed = failing.some(({ state }) => state === "failed" || state === "broken");
  return isMissed ? "Cannot be read" : "Waiting or passed over";
}

/** What is not read: why, since when, and when it is tried again. */
export function FailingTable({ failing }: { failing: FailingSplit[] }) {
  const now = Date.now();
  return (
    <div class="scroll tall" tabIndex={0} role="region" aria-label="Splits that fail, table">
      <table>
        <caption>What is not read, or not to its end; everything else is</caption>
        <Head cells={["Source", "Split", "State", "Since", "Next try", "Why"]} />
        <tbody>
          {failing.map(({ source, split, state, error, hint, since, next_try }) => (
            <tr key={`${source} ${split}`}>
              <td>{source}</td>
              <th scope="row" class="text">
                {split}
              </th>
              <td class={state === "failed" || state === "broken" ? "bad" : ""}>{STATES[state]}</td>
              <td title={format.time(since)}>{format.ago(since, now)}</td>
              <td>{next_try ? format.time(next_try) : "–"}</td>
              <td class="text">
                {error}
                {hint ? ` (${hint})` : ""}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How far the event time of each step has come, and what it waits for. */
export function EventTimeTable({ steps }: { steps: StepTime[] }) {
  const now = Date.now();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Event time, table">
      <table>
        <caption>Windows close once the watermark of their step has passed them</caption>
        <Head
          cells={[
            "Step",
            "Watermark",
            ["Open windows", "number"],
            ["Rows in them", "number"],
            "First closes at",
            "Goes by",
          ]}
        />
        <tbody>
          {steps.map((step) => (
            <tr key={step.step}>
              <th scope="row">{step.step}</th>
              <td>{step.watermark ? format.time(step.watermark) : "–"}</td>
              <td class="number">{format.count(step.open_windows)}</td>
              <td class="number">{format.count(step.open_records)}</td>
              <td>{step.closes_next ? format.time(step.closes_next) : "–"}</td>
              <td class={step.held_by === "failed" ? "text bad" : "text"}>
                {holderOf(step)}
                {step.held_since ? `, ${format.ago(step.held_since, now)}` : ""}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function holderOf({ held_by, held_by_split }: StepTime): string {
  switch (held_by) {
    case "split":
      return held_by_split ?? "a split";
    case "failed":
      return "a split that cannot be read";
    case "waiting":
      return "splits that wait for a reader";
    case null:
      return "–";
  }
}

export function PositionTables({ pipeline }: { pipeline: PipelineDetail }) {
  const now = Date.now();
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label="Lineages, table">
        <table>
          <caption>Lineages</caption>
          <Head cells={["Lineage", ["Epoch", "number"], "Committed", "Owner"]} />
          <tbody>
            {pipeline.lineages.map(({ lineage, epoch, committed_at, owner }) => (
              <tr key={lineage}>
                <th scope="row">{lineage}</th>
                <td class="number">{format.count(epoch)}</td>
                <td title={format.time(committed_at)}>{format.ago(committed_at, now)}</td>
                <td>{owner ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="scroll tall" tabIndex={0} role="region" aria-label="Splits, table">
        <table>
          <caption>Splits</caption>
          <Head cells={["Source", "Split", "Phase", ["Position", "number"], ["Lag", "number"]]} />
          <tbody>
            {pipeline.splits.map(({ source, split, phase, position, lag }) => (
              <tr key={`${source} ${split}`}>
                <td>{source}</td>
                <td class="text">{split}</td>
                <td>{phase}</td>
                <td class="number">{position ?? "–"}</td>
                <td class="number">{format.count(lag)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
