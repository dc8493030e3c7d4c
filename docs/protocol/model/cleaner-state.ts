// How far a cleaner has come.

import type { Request } from "./request.ts";
import type { Control, PartItem, Row, SnapshotName, Upload } from "./stored.ts";

export interface Listing {
  readonly redo: readonly { readonly life: number; readonly first: number }[];
  readonly snapshots: readonly SnapshotName[];
  readonly uploads: readonly Omit<Upload, "parts">[];
  readonly parts: readonly PartItem[];
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
}

export type CleanerAt = "idle" | "list" | "uploads" | "control" | "rows" | "look twice" | "plan" | "raise" | "delete";

const NOTHING_LISTED: Listing = { redo: [], snapshots: [], uploads: [], parts: [] };

export const IDLE_CLEANER: Cleaner = {
  at: "idle",
  cursor: "",
  listing: NOTHING_LISTED,
  control: undefined,
  rows: [],
  change: { mark: 0, fence: false },
  todo: [],
  doubt: 0,
};
