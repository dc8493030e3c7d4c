import { expect, test } from "vitest";
import { lanes } from "../../../lib/jobs/lanes.ts";

/** Pieces of work that end when they are told to. */
function pieces() {
  const running: PromiseWithResolvers<void>[] = [];
  const begun: number[] = [];
  return {
    begun,
    work: (name: number) => async () => {
      begun.push(name);
      running[name] = Promise.withResolvers();
      await running[name].promise;
    },
    finish: (name: number) => running[name].resolve(),
    fail: (name: number) => running[name].reject(new Error(`piece ${name} failed`)),
  };
}

const settled = () => new Promise((done) => setImmediate(done));

test("so many pieces run at a time, and the next begins when one has ended", async () => {
  const { begun, work, finish } = pieces();
  const side = lanes(2);
  await side.begin(work(0));
  await side.begin(work(1));
  const third = side.begin(work(2));
  await settled();
  expect(begun).toEqual([0, 1]);
  finish(1);
  await third;
  expect(begun).toEqual([0, 1, 2]);
  let ended = false;
  const end = side.end().then(() => {
    ended = true;
  });
  finish(0);
  await settled();
  expect(ended).toBe(false);
  finish(2);
  await end;
});

test("once a piece has failed no other begins, and its error is thrown to whoever brings one", async () => {
  const { begun, work, fail } = pieces();
  const side = lanes(1);
  await side.begin(work(0));
  fail(0);
  await expect(side.begin(work(1))).rejects.toThrow("piece 0 failed");
  expect(begun).toEqual([0]);
});

test("the end waits for what still runs, and throws the first error of all", async () => {
  const { work, finish, fail } = pieces();
  const side = lanes(3);
  for (const name of [0, 1, 2]) await side.begin(work(name));
  fail(1);
  await settled();
  fail(0);
  let told: unknown;
  const end = side.end().catch((error: unknown) => {
    told = error;
  });
  await settled();
  expect(told).toBeUndefined();
  finish(2);
  await end;
  expect(told).toEqual(new Error("piece 1 failed"));
});
