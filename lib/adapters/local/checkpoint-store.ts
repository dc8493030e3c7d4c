// A checkpoint store in one SQLite file, for any number of processes on one machine. A write is one transaction, which
// takes the file's lock before it reads, so its conditions hold for what it changes; it is durable before it answers.

import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { damagedObject, newerFormat } from "../../model/errors.ts";
import { DYNAMODB_PAGE_ITEMS_MAX } from "../../model/limits.ts";
import { parseJson } from "../../model/parse-json.ts";
import type { Attributes, CheckpointStore, Item, ItemChange, ItemKey, WriteOutcome } from "../../ports/checkpoint-store.ts";
import { changed, checkChanges, checkItemKey, DIRTY, refusalOf } from "../item-changes.ts";
import { sqlite, sqliteFault } from "./sqlite.ts";

const SCHEMA_VERSION = 1;
const BUSY_TIMEOUT_MS = 10_000;

// SQLite compares texts by their bytes. `dirty` repeats the attribute for the sparse index.
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS items (
    partition TEXT NOT NULL, sort TEXT NOT NULL, attributes TEXT NOT NULL, dirty TEXT,
    PRIMARY KEY (partition, sort)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS dirty_items ON items (dirty, partition, sort) WHERE dirty IS NOT NULL;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;
/** Behind every text that goes on after a prefix: the last code point, which no text holds. */
const LAST = "\u{10ffff}";

export interface LocalCheckpointStore extends CheckpointStore {
  close(): void;
}

export interface LocalCheckpointStoreOptions {
  /** How long a call waits while another process writes, which takes milliseconds. Default: 10 seconds. */
  readonly busyTimeoutMs?: number;
  /** The most pages, of 4 KiB, that the file may have. Default: no limit. */
  readonly pagesMax?: number;
}

/** Opens the database file at `path`, and makes it if need be. */
export function localCheckpointStore(path: string, options: LocalCheckpointStoreOptions = {}): LocalCheckpointStore {
  const database = guarded(path, () => openDatabase(path, options));
  const statements = new Map<string, StatementSync>();

  function prepared(sql: string): StatementSync {
    const statement = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  }

  function rows(sql: string, ...values: SQLInputValue[]): Item[] {
    return prepared(sql)
      .all(...values)
      .map((row) => parseRow(row, path));
  }

  function find({ partition, sort }: ItemKey): Item | undefined {
    return rows("SELECT partition, sort, attributes FROM items WHERE partition = ? AND sort = ?", partition, sort)[0];
  }

  function replace({ partition, sort }: ItemKey, attributes: Attributes | undefined): void {
    if (attributes === undefined) {
      prepared("DELETE FROM items WHERE partition = ? AND sort = ?").run(partition, sort);
      return;
    }
    const dirty = Object.hasOwn(attributes, DIRTY) ? String(attributes[DIRTY]) : null;
    prepared("INSERT OR REPLACE INTO items (partition, sort, attributes, dirty) VALUES (?, ?, ?, ?)").run(partition, sort, JSON.stringify(attributes), dirty);
  }

  function change(changes: readonly ItemChange[]): WriteOutcome {
    const before = changes.map(({ item }) => find(item));
    const refusal = refusalOf(changes, before);
    if (refusal !== undefined) return refusal;
    for (const [place, one] of changes.entries()) {
      if (!("check" in one)) replace(one.item, changed(one, before[place]?.attributes));
    }
    return { kind: "written" };
  }

  return {
    async get(key) {
      checkItemKey(key);
      return guarded(path, () => find(key));
    },

    async query({ partition, sortPrefix = "", after, limit = DYNAMODB_PAGE_ITEMS_MAX, descending = false }) {
      const [behind, order] = descending ? ["<", "DESC"] : [">", "ASC"];
      const sql = `SELECT partition, sort, attributes FROM items WHERE partition = ? AND sort >= ? AND sort < ?
        ${after === undefined ? "" : `AND sort ${behind} ?`} ORDER BY sort ${order} LIMIT ?`;
      const values = [partition, sortPrefix, sortPrefix + LAST, ...(after === undefined ? [] : [after]), limit + 1];
      const found = guarded(path, () => rows(sql, ...values));
      const items = found.slice(0, limit);
      return { items, ...(found.length > limit && { next: items[items.length - 1].key.sort }) };
    },

    async queryDirty({ value, after, limit = DYNAMODB_PAGE_ITEMS_MAX }) {
      const sql = `SELECT partition, sort FROM items WHERE dirty = ?
        ${after === undefined ? "" : "AND (partition, sort) > (?, ?)"} ORDER BY partition, sort LIMIT ?`;
      const values = [value, ...(after === undefined ? [] : [after.partition, after.sort]), limit + 1];
      const found = guarded(path, () => prepared(sql).all(...values));
      const keys = found.slice(0, limit).map(({ partition, sort }) => ({ partition: String(partition), sort: String(sort) }));
      return { keys, ...(found.length > limit && { next: keys[keys.length - 1] }) };
    },

    async write(changes) {
      checkChanges(changes);
      return guarded(path, () => inTransaction(database, () => change(changes)));
    },

    close() {
      if (database.isOpen) database.close();
    },
  };
}

function openDatabase(path: string, { busyTimeoutMs = BUSY_TIMEOUT_MS, pagesMax }: LocalCheckpointStoreOptions): DatabaseSync {
  const { DatabaseSync } = sqlite();
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs });
  try {
    const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
    if (version > SCHEMA_VERSION) throw newerFormat(path, version, SCHEMA_VERSION);
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    if (pagesMax !== undefined) database.exec(`PRAGMA max_page_count = ${pagesMax}`);
    if (version < SCHEMA_VERSION) inTransaction(database, () => database.exec(SCHEMA));
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // SQLite rolls back by itself after some faults, as that of a full disk.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw sqliteFault(error, path);
  }
}

function parseRow(row: Record<string, unknown>, path: string): Item {
  const { partition, sort, attributes } = row;
  const parsed = parseJson(String(attributes));
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
    throw damagedObject(path, `the attributes of the item ${partition} ${sort} are no JSON object`);
  return { key: { partition: String(partition), sort: String(sort) }, attributes: parsed as Attributes };
}
