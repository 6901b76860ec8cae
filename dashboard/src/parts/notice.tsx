// What stands in the place of content: a problem with a way on, or nothing with the reason.

import type { ComponentChildren } from "preact";

import { problemText } from "../api/client";
import type { Loaded } from "../state/load";
import { Icon } from "./icon";

interface ProblemProps {
  /** The part of the page that it stands for. */
  what?: string | undefined;
  error: unknown;
  retry: () => void;
}

export function ProblemBox({ what, error, retry }: ProblemProps) {
  const { title, detail, hint } = problemText(error);
  return (
    <div class="problem" role="alert">
      <Icon name="warning" />
      <div>
        <strong>
          {what && `${what}: `}
          {title}
        </strong>
        {detail !== "" && detail !== title && <p>{detail}</p>}
        {hint !== "" && <p class="hint">{hint}</p>}
        <button type="button" onClick={retry}>
          Try again
        </button>
      </div>
    </div>
  );
}

export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <section class="nothing">
      <Icon name="empty" />
      <h2>{title}</h2>
      {children}
    </section>
  );
}

interface Props<T> {
  what?: string;
  loaded: Loaded<T>;
  children: (value: T) => ComponentChildren;
}

/** The value, dimmed while the next one loads; or the problem, in the same place. */
export function Await<T>({ what, loaded, children }: Props<T>) {
  const { value, error, pending, retry } = loaded;
  if (error !== null && !pending) return <ProblemBox what={what} error={error} retry={retry} />;
  if (value === null) return <p class="loading">Loading…</p>;
  return (
    <div class={pending ? "loaded pending" : "loaded"} aria-busy={pending}>
      {children(value)}
    </div>
  );
}
