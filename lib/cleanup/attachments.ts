// Which attachments may go: those that no value of a kept state refers to, and that no batch still to be appended can.
//
// The order makes it safe (I6): listed first, then the generations and the log are read. A batch that was appended since
// the listing is read with the log; one that is still gathered has a sequence above all that applied, and its attachments,
// uploads and notes are left alone. Once a batch of its sequence or a higher one has applied, it can only be a repetition.

import { eachKeptValue } from "../attachments/kept-values.ts";
import { noteItem } from "../checkpoint/items.ts";
import type { Control, HistoryRow } from "../model/control.ts";
import { incarnationPrefix, referencesIn, type ShardId } from "../model/names.ts";
import type { ItemKey } from "../ports/checkpoint-store.ts";
import type { Upload } from "../ports/object-store.ts";
import type { StateDeps } from "../snapshot/state.ts";
import { type DoomedObject, isAttachment, type Listing, parseKey } from "./plan.ts";

export interface AttachmentPlan {
  readonly objects: readonly DoomedObject[];
  readonly uploads: readonly Upload[];
  readonly notes: readonly ItemKey[];
}

export const NO_ATTACHMENTS: AttachmentPlan = { objects: [], uploads: [], notes: [] };

export interface AttachmentFacts {
  readonly id: ShardId;
  readonly listing: Listing;
  /** Read after the listing, and the rows after it. */
  readonly control: Control;
  readonly rows: readonly HistoryRow[];
}

/** `stale`: cleanup passed while the states were read; the next run looks again. */
export async function planAttachments(deps: StateDeps, { id, listing, control, rows }: AttachmentFacts): Promise<AttachmentPlan | "stale"> {
  const objects = listing.objects.filter(({ key }) => isAttachment(id, control, key));
  const uploads = listing.uploads.filter(({ key }) => isAttachment(id, control, key));
  if (objects.length + uploads.length + listing.notes.length === 0) return NO_ATTACHMENTS;
  const prefix = incarnationPrefix(id, control.incarnation);
  const referred = new Set<string>();
  const kept = await eachKeptValue(deps, { id, control, rows }, (value) => {
    for (const reference of referencesIn(value)) referred.add(`${prefix}${reference}`);
  });
  if (kept.kind === "stale") return "stale";
  const isPast = ({ key }: { readonly key: string }): boolean => {
    const { name } = parseKey(id, key);
    return name.kind === "attached" && name.sequence <= kept.sequence;
  };
  const notes = listing.notes.filter(({ sequence }) => sequence <= kept.sequence).map(({ sequence, name }) => noteItem(id, sequence, name));
  // What is referred to is stored: an upload of its name, begun twice where the first answer was lost, has nothing left to store.
  return { objects: objects.filter((object) => isPast(object) && !referred.has(object.key)), uploads: uploads.filter(isPast), notes };
}
