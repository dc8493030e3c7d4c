// How far one has come that gathers the next generation of a backup.

export interface Gatherer {
  readonly at: GathererAt;
  readonly life: number;
  /** The number of the generation: the sequence of its batch, and where its attachments are stored. */
  readonly sequence: number;
  /** What the newest state names. */
  readonly head: readonly string[];
  /** Its own attachment. */
  readonly name: string;
  /** What its state will name, once that is settled. */
  readonly names: readonly string[] | undefined;
}

type GathererAt = "idle" | "number" | "head" | "store" | "append";

export const IDLE_GATHERER: Gatherer = { at: "idle", life: 0, sequence: 0, head: [], name: "", names: undefined };
