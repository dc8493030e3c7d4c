// What the core needs of a store of small items: DynamoDB's semantics, and no more than is used.
//
// The core decides, an adapter only compiles: conditions are data, all or nothing over up to
// DYNAMODB_TRANSACTION_ITEMS_MAX items, and the loser gets the item that beat it. Reads by key and by partition see
// every write that was answered before. A write that got no answer throws TidemarkError "retry": its effect is
// unknown and is settled by reading. test/conformance/checkpoint-store.ts is the law book.

export interface CheckpointStore {
  get(key: ItemKey): Promise<Item | undefined>;

  /** One page of a partition's items whose sort keys start with `sortPrefix`, in byte order, behind `after`. */
  query(request: {
    readonly partition: string;
    readonly sortPrefix?: string;
    readonly after?: string;
    readonly limit?: number;
    readonly descending?: boolean;
  }): Promise<ItemPage<string>>;

  /**
   * One page of the keys of the items whose attribute `dirty` equals `value`, in byte order: a sparse index of keys alone,
   * for which an item without the attribute costs nothing, and neither does a write that leaves the attribute as it is.
   * It may lag behind writes, so read the item; nothing's safety may rest on it.
   */
  queryDirty(request: { readonly value: string; readonly after?: ItemKey; readonly limit?: number }): Promise<KeyPage>;

  /** All changes or none. Each names another item. */
  write(changes: readonly ItemChange[]): Promise<WriteOutcome>;
}

export interface ItemKey {
  readonly partition: string;
  readonly sort: string;
}

export type Attribute = string | number | boolean | readonly Attribute[] | Attributes;
export interface Attributes {
  readonly [name: string]: Attribute;
}

export interface Item {
  readonly key: ItemKey;
  readonly attributes: Attributes;
}

/**
 * `absent`: no such item. `present`: the item exists. `eq`: its attribute has this value.
 * `lt`: its attribute is a number below this one; an item or attribute that is not there counts as below.
 */
export type Condition =
  | { readonly kind: "absent" }
  | { readonly kind: "present" }
  | { readonly kind: "eq"; readonly attribute: string; readonly value: string | number | boolean }
  | { readonly kind: "lt"; readonly attribute: string; readonly value: number };

/**
 * `put` replaces the whole item; `set` writes the named attributes and leaves the rest (creating the item if need be),
 * `remove` takes attributes away; `delete` takes the item away; `check` only tests. All conditions must hold.
 */
export type ItemChange = { readonly item: ItemKey; readonly when: readonly Condition[] } & (
  | { readonly put: Attributes }
  | { readonly set: Attributes; readonly remove?: readonly string[] }
  | { readonly delete: true }
  | { readonly check: true }
);

/** `at`: which change was refused (the first of them); `item`: what stands there, absent if nothing. */
export type WriteOutcome = { readonly kind: "written" } | { readonly kind: "refused"; readonly at: number; readonly item?: Item };

export interface ItemPage<Cursor> {
  readonly items: readonly Item[];
  readonly next?: Cursor;
}

export interface KeyPage {
  readonly keys: readonly ItemKey[];
  readonly next?: ItemKey;
}
