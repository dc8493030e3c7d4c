import { expect, test } from "vitest";
import { release } from "../../../lib/model/memory.ts";

test("what has its memory to itself is freed at once, with all views of it", () => {
  const bytes = Buffer.allocUnsafeSlow(100_000);
  const view = bytes.subarray(10, 20);
  release(view);
  expect([bytes.length, view.length]).toEqual([0, 0]);
  const numbers = new Float64Array(1_000);
  release(numbers);
  expect(numbers.length).toBe(0);
});

test("what is small is not worth a call, and left to the collector", () => {
  const [worth, small] = [Buffer.allocUnsafeSlow(2_048), Buffer.allocUnsafeSlow(2_047)];
  release(worth);
  release(small);
  expect([worth.length, small.length]).toEqual([0, 2_047]);
});

test("what shares Node's pool with others is left alone", () => {
  const one = Buffer.from("one");
  const other = Buffer.from("other");
  expect(one.buffer).toBe(other.buffer);
  release(one);
  expect(other.toString()).toBe("other");
});
