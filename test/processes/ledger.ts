// What a process did, a line at a time, in a file of its own: a line that was written outlives a kill.

import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";

export interface Ledger {
  add(...words: readonly (string | number)[]): void;
  close(): void;
}

export function openLedger(path: string): Ledger {
  const file = openSync(path, "a");
  // A line that was cut off must not run into the next.
  if (existsSync(path) && !/(^|\n)$/.test(readFileSync(path, "utf8"))) writeSync(file, "\n");
  return {
    add(...words) {
      // The monotonic clock is the machine's, so that times of several processes compare.
      writeSync(file, `${[...words, process.hrtime.bigint()].join(" ")}\n`);
    },
    close: () => closeSync(file),
  };
}

export interface LedgerLine {
  readonly words: readonly string[];
  /** Nanoseconds of the machine's monotonic clock. */
  readonly at: bigint;
}

export function readLedger(path: string): readonly LedgerLine[] {
  if (!existsSync(path)) return [];
  const whole = readFileSync(path, "utf8")
    .split("\n")
    .filter((text) => /^[a-z-]+ .*[0-9]{6,}$/.test(text));
  return whole.map((text) => {
    const words = text.split(" ");
    return { words: words.slice(0, -1), at: BigInt(words[words.length - 1]) };
  });
}

export interface SentBatch {
  readonly sequence: number;
  /** When it was first sent. */
  readonly sentAt: bigint;
  readonly acknowledged?: { readonly first: number; readonly last: number; readonly at: bigint };
}

/** A writer's batches in the order in which they were sent. */
export function sentBatches(lines: readonly LedgerLine[]): readonly SentBatch[] {
  const batches = new Map<number, SentBatch>();
  for (const {
    words: [what, sequenceText, first, last],
    at,
  } of lines) {
    const sequence = Number(sequenceText);
    const known = batches.get(sequence);
    if (what === "sending") batches.set(sequence, known ?? { sequence, sentAt: at });
    if (what === "acknowledged" && known !== undefined) {
      batches.set(sequence, { ...known, acknowledged: { first: Number(first), last: Number(last), at } });
    }
  }
  return [...batches.values()];
}
