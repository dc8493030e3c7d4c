// Objects and items belong together: one store has one of each, and both bear its id. Beside the items of another store, or
// of none, every object would look like the leftover of a table that is no more, and cleanup would let it go. So a store is
// paired before its first table is made, and cleanup looks at the pair before it deletes what its own items do not know.

import { callError, damagedObject, newerFormat, type TidemarkError } from "../model/errors.ts";
import { STORE_KEY } from "../model/names.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import { storeItem } from "./items.ts";

const ID_DIGITS = 32;
const FORMAT_VERSION = 1;

export interface PairingDeps {
  readonly objects: Pick<ObjectStore, "get" | "createIfAbsent">;
  readonly checkpoints: CheckpointStore;
  readonly random: Random;
}

/**
 * Gives a new store its id, in both places. Safe to repeat, also after it was cut off in between.
 * @throws {TidemarkError} `call` "foreign-store"
 */
export async function pairStore(deps: PairingDeps): Promise<void> {
  const known = await itemId(deps);
  if (known === undefined && (await objectId(deps)) !== undefined) throw foreign();
  const id = known ?? (await nameStore(deps));
  const created = await deps.objects.createIfAbsent(STORE_KEY, Buffer.from(marker(id)));
  if (created.kind === "exists" && (await objectId(deps)) !== id) throw foreign();
}

/**
 * @throws {TidemarkError} `call` "foreign-store", "unpaired-store"; a store from before the first table was made has no id, and passes
 */
export async function checkPaired(deps: { readonly objects: Pick<ObjectStore, "get">; readonly checkpoints: CheckpointStore }): Promise<void> {
  const [item, object] = [await itemId(deps), await objectId(deps)];
  if (item === object) return;
  if (object !== undefined) throw foreign();
  throw callError(
    "unpaired-store",
    `the store's object ${STORE_KEY} is missing, so it is unknown whether its objects belong to its items; nothing was deleted: if they do, "tidemark init" writes it anew`,
  );
}

function foreign(): TidemarkError {
  return callError(
    "foreign-store",
    `objects and items are of different stores: the id in ${STORE_KEY} is not that of the items; nothing was changed: name the bucket, prefix and DynamoDB table, or the directory, that belong together`,
  );
}

function marker(id: string): string {
  return `${JSON.stringify({ formatVersion: FORMAT_VERSION, store: id })}\n`;
}

async function nameStore({ checkpoints, random }: PairingDeps): Promise<string> {
  const id = random.id(ID_DIGITS);
  const written = await checkpoints.write([{ item: storeItem(), when: [{ kind: "absent" }], put: { formatVersion: FORMAT_VERSION, id } }]);
  return written.kind === "written" ? id : String(written.item?.attributes.id);
}

async function itemId({ checkpoints }: Pick<PairingDeps, "checkpoints">): Promise<string | undefined> {
  const item = await checkpoints.get(storeItem());
  return item === undefined ? undefined : String(item.attributes.id);
}

async function objectId({ objects }: { readonly objects: Pick<ObjectStore, "get"> }): Promise<string | undefined> {
  const found = await objects.get(STORE_KEY);
  if (found.kind === "absent") return undefined;
  const text = found.body.toString("latin1");
  const [, version, id] = /^\{"formatVersion":([0-9]{1,9}),"store":"([0-9a-f]{32})"\}\n$/.exec(text) ?? [];
  if (Number(version) > FORMAT_VERSION) throw newerFormat(STORE_KEY, Number(version), FORMAT_VERSION);
  if (text === marker(id)) return id;
  throw damagedObject(STORE_KEY, `it names no store: if objects and items belong together for certain, delete it, and "tidemark init" writes it anew`);
}
