import fc from "fast-check";
import { expect, test } from "vitest";
import { toIndex } from "../../../lib/model/position.ts";
import { qualify } from "../../../lib/planner/qualify.ts";

const policy = { captureAfterMutations: 100, captureAfterMs: 60_000 };

function hintOf(next: number, capturedNext: number, capturedAtMs = 0): Parameters<typeof qualify>[0] {
  return { incarnation: "0".repeat(16), border: { next: toIndex(next), digest: "0".repeat(64), timeMs: 0 }, capturedNext: toIndex(capturedNext), capturedAtMs };
}

test.each([
  ["nothing waits, at once", 1, 1, 0, { kind: "idle" }],
  ["nothing waits, long after", 501, 501, 10 ** 9, { kind: "idle" }],
  ["a capture is ahead of the hint", 401, 501, 10 ** 9, { kind: "idle" }],
  ["one mutation, before the interval", 502, 501, 59_999, { kind: "waits", mutations: 1, dueAtMs: 60_000 }],
  ["one mutation, at the interval", 502, 501, 60_000, { kind: "qualifies", by: "interval", mutations: 1 }],
  ["one below the limit", 600, 501, 0, { kind: "waits", mutations: 99, dueAtMs: 60_000 }],
  ["at the limit, at once", 601, 501, 0, { kind: "qualifies", by: "mutations", mutations: 100 }],
  ["both limits: the mutations are named", 700, 501, 10 ** 9, { kind: "qualifies", by: "mutations", mutations: 199 }],
])("%s", (_, next, capturedNext, nowMs, expected) => {
  expect(qualify(hintOf(next, capturedNext), policy, nowMs)).toEqual(expected);
});

test("mutations that arrive during a capture stay counted", () => {
  fc.assert(
    fc.property(fc.nat(10_000), fc.nat(10_000), fc.nat(10_000), (captured, taken, meanwhile) => {
      const after = qualify(hintOf(1 + captured + taken + meanwhile, 1 + captured + taken), { ...policy, captureAfterMutations: 1 }, 0);
      expect(after).toEqual(meanwhile === 0 ? { kind: "idle" } : { kind: "qualifies", by: "mutations", mutations: meanwhile });
    }),
  );
});
