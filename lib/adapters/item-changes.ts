// What changes of items mean, for stores that evaluate them in this process; the AWS adapter compiles them instead.
// The checks are for all stores, so that a change which DynamoDB refuses fails on every other one too.

import { assert } from "../model/assert.ts";
import { callError } from "../model/errors.ts";
import { DYNAMODB_ITEM_BYTES_MAX, DYNAMODB_TRANSACTION_ITEMS_MAX } from "../model/limits.ts";
import type { Attribute, Attributes, Condition, Item, ItemChange, ItemKey, WriteOutcome } from "../ports/checkpoint-store.ts";

/** Attributes that hold the item's key in DynamoDB. */
export const PARTITION = "partition";
export const SORT = "sort";
/** The attribute by which the sparse index finds items. */
export const DIRTY = "dirty";

const PARTITION_BYTES_MAX = 2_048;
const SORT_BYTES_MAX = 1_024;

/** Refuses changes that no store takes: programmer errors, so they are asserted. */
export function checkChanges(changes: readonly ItemChange[]): void {
  assert(
    changes.length >= 1 && changes.length <= DYNAMODB_TRANSACTION_ITEMS_MAX,
    `a write has 1 to ${DYNAMODB_TRANSACTION_ITEMS_MAX} changes, not ${changes.length}`,
  );
  const named = new Set<string>();
  for (const change of changes) {
    checkItemKey(change.item);
    named.add(`${change.item.partition}\0${change.item.sort}`);
    if ("put" in change) checkAttributes(change.put);
    if ("set" in change) checkSet(change.set, change.remove ?? []);
  }
  assert(named.size === changes.length, "each change of a write names another item");
}

export function checkItemKey({ partition, sort }: ItemKey): void {
  for (const [text, bytesMax] of [
    [partition, PARTITION_BYTES_MAX],
    [sort, SORT_BYTES_MAX],
  ] as const) {
    const sound = text !== "" && !text.includes("\0") && text.isWellFormed() && Buffer.byteLength(text) <= bytesMax;
    assert(sound, `an item's key is well-formed text of 1 to ${bytesMax} bytes, not ${JSON.stringify(text.slice(0, 100))}`);
  }
}

function checkSet(set: Attributes, remove: readonly string[]): void {
  checkAttributes(set);
  assert(Object.keys(set).length + remove.length > 0, "a set names at least one attribute");
  assert(!remove.some((name) => Object.hasOwn(set, name)), "an attribute is set or removed, not both");
}

function checkAttributes(attributes: Attributes): void {
  for (const name of [PARTITION, SORT]) assert(!Object.hasOwn(attributes, name), `the attribute ${name} is the item's key`);
  if (Object.hasOwn(attributes, DIRTY))
    assert(typeof attributes.dirty === "string" && attributes.dirty !== "", "the attribute dirty is a text that is not empty");
  checkAttribute(attributes, "the item");
}

function checkAttribute(value: Attribute, place: string): void {
  switch (typeof value) {
    case "boolean":
      return;
    case "string":
      assert(value.isWellFormed(), `${place} is well-formed text`);
      return;
    case "number":
      assert(Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value)), `${place} is a safe number, not ${value}`);
      return;
    case "object":
      assert(value !== null, `${place} is not null`);
      for (const [name, inner] of Object.entries(value)) checkAttribute(inner, `${place}.${name}`);
      return;
    default:
      assert(false, `${place} is text, a number, a truth value, a list or a map, not ${typeof value}`);
  }
}

/** How a write ends whose conditions do not all hold for the items as they are (`undefined`: no such item); nothing where they do. */
export function refusalOf(changes: readonly ItemChange[], before: readonly (Item | undefined)[]): WriteOutcome | undefined {
  const at = changes.findIndex(({ when }, place) => !when.every((condition) => holds(condition, before[place]?.attributes)));
  if (at < 0) return undefined;
  const item = before[at];
  return { kind: "refused", at, ...(item !== undefined && { item }) };
}

function holds(condition: Condition, attributes: Attributes | undefined): boolean {
  switch (condition.kind) {
    case "absent":
      return attributes === undefined;
    case "present":
      return attributes !== undefined;
    case "eq":
      return attributes !== undefined && Object.hasOwn(attributes, condition.attribute) && attributes[condition.attribute] === condition.value;
    case "lt": {
      if (attributes === undefined || !Object.hasOwn(attributes, condition.attribute)) return true;
      const value = attributes[condition.attribute];
      return typeof value === "number" && value < condition.value;
    }
  }
}

/** The item's attributes behind the change; `undefined`: no such item. */
export function changed(change: ItemChange, before: Attributes | undefined): Attributes | undefined {
  if ("delete" in change) return undefined;
  if ("check" in change) return before;
  const after = "put" in change ? change.put : without({ ...before, ...change.set }, change.remove ?? []);
  const bytes = Buffer.byteLength(JSON.stringify(after));
  if (bytes > DYNAMODB_ITEM_BYTES_MAX) {
    throw callError(
      "item-too-large",
      `the item ${change.item.partition} ${change.item.sort} would have ${bytes} bytes: at most ${DYNAMODB_ITEM_BYTES_MAX} are allowed`,
    );
  }
  return after;
}

function without(attributes: Attributes, names: readonly string[]): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => !names.includes(name)));
}
