// Exactly once (I3): per producer the last sequence that applied. The table is part of the state, a function of
// mutations 1…n alone (rule 11): never of a clock, of a base snapshot, or of who captures.
//
// It is bounded: beyond SESSIONS_MAX producers the one whose last batch lies furthest back is forgotten, and
// `forgottenThrough` keeps the highest index so forgotten. A batch of an unknown producer applies only if its
// `since` lies above that floor: were it below, an earlier attempt might have applied and been forgotten. A writer
// asks for the verdict before it appends, so no batch is acknowledged that replay then refuses.

import { SESSIONS_MAX } from "./limits.ts";
import type { ProducerMark } from "./mutation.ts";
import { type Index, toIndex } from "./position.ts";

export interface Session {
  readonly producer: string;
  readonly sequence: bigint;
  /** Index of the last mutation of the producer's last applied batch. */
  readonly lastIndex: Index;
}

export type BatchVerdict = "applies" | "duplicate" | "forgotten";

export class Sessions {
  // Insertion order is the order of last indexes: a session that applies is taken out and put at the end.
  readonly #byProducer = new Map<string, Session>();
  #forgottenThrough: Index;

  /** `sessions` in any order; `forgottenThrough` as a snapshot's footer tells it. */
  constructor(sessions: readonly Session[] = [], forgottenThrough: Index = toIndex(0)) {
    for (const session of [...sessions].sort((a, b) => a.lastIndex - b.lastIndex)) this.#byProducer.set(session.producer, session);
    this.#forgottenThrough = forgottenThrough;
  }

  get forgottenThrough(): Index {
    return this.#forgottenThrough;
  }

  /** Oldest first by last index. */
  list(): readonly Session[] {
    return [...this.#byProducer.values()];
  }

  verdict(mark: ProducerMark): BatchVerdict {
    const session = this.#byProducer.get(mark.producer);
    if (session !== undefined) return mark.sequence > session.sequence ? "applies" : "duplicate";
    return mark.since > this.#forgottenThrough ? "applies" : "forgotten";
  }

  /** The verdict on a batch that ends at `lastIndex`, remembered if it applies. */
  apply(mark: ProducerMark, lastIndex: Index): BatchVerdict {
    const verdict = this.verdict(mark);
    if (verdict !== "applies") return verdict;
    this.#byProducer.delete(mark.producer);
    this.#byProducer.set(mark.producer, { producer: mark.producer, sequence: mark.sequence, lastIndex });
    if (this.#byProducer.size > SESSIONS_MAX) this.#forgetOldest();
    return verdict;
  }

  #forgetOldest(): void {
    for (const [producer, session] of this.#byProducer) {
      this.#byProducer.delete(producer);
      this.#forgottenThrough = session.lastIndex;
      return;
    }
  }
}

/**
 * Whether a batch that starts at `first` can have been forgotten at all. Each of the SESSIONS_MAX producers that must
 * have written since took at least one index, so a batch younger than that needs no look at the table.
 */
export function mayBeForgotten(mark: ProducerMark, first: Index): boolean {
  return first - mark.since >= SESSIONS_MAX;
}
