// How far a writer has come.

import { type Batch, type Border, type Fold, ORIGIN, type RedoFile } from "./values.ts";

export interface Writer {
  readonly at: WriterAt;
  /** What it believes: a border of this life's log. 0 is no belief. */
  readonly life: number;
  readonly border: Border;
  readonly batches: readonly Batch[];
  /** The claim under way. */
  readonly file: RedoFile | undefined;
  /** Where the walk, or the reading of sessions, began. */
  readonly from: number;
  readonly claimsLost: number;
  /** It knows that none of its batches was forgotten, as of its border. */
  readonly asked: boolean;
  readonly sessions: Fold | undefined;
}

export type WriterAt =
  | "idle"
  | "begin"
  | "begin at hint"
  | "put"
  | "winner"
  | "check winner"
  | "check claim"
  | "publish"
  | "walk"
  | "walk from hint"
  | "walk on"
  | "look behind"
  | "check walk"
  | "check break"
  | "ask"
  | "ask base"
  | "ask log";

export const IDLE_WRITER: Writer = {
  at: "idle",
  life: 0,
  border: ORIGIN,
  batches: [],
  file: undefined,
  from: 0,
  claimsLost: 0,
  asked: false,
  sessions: undefined,
};

/** No producer is ever forgotten. */
export const FOR_EVER = 99;

/** What a producer's caller knows: the batch that it sends, and how often it was handed to a writer. */
export interface Producer {
  readonly sequence: number;
  readonly since: number;
  /** A claim of it may have counted. */
  readonly sent: boolean;
  readonly taken: number;
}

/** A caller that has its answer goes on to the next batch. */
export function answeredUpTo(producer: Producer, batches: readonly Batch[]): Producer {
  return batches.reduce((one, { sequence }) => (sequence === one.sequence ? { sequence: sequence + 1, since: 0, sent: false, taken: 0 } : one), producer);
}
