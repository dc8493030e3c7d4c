// Whose turn it is among the due shards of one table, where only so many captures of it may be under way (pure). Those that
// nobody asked for the longest come first: a shard that was asked for in vain goes behind those that waited meanwhile, so
// a few that cannot be captured do not keep the others from it. However many are due, no more are held than may go.

import type { TailHint } from "../model/control.ts";
import { ASK_AGAIN_AFTER_MS } from "../model/limits.ts";

interface DueShard {
  readonly hint: Pick<TailHint, "dueSinceMs" | "askedAtMs">;
}

export interface Turns<Shard> {
  /** Takes in a due shard whose capture is not under way; gives back the one that has to wait for it, if one has. */
  offer(shard: Shard): Shard | undefined;
  /** A capture of the table is under way. */
  underWay(): void;
  /** Those whose turn it is, and those that have to wait after all. */
  end(): { readonly go: readonly Shard[]; readonly wait: readonly Shard[] };
}

export function turns<Shard extends DueShard>(together: number): Turns<Shard> {
  /** In the order of their turns. */
  const held: Shard[] = [];
  let running = 0;
  return {
    offer(shard) {
      held.splice(placeOf(held, shard), 0, shard);
      return held.length > together ? held.pop() : undefined;
    },
    underWay() {
      running += 1;
    },
    end() {
      const free = Math.max(0, together - running);
      return { go: held.slice(0, free), wait: held.slice(free) };
    },
  };
}

/** Whether a capture was asked for and may still wait its turn; later its message counts as lost, or its worker as killed. */
export function isUnderWay({ askedAtMs }: Pick<TailHint, "askedAtMs">, nowMs: number): boolean {
  return askedAtMs !== undefined && nowMs - askedAtMs < ASK_AGAIN_AFTER_MS;
}

/** Behind all that have waited at least as long. */
function placeOf(held: readonly DueShard[], shard: DueShard): number {
  let [low, high] = [0, held.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (!isBefore(shard, held[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Of two that wait equally long, the one that was never asked for. */
function isBefore(one: DueShard, other: DueShard): boolean {
  const [oneMs, otherMs] = [sinceMs(one), sinceMs(other)];
  return oneMs === otherMs ? one.hint.askedAtMs === undefined && other.hint.askedAtMs !== undefined : oneMs < otherMs;
}

/** Since when it waits; without end where nothing was noted yet. */
function sinceMs({ hint }: DueShard): number {
  return hint.askedAtMs ?? hint.dueSinceMs ?? Number.POSITIVE_INFINITY;
}
