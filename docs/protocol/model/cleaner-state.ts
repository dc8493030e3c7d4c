// How far a cleaner has come.

import type { Request } from "./request.ts";
import type { Attachment, Control, PartItem, Row, SnapshotName, Upload } from "./stored.ts";
import { EMPTY, type Fold } from "./values.ts";

export interface Listing {
  readonly redo: readonly { readonly life: number; readonly first: number }[];
  readonly snapshots: readonly SnapshotName[];
  readonly uploads: readonly Omit<Upload, "parts">[];
  readonly parts: readonly PartItem[];
  readonly attached: readonly Attachment[];
}

export interface Cleaner {
  readonly at: CleanerAt;
  /** The last key of the page before. */
  readonly cursor: string;
  readonly listing: Listing;
  readonly control: Control | undefined;
  readonly rows: readonly Row[];
  readonly change: { readonly mark: number; readonly fence: boolean };
  readonly todo: readonly Request[];
  readonly doubt: number;
  readonly kept: KeptValues;
}

/** What the states that are kept name: of the oldest generation, and of the log behind it as far as it was read. */
export interface KeptValues {
  readonly base: Row | undefined;
  readonly fold: Fold;
  readonly names: readonly string[];
}

export type CleanerAt = "idle" | "list" | "uploads" | "control" | "rows" | "look twice" | "plan" | "raise" | "delete" | KeptAt;

export type KeptAt = "kept control" | "kept rows" | "kept base" | "kept log" | "kept behind" | "kept check";

export const NOTHING_LISTED: Listing = { redo: [], snapshots: [], uploads: [], parts: [], attached: [] };
const NOTHING_KEPT: KeptValues = { base: undefined, fold: EMPTY, names: [] };

export const IDLE_CLEANER: Cleaner = {
  at: "idle",
  cursor: "",
  listing: NOTHING_LISTED,
  control: undefined,
  rows: [],
  change: { mark: 0, fence: false },
  todo: [],
  doubt: 0,
  kept: NOTHING_KEPT,
};
