// What the main job runs on: changes in an order, and somebody else's word on what they amount to.

import type { Mutation } from "../lib/model/mutation.ts";

export interface Step {
  /** Its place in the stream, from 1: the batch's sequence. */
  readonly place: number;
  /** Names the step for a reader: a commit's id, a range of lines. */
  readonly label: string;
  /** None for a step that changed nothing: it is not appended. */
  readonly mutations: readonly Mutation[];
}

export interface ChangeStream {
  /** "the git history of /home/ada/project (main)" */
  readonly subject: string;
  readonly unit: "commits" | "batches";
  /** Who tells what the state must be: "git ls-tree". */
  readonly witness: string;
  readonly producer: string;
  readonly steps: number;
  read(): AsyncGenerator<Step>;
  /** The state behind a step that was read, as the witness tells it: values by key. */
  stateAfter(place: number): Promise<ReadonlyMap<string, unknown>>;
  /** What was left out, and why; complete once the stream was read. */
  notes(): readonly string[];
}
