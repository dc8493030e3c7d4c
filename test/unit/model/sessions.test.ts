import fc from "fast-check";
import { expect, test } from "vitest";
import { SESSIONS_MAX } from "../../../lib/model/limits.ts";
import type { ProducerMark } from "../../../lib/model/mutation.ts";
import { toIndex } from "../../../lib/model/position.ts";
import { mayBeForgotten, Sessions } from "../../../lib/model/sessions.ts";

function markOf(producer: string, sequence: bigint | number, since = 1): ProducerMark {
  return { producer, sequence: BigInt(sequence), since: toIndex(since) };
}

/** A table in which every place is taken: producer i wrote index i, from 1. */
function fullTable(): Sessions {
  const sessions = new Sessions();
  for (let i = 1; i <= SESSIONS_MAX; i++) sessions.apply(markOf(`p${i}`, 1), toIndex(i));
  return sessions;
}

test("a batch applies if its sequence is above its producer's last, and is a duplicate otherwise", () => {
  const sessions = new Sessions();
  const verdicts = [5n, 5n, 4n, 0n, 6n, 1n << 191n, 7n].map((sequence, place) => sessions.apply(markOf("a", sequence), toIndex(place + 1)));
  expect(verdicts).toEqual(["applies", "duplicate", "duplicate", "duplicate", "applies", "applies", "duplicate"]);
  expect(sessions.list()).toEqual([{ producer: "a", sequence: 1n << 191n, lastIndex: 6 }]);
});

test("producers do not see each other's sequences", () => {
  const sessions = new Sessions();
  sessions.apply(markOf("a", 9), toIndex(1));
  expect([sessions.verdict(markOf("b", 1)), sessions.verdict(markOf("a", 1))]).toEqual(["applies", "duplicate"]);
});

test("a duplicate leaves the table as it was", () => {
  const sessions = new Sessions([{ producer: "a", sequence: 2n, lastIndex: toIndex(4) }]);
  sessions.apply(markOf("a", 2), toIndex(9));
  expect([sessions.list(), sessions.forgottenThrough]).toEqual([[{ producer: "a", sequence: 2n, lastIndex: 4 }], 0]);
});

test("the table holds as many producers as the format says, and no more", () => {
  const sessions = fullTable();
  const before = [sessions.list().length, sessions.forgottenThrough];
  sessions.apply(markOf("new", 1), toIndex(SESSIONS_MAX + 1));
  expect([...before, sessions.list().length, sessions.forgottenThrough, sessions.list()[0].producer]).toEqual([SESSIONS_MAX, 0, SESSIONS_MAX, 1, "p2"]);
});

test("the producer whose last batch lies furthest back is forgotten first", () => {
  const sessions = fullTable();
  sessions.apply(markOf("p1", 2), toIndex(SESSIONS_MAX + 1));
  sessions.apply(markOf("new", 1), toIndex(SESSIONS_MAX + 2));
  expect([sessions.verdict(markOf("p1", 2)), sessions.list()[0].producer, sessions.forgottenThrough]).toEqual(["duplicate", "p3", 2]);
});

test("a batch of an unknown producer applies only if it was first sent above the forgotten indexes", () => {
  const sessions = new Sessions([], toIndex(10));
  expect([sessions.verdict(markOf("a", 1, 10)), sessions.verdict(markOf("a", 1, 11)), sessions.verdict(markOf("a", 1, 0))]).toEqual([
    "forgotten",
    "applies",
    "forgotten",
  ]);
});

test("the table is a function of the log alone: cut at any snapshots, it comes out the same", () => {
  const batch = fc.record({ producer: fc.constantFrom("a", "b", "c", "d"), sequence: fc.nat(20), since: fc.nat(30), count: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(fc.array(batch, { maxLength: 40 }), fc.array(fc.nat(40), { maxLength: 5 }), fc.nat(6), (log, cuts, forgotten) => {
      const whole = new Sessions([], toIndex(forgotten));
      let cut = new Sessions([], toIndex(forgotten));
      const verdicts: string[][] = [];
      let index = 0;
      for (const [place, { producer, sequence, since, count }] of log.entries()) {
        // What a snapshot's footer keeps, in whatever order.
        if (cuts.includes(place)) cut = new Sessions([...cut.list()].reverse(), cut.forgottenThrough);
        index += count;
        const mark = markOf(producer, sequence, since);
        verdicts.push([whole.apply(mark, toIndex(index)), cut.apply(mark, toIndex(index))]);
      }
      expect([cut.list(), cut.forgottenThrough]).toEqual([whole.list(), whole.forgottenThrough]);
      for (const [one, other] of verdicts) expect(one).toBe(other);
    }),
  );
});

test("a table restored at its limit forgets as the one that went on", () => {
  const whole = fullTable();
  const restored = new Sessions(whole.list(), whole.forgottenThrough);
  for (const sessions of [whole, restored]) {
    for (let i = 1; i <= 3; i++) sessions.apply(markOf(`new${i}`, 1), toIndex(SESSIONS_MAX + i));
  }
  expect([restored.list(), restored.forgottenThrough]).toEqual([whole.list(), whole.forgottenThrough]);
});

test("a batch that cannot have been forgotten asks for no look at the table", () => {
  const mark = markOf("a", 1, 100);
  expect([mayBeForgotten(mark, toIndex(100)), mayBeForgotten(mark, toIndex(99 + SESSIONS_MAX)), mayBeForgotten(mark, toIndex(100 + SESSIONS_MAX))]).toEqual([
    false,
    false,
    true,
  ]);
});

test("a batch that asks for no look is never forgotten", () => {
  const sessions = fullTable();
  // The oldest batch that still asks for none: every later index was taken by another producer.
  const first = SESSIONS_MAX + 2;
  const mark = markOf("late", 1, first - SESSIONS_MAX + 1);
  sessions.apply(markOf("new", 1), toIndex(first - 1));
  expect([mayBeForgotten(mark, toIndex(first)), sessions.verdict(mark)]).toEqual([false, "applies"]);
});
