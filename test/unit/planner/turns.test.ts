import fc from "fast-check";
import { expect, test } from "vitest";
import type { TailHint } from "../../../lib/model/control.ts";
import { ASK_AGAIN_AFTER_MS } from "../../../lib/model/limits.ts";
import { isUnderWay, turns } from "../../../lib/planner/turns.ts";

interface Waiting {
  readonly name: number;
  readonly hint: Pick<TailHint, "dueSinceMs" | "askedAtMs">;
}

const sinceOf = ({ hint }: Waiting) => hint.askedAtMs ?? hint.dueSinceMs ?? Number.POSITIVE_INFINITY;

const askedOf = ({ hint }: Waiting) => Number(hint.askedAtMs !== undefined);
const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1);

const shards = fc
  .array(fc.record({ dueSinceMs: fc.nat(50), askedAtMs: fc.nat(50) }, { requiredKeys: [] }), { maxLength: 60 })
  .map((hints) => hints.map((hint, name): Waiting => ({ name, hint })));

test("those go that nobody asked for the longest, as many as are free, and every other one waits", () => {
  fc.assert(
    fc.property(shards, fc.integer({ min: 1, max: 20 }), fc.nat(25), (due, together, running) => {
      const queue = turns<Waiting>(together);
      const out = due.flatMap((shard) => queue.offer(shard) ?? []);
      for (let at = 0; at < running; at++) queue.underWay();
      const { go, wait } = queue.end();
      const inTurn = [...due].sort((a, b) => compare(sinceOf(a), sinceOf(b)) || compare(askedOf(a), askedOf(b)));
      expect(go.map(({ name }) => name)).toEqual(inTurn.slice(0, Math.max(0, together - running)).map(({ name }) => name));
      expect([...go, ...wait, ...out].map(({ name }) => name).sort((a, b) => a - b)).toEqual(due.map(({ name }) => name));
      expect(go.length + wait.length).toBeLessThanOrEqual(together);
    }),
  );
});

test("of those that wait equally long one that was never asked for comes first, and else whoever was offered first", () => {
  const queue = turns<Waiting>(5);
  const hints = [{ dueSinceMs: 7 }, { askedAtMs: 7 }, { dueSinceMs: 7 }, { askedAtMs: 7 }, {}];
  for (const [name, hint] of hints.entries()) queue.offer({ name, hint });
  expect(queue.end().go.map(({ name }) => name)).toEqual([0, 2, 1, 3, 4]);
});

test("a capture is under way until it may count as lost", () => {
  expect([undefined, 1_000, 1_000].map((askedAtMs, i) => isUnderWay({ ...(askedAtMs !== undefined && { askedAtMs }) }, 999 + ASK_AGAIN_AFTER_MS + i))).toEqual([
    false,
    false,
    false,
  ]);
  expect(isUnderWay({ askedAtMs: 1_000 }, 999 + ASK_AGAIN_AFTER_MS)).toBe(true);
});
