// Captures that a caller asks for. The answer is the request's name: what became of it is asked for under that.

import { type CaptureRequest, findRequest, requestCapture, requestCaptures } from "../../lib/jobs/requests.ts";
import { getShards, getTable } from "../../lib/jobs/tables.ts";
import type { ItemWorld } from "../../lib/ports/world.ts";
import { checkQuery, type HttpReply, type HttpRequest } from "../runtime/http.ts";
import type { SnapshotMessage } from "../runtime/messages.ts";
import { type Queue, sendAll } from "../runtime/queue.ts";
import { pageOf, shardIn } from "./statuses.ts";

export function captureRoutes({ world, captures }: { readonly world: ItemWorld; readonly captures: Queue }) {
  return { ofShard, ofTable, outcome };

  async function ofShard(request: HttpRequest): Promise<HttpReply> {
    checkQuery(request, []);
    const made = await requestCapture(world, shardIn(request));
    await handOver([made]);
    return { status: 202, headers: { location: placeOf(made) }, body: { table: made.id.table, shard: made.id.shard, request: made.request } };
  }

  async function ofTable(request: HttpRequest): Promise<HttpReply> {
    const table = await getTable(world, request.parameters.table);
    const { from, to, next } = pageOf(request, table);
    const ids = Array.from({ length: Math.max(0, to - from) }, (_, place) => ({ table: table.name, shard: from + place }));
    const made = await requestCaptures(world, ids);
    await handOver(made);
    return { status: 202, body: { table: table.name, requests: made.map(({ id, request: name }) => ({ shard: id.shard, request: name })), ...next } };
  }

  async function outcome(request: HttpRequest): Promise<HttpReply> {
    checkQuery(request, []);
    const { ids } = await getShards(world, shardIn(request));
    const name = request.parameters.request;
    return { status: 200, body: { ...ids[0], request: name, ...(await findRequest(world, ids[0], name)) } };
  }

  /** On record before it is sent: the job that serves it looks for its item. One that was not sent is never told of, and lapses. */
  function handOver(made: readonly CaptureRequest[]): Promise<void> {
    const messages = made.map(({ id, request }) => ({ body: { ...id, request } satisfies SnapshotMessage, group: id.table }));
    return sendAll(captures, messages);
  }
}

function placeOf({ id, request }: CaptureRequest): string {
  return `/tables/${id.table}/shards/${id.shard}/captures/${request}`;
}
