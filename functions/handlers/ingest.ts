// Takes batches over HTTP, as JSON or as NDJSON, and answers once all of them are durable. A body is parsed to its end
// before anything of it is appended: a call that is refused has written nothing.

import { type Ingest, ingest, type IngestTable } from "../../lib/jobs/ingest.ts";
import { callError } from "../../lib/model/errors.ts";
import { BATCH_MUTATIONS_MAX, INGEST_BODY_BYTES_MAX, REDO_FILE_BATCHES_MAX } from "../../lib/model/limits.ts";
import type { ValueCodec } from "../../lib/model/mutation.ts";
import { type BodyBatch, markOf, parseBatchBody } from "../../lib/ndjson/batch-body.ts";
import { readBatches } from "../../lib/ndjson/batches.ts";
import type { World } from "../../lib/ports/world.ts";
import { checkQuery, HttpError, httpHandler, type HttpReply, type HttpRequest } from "../runtime/http.ts";
import type { Instruments } from "../runtime/telemetry.ts";

export interface IngestDeps extends Instruments {
  readonly world: World;
}

export function ingestHandler(deps: IngestDeps) {
  const door = ingest(deps.world);
  return httpHandler(deps, [{ method: "POST", path: "/tables/{table}/batches", work: (request) => takeBatches(door, request) }]);
}

async function takeBatches(door: Ingest, request: HttpRequest): Promise<HttpReply> {
  const format = formatOf(request);
  if (request.body.length > INGEST_BODY_BYTES_MAX) {
    throw new HttpError(413, "body-too-large", `the body has ${request.body.length} bytes: at most ${INGEST_BODY_BYTES_MAX} are taken; send several calls`);
  }
  const opened = await door.open(request.parameters.table);
  const batches = format === "json" ? parseJsonBody(request, opened.table.codec) : await parseLines(request, opened.table.codec);
  // More would be two redo files, of which the second could be durable without the first (lib/jobs/ingest.ts).
  if (batches.length > REDO_FILE_BATCHES_MAX) {
    throw callError("too-many-batches", `the body has ${batches.length} batches: at most ${REDO_FILE_BATCHES_MAX} are taken; send several calls`);
  }
  return appendAll(opened, batches);
}

function formatOf({ headers }: HttpRequest): "json" | "ndjson" {
  switch (headers["content-type"]?.split(";")[0].trim().toLowerCase()) {
    case "application/json":
      return "json";
    case "application/x-ndjson":
      return "ndjson";
    default:
      throw new HttpError(415, "wrong-content-type", "the body's content-type must be application/json or application/x-ndjson");
  }
}

function parseJsonBody(request: HttpRequest, codec: ValueCodec): readonly BodyBatch[] {
  checkQuery(request, []);
  return parseBatchBody(request.body, { codec, many: true });
}

/** The query names the producer and the sequence of the first batch; those behind count on. */
async function parseLines(request: HttpRequest, codec: ValueCodec): Promise<readonly BodyBatch[]> {
  checkQuery(request, ["producer", "sequence"]);
  const first = markOf(request.query.producer, request.query.sequence, "the query");
  const batches: BodyBatch[] = [];
  for await (const { mutations } of readBatches(chunksOf(request.body), { codec, linesMax: BATCH_MUTATIONS_MAX })) {
    const mark = first && { producer: first.producer, sequence: first.sequence + BigInt(batches.length) };
    batches.push({ mutations, ...(mark && { mark }) });
  }
  if (batches.length === 0) throw callError("empty-body", "the body has no lines: send at least one");
  return batches;
}

async function* chunksOf(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

async function appendAll({ table, append }: IngestTable, batches: readonly BodyBatch[]): Promise<HttpReply> {
  const lastIndexes = new Map<number, number>();
  for (const shares of await append(batches)) for (const { shard, last } of shares) lastIndexes.set(shard, last);
  const shards = [...lastIndexes].map(([shard, lastIndex]) => ({ shard, lastIndex })).sort((a, b) => a.shard - b.shard);
  const mutations = batches.reduce((sum, batch) => sum + batch.mutations.length, 0);
  return { status: 200, body: { table: table.name, batches: batches.length, mutations, shards } };
}
