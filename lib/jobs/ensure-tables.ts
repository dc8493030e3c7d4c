// Tables as a list says they shall be: those that lack are made, those that differ are changed. Nothing is deleted, and
// what cannot be changed is refused before anything is written.

import { callError, isTidemarkError } from "../model/errors.ts";
import { checkTable, POLICY_DEFAULTS, type Table, type TablePolicy } from "../model/table.ts";
import type { StoreWorld } from "../ports/world.ts";
import { createTable, findTable, updateTable } from "./tables.ts";

/** A setting that is not given has its default. */
export interface WantedTable extends Partial<TablePolicy> {
  readonly name: string;
  readonly shards?: number;
  readonly codec?: Table["codec"];
  readonly source?: NonNullable<Table["source"]>;
}

export interface EnsuredTable {
  readonly table: string;
  readonly kind: "created" | "updated" | "unchanged";
}

type Step =
  | { readonly kind: "create"; readonly table: Settings }
  | { readonly kind: "update"; readonly name: string; readonly policy: Partial<TablePolicy> }
  | { readonly kind: "keep"; readonly name: string };

type Settings = Omit<Table, "createdAtMs" | "state">;

/** @throws {TidemarkError} `call` "fixed-setting", "table-being-deleted", "named-twice", or for a setting that cannot be kept; nothing was written */
export async function ensureTables(world: StoreWorld, wanted: readonly WantedTable[]): Promise<readonly EnsuredTable[]> {
  const tables = wanted.map((table): Settings => ({ shards: 1, codec: "json", ...POLICY_DEFAULTS, ...table }));
  checkList(tables);
  const steps: Step[] = [];
  for (const table of tables) steps.push(stepTo(table, await findTable(world, table.name)));
  const ensured: EnsuredTable[] = [];
  for (const step of steps) ensured.push(await take(world, step));
  return ensured;
}

function checkList(tables: readonly Settings[]): void {
  const names = new Set<string>();
  for (const table of tables) {
    checkTable({ ...table, createdAtMs: 0, state: "live" });
    if (names.has(table.name)) throw callError("named-twice", `table ${table.name} is in the list twice: leave one of them away`);
    names.add(table.name);
  }
}

/** What makes `found` the table that is wanted. */
function stepTo(wanted: Settings, found: Table | undefined): Step {
  const { name, shards, codec, source, ...policy } = wanted;
  if (found === undefined) return { kind: "create", table: wanted };
  if (found.state === "deleting") throw callError("table-being-deleted", `table ${name} is being deleted: wait until it is gone, then deploy again`);
  if (found.shards !== shards) throw fixed(name, "shards", { is: found.shards, wanted: shards });
  if (found.codec !== codec) throw fixed(name, "codec", { is: found.codec, wanted: codec });
  if (found.source !== source) throw otherSource(name, found.source, source);
  const changed = SETTINGS.filter((setting) => found[setting] !== policy[setting]);
  if (changed.length === 0) return { kind: "keep", name };
  return { kind: "update", name, policy: Object.fromEntries(changed.map((setting) => [setting, policy[setting]])) };
}

const SETTINGS = Object.keys(POLICY_DEFAULTS) as readonly (keyof TablePolicy)[];

function fixed(name: string, setting: string, { is, wanted }: { readonly is: string | number; readonly wanted: string | number }): Error {
  return callError(
    "fixed-setting",
    `table ${name} was made with ${setting} ${is} and cannot get ${setting} ${wanted}: keys lie by it. Take the change back, or make a table under another name`,
  );
}

/** What producers have put into a table, a source cannot take over, nor the other way round. */
function otherSource(name: string, is: Table["source"], wanted: Table["source"]): Error {
  const words = (source: Table["source"]): string => (source === undefined ? "records of producers" : `backups of ${source}`);
  return callError("fixed-setting", `table ${name} holds ${words(is)} and cannot hold ${words(wanted)}: choose another name`);
}

async function take(world: StoreWorld, step: Step): Promise<EnsuredTable> {
  switch (step.kind) {
    case "create":
      return { table: step.table.name, kind: (await createOnce(world, step.table)) ? "created" : "unchanged" };
    case "update":
      await updateTable(world, step.name, step.policy);
      return { table: step.name, kind: "updated" };
    case "keep":
      return { table: step.name, kind: "unchanged" };
  }
}

/** False where the same table came in between: a call that is delivered twice runs beside itself. */
async function createOnce(world: StoreWorld, table: Settings): Promise<boolean> {
  try {
    await createTable(world, table);
    return true;
  } catch (error) {
    if (!isTidemarkError(error) || error.code !== "table-exists") throw error;
    if (stepTo(table, await findTable(world, table.name)).kind !== "keep") throw error;
    return false;
  }
}
