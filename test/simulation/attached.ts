// What the true log says of attachments: which are named by a state that can be brought back, and which can still be.

import { NOTE_SORT, parseNoteItem } from "../../lib/checkpoint/items.ts";
import type { Control, HistoryRow } from "../../lib/model/control.ts";
import { incarnationPrefix, parseObjectName, referencesIn, type ShardId } from "../../lib/model/names.ts";
import type { Item } from "../../lib/ports/checkpoint-store.ts";
import type { TrueLog } from "./truth.ts";

/** Whose sequences the attachments of a table lie under. */
export const PRODUCER = "source";

export interface Known {
  readonly id: ShardId;
  readonly log: TrueLog;
  readonly control: Control | undefined;
  readonly rows: ReadonlyMap<string, HistoryRow>;
}

export function isAttached(key: string): boolean {
  return parseObjectName(key.split("/").slice(3).join("/")).kind === "attached";
}

function sequenceOf(key: string): number {
  const name = parseObjectName(key.split("/").slice(3).join("/"));
  return name.kind === "attached" ? name.sequence : 0;
}

/** The generation that the oldest state rests on; none where the whole log is there. */
function oldestOf({ control, rows }: Known): HistoryRow | undefined {
  const lowWater = control?.lowWater ?? 1;
  const kept = [...rows.values()].filter(({ state, border }) => state === "kept" && border.next >= lowWater);
  return lowWater <= 1 ? undefined : kept.sort((a, b) => a.index - b.index)[0];
}

/** Keys of what states name that can be brought back. */
function needed(known: Known): ReadonlySet<string> {
  const { id, log, control } = known;
  const prefix = incarnationPrefix(id, control?.incarnation ?? "");
  const oldest = oldestOf(known)?.index ?? 0;
  const keys = new Set<string>();
  for (const state of log.states) {
    if (state.index < oldest) continue;
    for (const { value } of state.rows.values()) for (const reference of referencesIn(Buffer.from(value))) keys.add(`${prefix}${reference}`);
  }
  return keys;
}

/** What is wrong with the deletion of an attachment: something needs it, or its batch can still come. */
export function wrongDeletion(known: Known, key: string): string | undefined {
  return needed(known).has(key) ? `${key} was deleted, and a state that can be brought back names it` : wrongEnd(known, key);
}

/** What is wrong with the end of an upload of an attachment: its batch can still come. */
export function wrongEnd(known: Known, key: string): string | undefined {
  const sequence = lastSequence(known);
  return sequenceOf(key) > sequence ? `${key} was let go, and its batch can still come: ${sequence} is the last that did` : undefined;
}

interface AtRest {
  readonly keys: Iterable<string>;
  readonly uploads: Iterable<string>;
  readonly items: readonly Item[];
  /** The snapshot that is damaged: where the oldest state rests on it, nobody can tell what that names, and all stays. */
  readonly damaged: string | undefined;
}

/** What is missing at rest (I6), and what is left over (I7). */
export function wrongAtRest(
  known: Known,
  { keys, uploads, items, damaged }: AtRest,
): { readonly missing: readonly string[]; readonly left: readonly string[] } {
  const sequence = lastSequence(known);
  const must = needed(known);
  const stored = new Set([...keys].filter(isAttached));
  const isOver = (key: string): boolean => sequenceOf(key) <= sequence;
  const notes = items.map(({ key }) => key).filter((key) => key.sort.startsWith(NOTE_SORT) && parseNoteItem(key).sequence <= sequence);
  const missing = [...must].filter((key) => !stored.has(key));
  if (damaged !== undefined && oldestOf(known)?.key === damaged) return { missing, left: [] };
  return {
    missing,
    left: [
      ...[...stored].filter((key) => !must.has(key) && isOver(key)),
      ...[...uploads].filter(isOver),
      // Nobody looks for the notes of a shard that has no attachments.
      ...(stored.size > 0 ? notes.map(({ sort }) => sort) : []),
    ],
  };
}

function lastSequence({ log }: Known): number {
  return Number(log.stateAt({}).sessions.get(PRODUCER) ?? 0n);
}
