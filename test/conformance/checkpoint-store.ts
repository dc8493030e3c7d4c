// The law book of the CheckpointStore port. Each store that claims the port runs it: `open` gives a store with nothing in it.

import { describe, expect } from "vitest";
import type { Attributes, CheckpointStore, Condition, ItemKey, WriteOutcome } from "../../lib/ports/checkpoint-store.ts";
import { put, queryLaws } from "./checkpoint-queries.ts";
import { type Deviation, lawsOver, type Open, range } from "./law.ts";

const ATTEMPTS_MAX = 500;
const KEY: ItemKey = { partition: "shard#t/0", sort: "control" };
const OTHER: ItemKey = { partition: "shard#t/0", sort: "tail" };
const WRITTEN: WriteOutcome = { kind: "written" };

export function checkpointStoreLaws(name: string, open: Open<CheckpointStore>, deviations: readonly Deviation[] = []): void {
  const law = lawsOver(open, deviations);

  describe(`${name} as a checkpoint store: items`, () => {
    law("what is put is what is read, of every type", async (store) => {
      const attributes: Attributes = {
        text: "é — \u{1f30a}",
        empty: "",
        zero: 0,
        negative: -17,
        large: Number.MAX_SAFE_INTEGER,
        share: 0.25,
        small: 1e-7,
        yes: true,
        no: false,
        list: [1, "two", false, [], {}],
        map: { inner: { deep: [{ x: 1 }] }, "key with spaces": "v", __proto__x: 1 },
        size: 1,
        name: "reserved",
        value: "reserved",
        "a.b": "dotted",
        "#x": ":y",
      };
      expect(await store.write([{ item: KEY, when: [], put: attributes }])).toEqual(WRITTEN);
      expect(await store.get(KEY)).toEqual({ key: KEY, attributes });
      expect((await store.query({ partition: KEY.partition })).items).toEqual([{ key: KEY, attributes }]);
    });

    law("an absent item is undefined", async (store) => {
      await put(store, KEY, { n: 1 });
      expect(await store.get({ ...KEY, sort: "contro" })).toBeUndefined();
      expect(await store.get({ ...KEY, partition: "shard#t/1" })).toBeUndefined();
    });

    law("put replaces the whole item; set writes what it names, removes what it names and leaves the rest", async (store) => {
      await put(store, KEY, { a: 1, b: 2, c: 3 });
      await put(store, KEY, { b: 20, d: 40, e: 50 });
      expect(await attributesOf(store, KEY)).toEqual({ b: 20, d: 40, e: 50 });
      expect(await store.write([{ item: KEY, when: [], set: { d: { new: true }, f: 6 }, remove: ["e", "not there"] }])).toEqual(WRITTEN);
      expect(await attributesOf(store, KEY)).toEqual({ b: 20, d: { new: true }, f: 6 });
      expect(await store.write([{ item: KEY, when: [], set: {}, remove: ["f"] }])).toEqual(WRITTEN);
      expect(await attributesOf(store, KEY)).toEqual({ b: 20, d: { new: true } });
    });

    law("set creates an item that is absent", async (store) => {
      expect(await store.write([{ item: KEY, when: [], set: { a: 1 } }])).toEqual(WRITTEN);
      expect(await attributesOf(store, KEY)).toEqual({ a: 1 });
    });

    law("a set that only removes creates an item without attributes, where none is", async (store) => {
      expect(await store.write([{ item: KEY, when: [], set: {}, remove: ["a"] }])).toEqual(WRITTEN);
      expect(await store.get(KEY)).toEqual({ key: KEY, attributes: {} });
      const together = { item: OTHER, when: [{ kind: "absent" } as const], set: {}, remove: ["a"] };
      expect(await store.write([together, { item: KEY, when: [], check: true }])).toEqual(WRITTEN);
      expect(await store.get(OTHER)).toEqual({ key: OTHER, attributes: {} });
    });

    law("put may leave an item without attributes", async (store) => {
      await put(store, KEY, {});
      expect(await store.get(KEY)).toEqual({ key: KEY, attributes: {} });
    });

    law("delete takes the item away, and may find none", async (store) => {
      await put(store, KEY, { a: 1 });
      expect(await store.write([{ item: KEY, when: [], delete: true }])).toEqual(WRITTEN);
      expect(await store.write([{ item: KEY, when: [], delete: true }])).toEqual(WRITTEN);
      expect(await store.get(KEY)).toBeUndefined();
    });

    law("an item beyond 400 KiB is refused, alone and with others, and nothing is written", async (store) => {
      const large = "x".repeat(500_000);
      await put(store, OTHER, { half: "x".repeat(300_000) });
      for (const changes of [
        [{ item: KEY, when: [], put: { large } }],
        [{ item: OTHER, when: [], set: { other: "x".repeat(300_000) } }],
        [
          { item: KEY, when: [], put: { n: 1 } },
          { item: OTHER, when: [], set: { large } },
        ],
      ]) {
        await expect(store.write(changes)).rejects.toMatchObject({ kind: "call", code: "item-too-large" });
        expect(await store.get(KEY)).toBeUndefined();
        expect(Object.keys(await attributesOf(store, OTHER))).toEqual(["half"]);
      }
    });

    law("items are copied, not shared", async (store) => {
      const inner = { x: 1 };
      const list = [inner];
      await put(store, KEY, { list });
      inner.x = 2;
      list.push({ x: 3 });
      expect(await attributesOf(store, KEY)).toEqual({ list: [{ x: 1 }] });
    });
  });

  describe(`${name} as a checkpoint store: conditions`, () => {
    const standing: Attributes = { epoch: 7, inc: "abc", flag: true, none: "" };
    const onStanding: [Condition, boolean][] = [
      [{ kind: "absent" }, false],
      [{ kind: "present" }, true],
      [{ kind: "eq", attribute: "epoch", value: 7 }, true],
      [{ kind: "eq", attribute: "epoch", value: 8 }, false],
      [{ kind: "eq", attribute: "epoch", value: "7" }, false],
      [{ kind: "eq", attribute: "inc", value: "abc" }, true],
      [{ kind: "eq", attribute: "flag", value: true }, true],
      [{ kind: "eq", attribute: "flag", value: false }, false],
      [{ kind: "eq", attribute: "none", value: "" }, true],
      [{ kind: "eq", attribute: "missing", value: 0 }, false],
      [{ kind: "lt", attribute: "epoch", value: 8 }, true],
      [{ kind: "lt", attribute: "epoch", value: 7 }, false],
      [{ kind: "lt", attribute: "epoch", value: 6 }, false],
      [{ kind: "lt", attribute: "missing", value: 0 }, true],
      [{ kind: "lt", attribute: "inc", value: 10 }, false],
    ];
    const onNothing: [Condition, boolean][] = [
      [{ kind: "absent" }, true],
      [{ kind: "present" }, false],
      [{ kind: "eq", attribute: "epoch", value: 7 }, false],
      [{ kind: "lt", attribute: "epoch", value: 0 }, true],
    ];

    law("each condition holds or refuses as the port says, for every kind of change", async (store) => {
      for (const [item, cases] of [
        [{ key: KEY, attributes: standing }, onStanding],
        [undefined, onNothing],
      ] as const) {
        for (const [condition, holds] of cases) {
          for (const change of [{ put: { new: 1 } }, { set: { new: 1 } }, { delete: true }, { check: true }] as const) {
            if (item !== undefined) await put(store, KEY, standing);
            else await store.write([{ item: KEY, when: [], delete: true }]);
            const expected = holds ? WRITTEN : { kind: "refused", at: 0, ...(item && { item }) };
            expect(await store.write([{ item: KEY, when: [condition], ...change }]), JSON.stringify({ condition, change })).toEqual(expected);
            if (!holds || "check" in change) expect(await store.get(KEY)).toEqual(item);
          }
        }
      }
    });

    law("all conditions of a change must hold", async (store) => {
      await put(store, KEY, standing);
      const mine: Condition = { kind: "eq", attribute: "epoch", value: 7 };
      const grows: Condition = { kind: "lt", attribute: "index", value: 100 };
      expect(await store.write([{ item: KEY, when: [mine, grows], set: { index: 100 } }])).toEqual(WRITTEN);
      expect(await store.write([{ item: KEY, when: [mine, grows], set: { index: 100 } }])).toEqual({
        kind: "refused",
        at: 0,
        item: { key: KEY, attributes: { ...standing, index: 100 } },
      });
      expect(
        await store.write([
          {
            item: KEY,
            when: [
              { ...mine, value: 8 },
              { ...grows, value: 101 },
            ],
            set: { index: 101 },
          },
        ]),
      ).toMatchObject({ kind: "refused" });
    });

    law("a check without conditions holds", async (store) => {
      expect(await store.write([{ item: KEY, when: [], check: true }])).toEqual(WRITTEN);
      expect(
        await store.write([
          { item: KEY, when: [], check: true },
          { item: OTHER, when: [{ kind: "absent" }], put: { a: 1 } },
        ]),
      ).toEqual(WRITTEN);
      expect(
        await store.write([
          { item: KEY, when: [], check: true },
          { item: OTHER, when: [{ kind: "absent" }], put: { a: 1 } },
        ]),
      ).toEqual({ kind: "refused", at: 1, item: { key: OTHER, attributes: { a: 1 } } });
    });
  });

  describe(`${name} as a checkpoint store: transactions`, () => {
    law("a refused change undoes none and does none of the others, and names the first that was refused", async (store) => {
      await put(store, KEY, { n: 1 });
      const items = [0, 1, 2, 3].map((number) => ({ partition: "p", sort: `${number}` }));
      const refused = await store.write([
        { item: items[0], when: [{ kind: "absent" }], put: { a: 1 } },
        { item: items[1], when: [], set: { a: 1 } },
        { item: KEY, when: [{ kind: "eq", attribute: "n", value: 2 }], delete: true },
        { item: items[2], when: [{ kind: "present" }], check: true },
      ]);
      expect(refused).toEqual({ kind: "refused", at: 2, item: { key: KEY, attributes: { n: 1 } } });
      expect((await store.query({ partition: "p" })).items).toEqual([]);
      expect(await attributesOf(store, KEY)).toEqual({ n: 1 });
    });

    law("of several changes that are refused the first is named, whatever the order of their keys", async (store) => {
      const items = ["d", "a", "c", "b"].map((sort) => ({ partition: sort, sort }));
      for (const item of items) await put(store, item, { own: item.sort });
      for (const order of [items, [...items].reverse()]) {
        const refused = await store.write(order.map((item, place) => ({ item, when: place === 0 ? [] : [{ kind: "absent" as const }], check: true as const })));
        expect(refused).toEqual({ kind: "refused", at: 1, item: { key: order[1], attributes: { own: order[1].sort } } });
      }
    });

    law("a transaction does all of its changes", async (store) => {
      await put(store, KEY, { n: 1 });
      await put(store, OTHER, { t: 1 });
      const fresh = { partition: "p", sort: "fresh" };
      const outcome = await store.write([
        { item: KEY, when: [{ kind: "eq", attribute: "n", value: 1 }], set: { n: 2 } },
        { item: OTHER, when: [{ kind: "present" }], delete: true },
        { item: fresh, when: [{ kind: "absent" }], put: { a: 1 } },
        { item: { partition: "q", sort: "q" }, when: [{ kind: "absent" }], check: true },
      ]);
      expect(outcome).toEqual(WRITTEN);
      expect([await attributesOf(store, KEY), await store.get(OTHER), await attributesOf(store, fresh)]).toEqual([{ n: 2 }, undefined, { a: 1 }]);
    });

    law("a transaction takes 100 items", async (store) => {
      const changes = range(100).map((number) => ({ item: { partition: "p", sort: String(number) }, when: [{ kind: "absent" } as const], put: { number } }));
      expect(await store.write(changes)).toEqual(WRITTEN);
      expect(await store.write([...changes].reverse())).toEqual({
        kind: "refused",
        at: 0,
        item: { key: { partition: "p", sort: "99" }, attributes: { number: 99 } },
      });
    });

    law("of 16 racing conditional writers exactly one wins, and each loser gets the item that beat it", async (store) => {
      for (let round = 0; round < 5; round++) {
        const item = { partition: "race", sort: `${round}` };
        await put(store, item, { epoch: 0 });
        const outcomes = await Promise.all(
          range(16).map((owner) => settled(() => store.write([{ item, when: [{ kind: "eq", attribute: "epoch", value: 0 }], set: { epoch: 1, owner } }]))),
        );
        const winners = range(16).filter((owner) => outcomes[owner].kind === "written");
        expect(winners).toHaveLength(1);
        const standing = { key: item, attributes: { epoch: 1, owner: winners[0] } };
        for (const outcome of outcomes) if (outcome.kind === "refused") expect(outcome).toEqual({ kind: "refused", at: 0, item: standing });
      }
    });

    law("transactions that overlap in any order keep what each of them keeps", async (store) => {
      // Each moves 1 from one account to another; all or nothing keeps the sum, conditions keep every account at 0 or more.
      const accounts = range(4).map((number) => ({ partition: "accounts", sort: `${number}` }));
      for (const account of accounts) await put(store, account, { coins: 5 });
      const seen: number[] = [];
      await Promise.all(
        range(8).map(async (worker) => {
          for (let step = 0; step < 10; step++) {
            const [from, to] = [accounts[(worker + step) % 4], accounts[(worker * 3 + step * 2 + 1) % 4]];
            if (from !== to) seen.push(await move(store, from, to));
          }
        }),
      );
      const coins = (await store.query({ partition: "accounts" })).items.map(({ attributes }) => Number(attributes.coins));
      expect(seen.length).toBeGreaterThan(20);
      expect(coins.reduce((sum, one) => sum + one)).toBe(20);
      expect(Math.min(...coins)).toBeGreaterThanOrEqual(0);
    });
  });

  queryLaws(name, law);
}

async function attributesOf(store: CheckpointStore, key: ItemKey): Promise<Attributes> {
  const item = await store.get(key);
  if (item === undefined) throw new Error(`${key.partition} ${key.sort} is absent`);
  return item.attributes;
}

/** Moves a coin where there is one: reads, then writes what it read must still be. Tells the attempts. */
async function move(store: CheckpointStore, from: ItemKey, to: ItemKey): Promise<number> {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const [source, target] = [Number((await attributesOf(store, from)).coins), Number((await attributesOf(store, to)).coins)];
    if (source === 0) return attempt;
    const outcome = await settled(() =>
      store.write([
        { item: from, when: [{ kind: "eq", attribute: "coins", value: source }], set: { coins: source - 1 } },
        { item: to, when: [{ kind: "eq", attribute: "coins", value: target }], set: { coins: target + 1 } },
      ]),
    );
    if (outcome.kind === "written") return attempt;
  }
  throw new Error("no attempt got through");
}

/** The port allows a write to be refused for the moment; conflicts between transactions are such. */
async function settled(write: () => Promise<WriteOutcome>): Promise<WriteOutcome> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "transaction-conflict")) throw error;
    }
  }
  throw new Error("no attempt got an answer");
}
