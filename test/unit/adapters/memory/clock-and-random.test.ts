import { describe, expect, test } from "vitest";
import { systemClock } from "../../../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../../../lib/adapters/local/random.ts";
import { manualClock } from "../../../../lib/adapters/memory/clock.ts";
import { memoryObjectStore } from "../../../../lib/adapters/memory/object-store.ts";
import { seededRandom } from "../../../../lib/adapters/memory/random.ts";

describe("the manual clock", () => {
  test("sleepers wake in order of their times, none before its own", async () => {
    const clock = manualClock(1_000);
    const woken: string[] = [];
    const sleepers = [clock.sleep(30).then(() => woken.push("30")), clock.sleep(10).then(() => woken.push("10")), clock.sleep(20).then(() => woken.push("20"))];
    expect(clock.nextWakeMs).toBe(1_010);
    clock.advance(9);
    await Promise.resolve();
    expect(woken).toEqual([]);
    clock.advance(11);
    await Promise.all(sleepers.slice(1));
    expect([woken, clock.now()]).toEqual([["10", "20"], 1_020]);
    clock.set(5_000);
    await Promise.all(sleepers);
    expect([woken, clock.now(), clock.nextWakeMs]).toEqual([["10", "20", "30"], 5_000, undefined]);
  });
});

for (const [name, clock] of [
  ["manual", manualClock()],
  ["system", systemClock()],
] as const) {
  test(`the ${name} clock wakes a sleeper at once when its signal aborts, also before it sleeps`, async () => {
    const controller = new AbortController();
    const sleep = clock.sleep(1_000_000, controller.signal);
    controller.abort();
    await sleep;
    await clock.sleep(1_000_000, controller.signal);
  });
}

test("the system clock sleeps", async () => {
  const clock = systemClock();
  const start = clock.now();
  await clock.sleep(20);
  expect(clock.now() - start).toBeGreaterThanOrEqual(19);
});

test("chance of one seed comes out the same, and of another otherwise", () => {
  const draw = (seed: number): (string | number)[] => {
    const random = seededRandom(seed);
    return [random.id(32), random.fraction(), random.id(16), random.fraction()];
  };
  expect(draw(7)).toEqual(draw(7));
  expect(new Set([1, 2, -1, 2 ** 40, 2 ** 40 + 1].map((seed) => String(draw(seed)[0]))).size).toBe(5);
});

for (const [name, random] of [
  ["seeded", seededRandom(1)],
  ["crypto", cryptoRandom()],
] as const) {
  test(`${name} ids are hexadecimal, of the length asked for, and never the same; fractions fill 0 to 1 evenly`, () => {
    const ids = Array.from({ length: 1_000 }, () => random.id(17));
    expect(new Set(ids).size).toBe(1_000);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{17}$/);
    const fractions = Array.from({ length: 10_000 }, () => random.fraction());
    expect(fractions.every((fraction) => fraction >= 0 && fraction < 1)).toBe(true);
    for (let tenth = 0; tenth < 10; tenth++) expect(fractions.filter((fraction) => Math.floor(fraction * 10) === tenth).length).toBeGreaterThan(800);
    expect(() => random.id(15)).toThrow("at least 16");
  });
}

test("the memory store has its effects at the call, and its objects can be damaged", async () => {
  const store = memoryObjectStore();
  const first = store.createIfAbsent("k", Buffer.from("first"));
  const second = store.createIfAbsent("k", Buffer.from("second"));
  expect(store.objects.get("k")).toEqual(Buffer.from("first"));
  expect(await Promise.all([first, second])).toEqual([{ kind: "created" }, { kind: "exists" }]);
  store.damage("k", (body) => {
    body[0] ^= 1;
    return body;
  });
  expect(await store.get("k")).toEqual({ kind: "found", body: Buffer.from("girst"), size: 5 });
});
