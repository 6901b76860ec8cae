// A state as a word with a sign; the colour only repeats it.

import { Icon, type IconName } from "../parts/icon";

const SIGNS: Record<string, [IconName, string]> = {
  running: ["play", "good"],
  idle: ["pause", "quiet"],
  scheduled: ["clock", "quiet"],
  failed: ["warning", "bad"],
  done: ["check", "good"],
  succeeded: ["check", "good"],
  open: ["warning", "bad"],
  replayed: ["check", "good"],
  acknowledged: ["check", "quiet"],
};

export function StateMark({ state }: { state: string }) {
  const [icon, tone] = SIGNS[state] ?? ["clock", "quiet"];
  return (
    <span class={`mark ${tone}`}>
      <Icon name={icon} />
      {state}
    </span>
  );
}
