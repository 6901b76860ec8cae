// Pipelines: the list, and one of them in full.

import type { Pipeline } from "../api/types";
import * as format from "../format";
import { Head } from "../parts/head";
import { PageLink } from "../parts/link";
import { Await, Nothing } from "../parts/notice";
import { usePolled } from "../state/load";
import { usePage } from "../state/page";
import { START } from "../state/url";
import { PipelineDetailView } from "./detail";
import { StateMark } from "./mark";

const POLL_EVERY_MS = 5000;

export function PipelinesView() {
  const { state } = usePage();
  if (state.pipeline !== null) {
    return <PipelineDetailView key={state.pipeline} name={state.pipeline} />;
  }
  return <PipelineList />;
}

function PipelineList() {
  const pipelines = usePolled<Pipeline[]>("pipelines", POLL_EVERY_MS);
  return (
    <>
      <h1>Pipelines</h1>
      <Await loaded={{ ...pipelines, pending: false }}>
        {(list) => (list.length === 0 ? <NoPipelines /> : <PipelineTable list={list} />)}
      </Await>
    </>
  );
}

function NoPipelines() {
  return (
    <Nothing title="No pipeline has run yet">
      <p>
        Start one with <code>logmill run web.yaml</code>, or give files to{" "}
        <code>logmill serve web.yaml</code>.
      </p>
    </Nothing>
  );
}

function PipelineTable({ list }: { list: Pipeline[] }) {
  const now = Date.now();
  return (
    <div class="panel">
      <table class="list">
        <caption class="sr-only">Pipelines</caption>
        <Head
          cells={[
            "Name",
            "State",
            ["Lag", "number"],
            ["Dead letters", "number"],
            ["Read", "number wide-only"],
            ["Delivered", "number wide-only"],
            ["Epochs", "number wide-only"],
            ["Last epoch", "wide-only"],
            ["Next run", "wide-only"],
          ]}
        />
        <tbody>
          {list.map((pipeline) => (
            <PipelineRow key={pipeline.name} pipeline={pipeline} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function PipelineRow({ pipeline, now }: { pipeline: Pipeline; now: number }) {
  const { name, state, lag, dead_letters, read, delivered, epochs, schedule } = pipeline;
  return (
    <tr>
      <th scope="row">
        <PageLink change={{ pipeline: name, letters: START.letters }}>{name}</PageLink>
      </th>
      <td>
        <StateMark state={state} />
      </td>
      <td class="number">{format.shortCount(lag)}</td>
      <td class={(dead_letters ?? 0) > 0 ? "number bad" : "number"}>
        {format.count(dead_letters)}
      </td>
      <td class="number wide-only">{format.count(read)}</td>
      <td class="number wide-only">{format.count(delivered)}</td>
      <td class="number wide-only">{format.count(epochs)}</td>
      <td class="wide-only" title={format.time(pipeline.last_epoch_at)}>
        {format.ago(pipeline.last_epoch_at, now)}
      </td>
      <td class="wide-only">{schedule ? format.shortTime(schedule.next) : "–"}</td>
    </tr>
  );
}
