// What happened when: the newest epochs, and the runs of a schedule.

import type { Epoch, PipelineDetail, Run } from "../api/types";
import * as format from "../format";
import { Head } from "../parts/head";
import { Await } from "../parts/notice";
import { usePolled } from "../state/load";
import { StateMark } from "./mark";

const EPOCHS = 50;
const POLL_EVERY_MS = 10_000;

export function EpochTable({ name }: { name: string }) {
  const path = `pipelines/${encodeURIComponent(name)}/epochs?limit=${EPOCHS}`;
  const epochs = usePolled<Epoch[]>(path, POLL_EVERY_MS);
  return (
    <Await loaded={{ ...epochs, pending: false }}>
      {(list) =>
        list.length === 0 ? (
          <p class="hint">No epoch was committed yet.</p>
        ) : (
          <div class="scroll tall" tabIndex={0} role="region" aria-label="Epochs, table">
            <table>
              <caption class="sr-only">Newest epochs</caption>
              <Head
                cells={[
                  "Lineage",
                  ["Epoch", "number"],
                  "At",
                  ["Took", "number"],
                  ["Read", "number"],
                  ["Delivered", "number"],
                  ["Dead", "number"],
                ]}
              />
              <tbody>
                {list.map((epoch) => (
                  <tr key={`${epoch.lineage} ${epoch.epoch}`}>
                    <td>{epoch.lineage}</td>
                    <td class="number">{format.count(epoch.epoch)}</td>
                    <td>{format.time(epoch.at)}</td>
                    <td class="number">{format.seconds(epoch.seconds)}</td>
                    <td class="number">{format.count(epoch.read)}</td>
                    <td class="number">{format.count(epoch.delivered)}</td>
                    <td class={epoch.dead_lettered > 0 ? "number bad" : "number zero"}>
                      {format.count(epoch.dead_lettered)}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )
      }
    </Await>
  );
}

export function ScheduleSection({ pipeline }: { pipeline: PipelineDetail }) {
  const { name, schedule } = pipeline;
  const path = `pipelines/${encodeURIComponent(name)}/runs`;
  const runs = usePolled<Run[]>(schedule ? path : null, POLL_EVERY_MS);
  if (!schedule) {
    return (
      <p class="hint">
        This pipeline has no schedule. <code>schedule: &#123; cron: "0 * * * *" &#125;</code> in its
        file lets <code>logmill serve</code> run it.
      </p>
    );
  }
  return (
    <>
      <p>
        <code>{schedule.cron}</code> {schedule.time_zone ?? "UTC"}; next run{" "}
        <strong>{format.time(schedule.next)}</strong> ({format.ago(schedule.next, Date.now())})
      </p>
      <Await loaded={{ ...runs, pending: false }}>{(list) => <RunTable runs={list} />}</Await>
    </>
  );
}

function RunTable({ runs }: { runs: Run[] }) {
  if (runs.length === 0) return <p class="hint">It did not run yet.</p>;
  return (
    <div class="scroll tall" tabIndex={0} role="region" aria-label="Runs, table">
      <table>
        <caption class="sr-only">Runs</caption>
        <Head
          cells={[
            "Due",
            "Started",
            "Ended",
            "Outcome",
            ["Read", "number"],
            ["Delivered", "number"],
            "Message",
          ]}
        />
        <tbody>
          {runs.map((run) => (
            <tr key={run.started}>
              <td>{format.time(run.due)}</td>
              <td>{format.time(run.started)}</td>
              <td>{format.time(run.ended)}</td>
              <td>
                <StateMark state={run.outcome} />
              </td>
              <td class="number">{format.count(run.read)}</td>
              <td class="number">{format.count(run.delivered)}</td>
              <td class="text">{run.message ?? ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
