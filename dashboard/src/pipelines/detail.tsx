// One pipeline: graph, ledger, where it stands, epochs, dead letters, schedule.

import { useId } from "preact/hooks";
import type { ComponentChildren } from "preact";

import type { PipelineDetail } from "../api/types";
import * as format from "../format";
import { Icon } from "../parts/icon";
import { PageLink } from "../parts/link";
import { Await } from "../parts/notice";
import { usePolled } from "../state/load";
import { GraphView } from "./graph";
import { Letters } from "./letters";
import {
  EventTimeTable,
  FailingTable,
  LedgerTable,
  PositionTables,
  titleOfFailing,
} from "./ledger";
import { StateMark } from "./mark";
import { EpochTable, ScheduleSection } from "./history";

const POLL_EVERY_MS = 5000;

export function PipelineDetailView({ name }: { name: string }) {
  const path = `pipelines/${encodeURIComponent(name)}`;
  const detail = usePolled<PipelineDetail>(path, POLL_EVERY_MS);
  // A poll dims nothing: the numbers change in place.
  const steady = { ...detail, pending: false };
  return (
    <>
      <p class="back">
        <PageLink change={{ pipeline: null }}>
          <Icon name="back" />
          All pipelines
        </PageLink>
      </p>
      <Await loaded={steady}>{(pipeline) => <Detail pipeline={pipeline} />}</Await>
    </>
  );
}

function Detail({ pipeline }: { pipeline: PipelineDetail }) {
  const { name, graph } = pipeline;
  return (
    <>
      <header class="title">
        <h1>{name}</h1>
        <StateMark state={pipeline.state} />
        {pipeline.file && <code>{pipeline.file}</code>}
      </header>
      <Counts pipeline={pipeline} />
      <Section title="Graph" aside="records per second, last minute">
        {graph && graph.nodes.length > 0 ? (
          <GraphView graph={graph} />
        ) : (
          <p class="hint">
            The graph is in the pipeline file; give it to <code>logmill serve {name}.yaml</code>.
          </p>
        )}
      </Section>
      {pipeline.failing.length > 0 && (
        <Section title={titleOfFailing(pipeline.failing)}>
          <FailingTable failing={pipeline.failing} />
        </Section>
      )}
      <Section title="Ledger" aside={<Balance balanced={pipeline.balanced} />}>
        <LedgerTable sinks={pipeline.sinks} read={pipeline.read} />
      </Section>
      <Section title="Dead letters">
        <Letters pipeline={name} sinks={pipeline.sinks.map(({ sink }) => sink)} />
      </Section>
      {pipeline.steps.length > 0 && (
        <Section title="Event time">
          <EventTimeTable steps={pipeline.steps} />
        </Section>
      )}
      <div class="split even">
        <Section title="Positions" aside={<OldestUnread pipeline={pipeline} />}>
          <PositionTables pipeline={pipeline} />
        </Section>
        <Section title="Epochs" aside="newest first">
          <EpochTable name={name} />
        </Section>
      </div>
      <Section title="Schedule">
        <ScheduleSection pipeline={pipeline} />
      </Section>
    </>
  );
}

function Counts({ pipeline }: { pipeline: PipelineDetail }) {
  const { read, delivered, dead_letters, lag, epochs, last_epoch_at } = pipeline;
  const { splits_total, failing_splits, broken_splits, lagging_splits } = pipeline;
  const counts: [string, string, boolean][] = [
    ["Read", format.count(read), false],
    ["Delivered", format.count(delivered), false],
    ["Dead letters", format.count(dead_letters), (dead_letters ?? 0) > 0],
    ["Splits", format.count(splits_total), false],
    ["Failing splits", format.count(failing_splits), failing_splits > 0],
    ["Broken splits", format.count(broken_splits), broken_splits > 0],
    ["Lagging splits", format.count(lagging_splits), false],
    ["Lag", format.shortCount(lag), false],
    ["Epochs", format.count(epochs), false],
    ["Last epoch", format.ago(last_epoch_at, Date.now()), false],
  ];
  return (
    <dl class="figures">
      {counts.map(([label, value, isBad]) => (
        <div class={isBad ? "figure bad" : "figure"}>
          <dt>{label}</dt>
          <dd class="big">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function OldestUnread({ pipeline }: { pipeline: PipelineDetail }) {
  const oldest = pipeline.oldest_unread;
  if (!oldest) return null;
  return (
    <span title={format.time(oldest.since)}>
      oldest unread: {oldest.split}, {format.ago(oldest.since, Date.now())}
    </span>
  );
}

function Balance({ balanced }: { balanced: boolean | null }) {
  if (balanced === null) return null;
  return (
    <span class={balanced ? "mark good" : "mark bad"}>
      <Icon name={balanced ? "check" : "warning"} />
      {balanced ? "balanced: every record is accounted for" : "does not balance"}
    </span>
  );
}

interface SectionProps {
  title: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
}

function Section({ title, aside, children }: SectionProps) {
  const id = useId();
  return (
    <section class="panel" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        <span class="aside">{aside}</span>
      </header>
      {children}
    </section>
  );
}
