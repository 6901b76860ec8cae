// The table of dead letters. What a stranger wrote is shown as text, its control signs made visible.

import { useState } from "preact/hooks";

import type { DeadLetter } from "../api/types";
import * as format from "../format";
import { Head } from "../parts/head";
import { StateMark } from "./mark";

/** Longer originals are cut until somebody wants to see them. */
const ORIGINAL_CHARS = 160;

interface Props {
  letters: DeadLetter[];
  selected: ReadonlySet<string>;
  /** `null`: nothing can be selected. */
  onSelect: ((selected: ReadonlySet<string>) => void) | null;
}

export function originOf({ split, position }: DeadLetter): string {
  return `${split}@${position}`;
}

export function LetterTable({ letters, selected, onSelect }: Props) {
  const origins = letters.map(originOf);
  const isAll = origins.every((origin) => selected.has(origin));
  const toggleAll = () => {
    const rest = [...selected].filter((origin) => !origins.includes(origin));
    onSelect?.(new Set(isAll ? rest : [...rest, ...origins]));
  };
  const toggle = (origin: string) => {
    const next = new Set(selected);
    if (!next.delete(origin)) next.add(origin);
    onSelect?.(next);
  };
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Dead letters, table">
      <table class="letters">
        <caption class="sr-only">Dead letters, newest first</caption>
        <Head
          cells={["Time", "Reason", "Original", "Sink", "Origin", ["Epoch", "number"], "State"]}
        >
          {onSelect && (
            <th scope="col">
              <input
                type="checkbox"
                checked={isAll}
                onChange={toggleAll}
                aria-label="Select all on this page"
              />
            </th>
          )}
        </Head>
        <tbody>
          {letters.map((letter) => (
            <LetterRow
              key={`${letter.sink} ${originOf(letter)}`}
              letter={letter}
              isSelected={selected.has(originOf(letter))}
              onToggle={onSelect ? () => toggle(originOf(letter)) : null}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps {
  letter: DeadLetter;
  isSelected: boolean;
  onToggle: (() => void) | null;
}

function LetterRow({ letter, isSelected, onToggle }: RowProps) {
  const origin = originOf(letter);
  return (
    <tr>
      {onToggle && (
        <td>
          <input
            type="checkbox"
            checked={isSelected}
            onChange={onToggle}
            aria-label={`Select ${origin}`}
          />
        </td>
      )}
      <td>{format.time(letter.ts)}</td>
      <td class="reason">
        {letter.reason}
        {letter.step && <span class="hint"> in {letter.step}</span>}
      </td>
      <td class="original-cell">
        <Original letter={letter} />
      </td>
      <td>{letter.sink ?? "all"}</td>
      <td class="text">{origin}</td>
      <td class="number">{format.count(letter.epoch)}</td>
      <td>
        <StateMark state={letter.state} />
      </td>
    </tr>
  );
}

function Original({ letter }: { letter: DeadLetter }) {
  const [isWhole, setWhole] = useState(false);
  const { original, original_base64 } = letter;
  const text = original ?? original_base64 ?? null;
  if (text === null) return <span class="hint">not kept</span>;
  const shown = isWhole ? text : text.slice(0, ORIGINAL_CHARS);
  return (
    <>
      {original === null && <span class="hint">Base64: </span>}
      <code class="original">{text === "" ? "(empty)" : visible(shown)}</code>
      {text.length > ORIGINAL_CHARS && (
        <button type="button" class="plain" onClick={() => setWhole(!isWhole)}>
          {isWhole ? "less" : `… all ${format.count(text.length)} characters`}
        </button>
      )}
    </>
  );
}

/** Control characters as signs of their own, so that none hides. */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, (sign) => {
    const code = sign.charCodeAt(0);
    return String.fromCharCode(code === 0x7f ? 0x2421 : 0x2400 + code);
  });
}
