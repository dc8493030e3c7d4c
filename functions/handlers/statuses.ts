// What tables and shards have, from items alone.

import { type ShardStatus, shardStatus } from "../../lib/jobs/status.ts";
import { getShards, getTable, listTables } from "../../lib/jobs/tables.ts";
import type { HistoryRow } from "../../lib/model/control.ts";
import { SHARDS_MAX } from "../../lib/model/limits.ts";
import { parseTarget } from "../../lib/model/names.ts";
import type { Table } from "../../lib/model/table.ts";
import type { ItemWorld } from "../../lib/ports/world.ts";
import { checkQuery, type HttpReply, type HttpRequest, wholeParameter } from "../runtime/http.ts";

const TABLES_MAX = 1_000;
/** Each costs four reads of items. */
const SHARDS_AT_ONCE = 10;
const SHARDS_PER_PAGE = 100;

export function statusRoutes(world: ItemWorld) {
  return { tables, table, shard };

  async function tables(request: HttpRequest): Promise<HttpReply> {
    checkQuery(request, ["from"]);
    const { from = "" } = request.query;
    const listed = (await listTables(world)).filter(({ name }) => name >= from);
    const next = listed.at(TABLES_MAX)?.name;
    return { status: 200, body: { tables: listed.slice(0, TABLES_MAX).map(tableDocument), ...(next !== undefined && { next }) } };
  }

  async function table(request: HttpRequest): Promise<HttpReply> {
    const found = await getTable(world, request.parameters.table);
    const { from, to, next } = pageOf(request, found);
    const shards: object[] = [];
    for (let at = from; at < to; at += SHARDS_AT_ONCE) {
      const some = Array.from({ length: Math.min(SHARDS_AT_ONCE, to - at) }, (_, place) => shardStatus(world, found, at + place));
      shards.push(...(await Promise.all(some)).map(briefDocument));
    }
    return { status: 200, body: { ...tableDocument(found), shards, ...next } };
  }

  async function shard(request: HttpRequest): Promise<HttpReply> {
    checkQuery(request, []);
    const { table: found, ids } = await getShards(world, shardIn(request));
    const status = await shardStatus(world, found, ids[0].shard);
    return { status: 200, body: { table: found.name, ...shardDocument(status), generations: status.generations.map(generationDocument) } };
  }
}

/** The shards of one page: `from` that which the query names, `limit` of them. */
export function pageOf(request: HttpRequest, { shards }: Table) {
  checkQuery(request, ["from", "limit"]);
  const from = wholeParameter(request, "from", { fallback: 0, max: SHARDS_MAX });
  const limit = wholeParameter(request, "limit", { fallback: SHARDS_PER_PAGE, max: SHARDS_PER_PAGE });
  const to = Math.min(from + Math.max(1, limit), shards);
  return { from, to, next: to < shards ? { next: to } : {} };
}

/** @throws {TidemarkError} `call` where the path names no shard */
export function shardIn({ parameters }: HttpRequest): { readonly table: string; readonly shard: number } {
  const { table, shard = 0 } = parseTarget(`${parameters.table}/${parameters.shard}`);
  return { table, shard };
}

function tableDocument({ name, codec, createdAtMs, ...rest }: Table): object {
  return { table: name, value: codec, ...rest, createdAt: timeText(createdAtMs) };
}

/** Without the generations, of which a shard may have thousands. */
function briefDocument(status: ShardStatus): object {
  return { ...shardDocument(status), generations: status.generations.length };
}

function shardDocument({ generations: _, checkpoint, ...rest }: ShardStatus): object {
  return {
    ...rest,
    ...(checkpoint && { checkpoint: { index: checkpoint.index, position: checkpoint.position, key: checkpoint.key, bytes: checkpoint.size } }),
  };
}

function generationDocument({ index, key, size, rows, mutations, state, verified, pins, capturedAtMs }: HistoryRow): object {
  return { index, key, bytes: size, rows, mutations, state, verified, pins: Object.keys(pins).length, capturedAt: timeText(capturedAtMs) };
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
