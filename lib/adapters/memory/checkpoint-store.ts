// A checkpoint store in memory, for simulations and for users' own tests. Every call takes effect at once, before its
// promise is handed out. Items are frozen copies, so that the ones handed out can be the ones stored.

import { DYNAMODB_PAGE_ITEMS_MAX } from "../../model/limits.ts";
import type { Attribute, Attributes, CheckpointStore, Item, ItemKey } from "../../ports/checkpoint-store.ts";
import { compareByBytes } from "../byte-order.ts";
import { changed, checkChanges, checkItemKey, DIRTY, refusalOf } from "../item-changes.ts";

export interface MemoryCheckpointStore extends CheckpointStore {
  /** All items, in byte order of their keys. */
  readonly items: readonly Item[];
}

export function memoryCheckpointStore(): MemoryCheckpointStore {
  const partitions = new Map<string, Map<string, Item>>();
  /** The keys of dirty items by the attribute's value, in byte order: items at rest cost a query nothing. */
  const dirty = new Map<string, ItemKey[]>();

  function find({ partition, sort }: ItemKey): Item | undefined {
    return partitions.get(partition)?.get(sort);
  }

  function replace(key: ItemKey, attributes: Attributes | undefined): void {
    const partition = partitions.get(key.partition) ?? new Map<string, Item>();
    index(key, partition.get(key.sort)?.attributes[DIRTY], attributes?.[DIRTY]);
    if (attributes === undefined) partition.delete(key.sort);
    else partition.set(key.sort, frozenItem(key, attributes));
    if (partition.size === 0) partitions.delete(key.partition);
    else partitions.set(key.partition, partition);
  }

  function index(key: ItemKey, before: Attribute | undefined, after: Attribute | undefined): void {
    if (before === after) return;
    const { partition, sort } = key;
    if (typeof before === "string") dirty.get(before)?.splice(firstBehind(dirty.get(before) ?? [], key) - 1, 1);
    if (typeof after !== "string") return;
    const keys = dirty.get(after) ?? [];
    keys.splice(firstBehind(keys, key), 0, Object.freeze({ partition, sort }));
    dirty.set(after, keys);
  }

  function allItems(): Item[] {
    return [...partitions.values()].flatMap((partition) => [...partition.values()]).sort((a, b) => compareKeys(a.key, b.key));
  }

  return {
    get items() {
      return allItems();
    },

    async get(key) {
      checkItemKey(key);
      return find(key);
    },

    async query({ partition, sortPrefix = "", after, limit = DYNAMODB_PAGE_ITEMS_MAX, descending = false }) {
      const direction = descending ? -1 : 1;
      const matching = [...(partitions.get(partition)?.values() ?? [])]
        .filter(({ key }) => key.sort.startsWith(sortPrefix))
        .filter(({ key }) => after === undefined || direction * compareByBytes(key.sort, after) > 0)
        .sort((a, b) => direction * compareByBytes(a.key.sort, b.key.sort));
      const items = matching.slice(0, limit);
      return { items, ...(matching.length > limit && { next: items[items.length - 1].key.sort }) };
    },

    async queryDirty({ value, after, limit = DYNAMODB_PAGE_ITEMS_MAX }) {
      const all = dirty.get(value) ?? [];
      const from = after === undefined ? 0 : firstBehind(all, after);
      const keys = all.slice(from, from + limit);
      return { keys, ...(from + limit < all.length && { next: keys[keys.length - 1] }) };
    },

    async write(changes) {
      checkChanges(changes);
      const before = changes.map((change) => find(change.item));
      const refusal = refusalOf(changes, before);
      if (refusal !== undefined) return refusal;
      // All results before the first effect: a change that throws leaves nothing behind.
      const after = changes.map((change, place) => changed(change, before[place]?.attributes));
      for (const [place, change] of changes.entries()) if (!("check" in change)) replace(change.item, after[place]);
      return { kind: "written" };
    },
  };
}

function frozenItem({ partition, sort }: ItemKey, attributes: Attributes): Item {
  return Object.freeze({ key: Object.freeze({ partition, sort }), attributes: frozenMap(attributes) });
}

function frozenMap(attributes: Attributes): Attributes {
  // By entries: an attribute may be named like something that objects inherit.
  return Object.freeze(Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, frozen(value)])));
}

function frozen(value: Attribute): Attribute {
  if (typeof value !== "object") return value;
  return isList(value) ? Object.freeze(value.map(frozen)) : frozenMap(value);
}

function isList(value: readonly Attribute[] | Attributes): value is readonly Attribute[] {
  return Array.isArray(value);
}

/** The place of the first key behind this one. */
function firstBehind(keys: readonly ItemKey[], key: ItemKey): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle], key) > 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

function compareKeys(a: ItemKey, b: ItemKey): number {
  return compareByBytes(a.partition, b.partition) || compareByBytes(a.sort, b.sort);
}
