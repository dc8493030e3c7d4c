// The snapshotter's protocol, answered from the backups of a store: so that the official client backs up from it and restores
// to it. One request a connection; closing waits for those in flight. There is no status in the protocol: a request that cannot
// be answered rightly ends without a byte, and what is cut off lacks its end, as with a server; why is reported.
//
// What a client restores becomes generations of the backup, each durable before its connection is ended.

import { createServer, type Server, type Socket } from "node:net";
import { z } from "zod";
import { snapshotShard } from "../../jobs/snapshot.ts";
import { callError, isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";
import { shardName } from "../../model/names.ts";
import { parseJson } from "../../model/parse-json.ts";
import type { World } from "../../ports/world.ts";
import type { Address } from "./connection.ts";
import { idOf, openBackup, type GenerationAt, type OpenBackup, readMetastore } from "./open-backup.ts";
import { type PreparedFile, prepareFiles } from "./prepared-files.ts";
import type { ShardRecord } from "./records.ts";
import { shardArchive } from "./shard-archive.ts";
import { nanosecondsOf, type Range, wholeRange } from "./select.ts";
import { addFiles, addDatabases } from "./take-in.ts";
import { idMapReply, METASTORE_BYTES_MAX, metastoreReply, MUX_HEADER, pathsReply, REQUEST_TYPES } from "./wire.ts";

/** A client may fill it up with blanks, as ours does for the sake of old servers (wire.ts). */
const HEAD_BYTES_MAX = 20 * 1024 * 1024;
const SILENT_MS = 120_000;
/** Each may hold some tens of megabytes of an archive under way. */
const CONNECTIONS_MAX = 16;
/** What was restored is captured once nothing more has come for so long. */
const CAPTURE_AFTER_MS = 5_000;
const NO_NODE = Buffer.from("null\n");
const NO_TIME_YEAR = "0001-01-01";

export interface ServeRequest {
  readonly name: string;
  readonly listen: Address;
  /** Serves this generation, and takes nothing in. */
  readonly at?: GenerationAt;
  /** How long a client may say nothing, or take nothing, in ms. */
  readonly silentMs?: number;
  /** Told of each request once it has ended. */
  readonly onRequest?: (report: { readonly request: string; readonly bytes: number; readonly error?: string }) => void;
}

export interface Serving {
  readonly address: Address;
  /** Waits for the requests in flight, and captures what they brought. */
  close(): Promise<void>;
}

/** @throws {TidemarkError} `call` "bad-address" where the port cannot be listened on */
export async function serve(world: World, request: ServeRequest): Promise<Serving> {
  const inFlight = new Set<Promise<void>>();
  let changes: Promise<unknown> = Promise.resolve();
  let isDirty = false;
  let timer: NodeJS.Timeout | undefined;

  /** One after the other: each makes a generation of the one before. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = changes.then(work);
    changes = turn.catch(() => undefined);
    return turn;
  }

  async function capture(): Promise<void> {
    if (!isDirty) return;
    isDirty = false;
    await snapshotShard(world, { id: idOf(request.name) });
  }

  function changed(): void {
    isDirty = true;
    clearTimeout(timer);
    timer = setTimeout(() => {
      inTurn(capture).catch((error: unknown) => {
        isDirty = true;
        world.telemetry.report({
          kind: "warning",
          shard: shardName(idOf(request.name)),
          message: `what was restored is not captured yet: ${messageOf(error)}`,
        });
      });
    }, CAPTURE_AFTER_MS);
  }

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const work = answer(world, { ...request, inTurn, changed }, socket).finally(() => inFlight.delete(work));
    inFlight.add(work);
  });
  server.maxConnections = CONNECTIONS_MAX;
  const address = await listen(server, request.listen);
  return {
    address,
    async close() {
      const closed = new Promise<void>((done) => server.close(() => done()));
      await Promise.allSettled(inFlight);
      await closed;
      clearTimeout(timer);
      await inTurn(capture);
    },
  };
}

function listen(server: Server, { host, port }: Address): Promise<Address> {
  return new Promise((done, failed) => {
    server.once("error", (error) =>
      failed(callError("bad-address", `${host}:${port} cannot be listened on: ${error.message}; choose another with --listen`, error)),
    );
    server.listen({ host, port }, () => {
      const bound = server.address();
      done({ host, port: typeof bound === "object" && bound !== null ? bound.port : port });
    });
  });
}

interface Service extends ServeRequest {
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly changed: () => void;
}

async function answer(world: World, service: Service, socket: Socket): Promise<void> {
  let what = "a request";
  let bytes = 0;
  const client: Client = { socket, silentMs: service.silentMs ?? SILENT_MS };
  socket.on("timeout", () => socket.destroy());
  // Whoever writes or reads learns of it.
  socket.on("error", () => undefined);
  try {
    const input = inputOf(client);
    const head = await readHead(input);
    what = head.kind;
    for await (const chunk of reply(world, service, { head, input })) {
      bytes += chunk.length;
      await write(client, chunk);
    }
    service.onRequest?.({ request: what, bytes });
  } catch (error) {
    service.onRequest?.({ request: what, bytes, error: messageOf(error) });
  } finally {
    socket.end();
    // A client that has sent all it wanted may be gone; one that is not reads to the end.
    socket.resume();
    socket.setTimeout(client.silentMs);
  }
}

const FIELDS = z.object({
  Type: z.number().optional(),
  Database: z.string().optional(),
  RetentionPolicy: z.string().optional(),
  BackupDatabase: z.string().default(""),
  RestoreDatabase: z.string().default(""),
  BackupRetentionPolicy: z.string().default(""),
  RestoreRetentionPolicy: z.string().default(""),
  ShardID: z.int().nonnegative().default(0),
  Since: z.string().default(NO_TIME_YEAR),
  ExportStart: z.string().default(NO_TIME_YEAR),
  ExportEnd: z.string().default(NO_TIME_YEAR),
  UploadSize: z.int().default(0),
});

type Head =
  | { readonly kind: "shard-update"; readonly shard: number }
  | { readonly kind: Exclude<keyof typeof REQUEST_TYPES, "shard-update">; readonly fields: z.output<typeof FIELDS> };

const KINDS = new Map(Object.entries(REQUEST_TYPES).map(([kind, type]) => [type as number, kind as keyof typeof REQUEST_TYPES]));
const KINDS_OF_1_0: readonly (keyof typeof REQUEST_TYPES)[] = ["shard-backup", "metastore", "database-info", "policy-info"];
const BRACE = 0x7b;

async function readHead(input: Input): Promise<Head> {
  const [mux, type] = await input.take(2);
  if (mux !== MUX_HEADER) throw refused(`its first byte is ${mux}, not ${MUX_HEADER}`);
  if (type === REQUEST_TYPES["shard-update"]) return { kind: "shard-update", shard: Number((await input.take(8)).readBigUInt64BE()) };
  const isOld = type === BRACE;
  const line = await input.line(HEAD_BYTES_MAX);
  const fields = FIELDS.safeParse(parseJson(`${isOld ? "{" : ""}${line}`));
  if (!fields.success) throw refused(`its JSON is not that of a request: ${fields.error.issues[0].message}`);
  const kind = isOld ? KINDS_OF_1_0[fields.data.Type ?? -1] : KINDS.get(type);
  if (kind === undefined || kind === "shard-update") throw refused(`there is no request of type ${isOld ? fields.data.Type : type}`);
  const { Database, RetentionPolicy } = fields.data;
  return {
    kind,
    fields: {
      ...fields.data,
      ...(Database !== undefined && { BackupDatabase: Database }),
      ...(RetentionPolicy !== undefined && { BackupRetentionPolicy: RetentionPolicy }),
    },
  };
}

async function* reply(world: World, service: Service, { head, input }: { readonly head: Head; readonly input: Input }): AsyncGenerator<Buffer> {
  switch (head.kind) {
    case "metastore-update":
      yield await takeDatabases(world, service, { fields: head.fields, input });
      return;
    case "shard-update":
      if (service.at !== undefined) throw refused("one generation alone is served: nothing is taken in");
      await service.inTurn(() => addFiles(world, { name: service.name, shard: head.shard, archive: input.rest() }));
      service.changed();
      return;
    case "metastore":
    case "database-info":
    case "policy-info":
    case "shard-backup":
    case "shard-export":
      yield* readReply(world, service, head);
  }
}

async function takeDatabases(
  world: World,
  service: Service,
  { fields, input }: { readonly fields: z.output<typeof FIELDS>; readonly input: Input },
): Promise<Buffer> {
  if (service.at !== undefined) throw refused("one generation alone is served: nothing is taken in");
  if (fields.UploadSize < 1 || fields.UploadSize > METASTORE_BYTES_MAX) throw refused(`its metastore has ${fields.UploadSize} bytes`);
  const meta = await input.take(fields.UploadSize);
  const renaming = {
    database: fields.BackupDatabase,
    newDatabase: fields.RestoreDatabase,
    policy: fields.BackupRetentionPolicy,
    newPolicy: fields.RestoreRetentionPolicy,
  };
  try {
    const ids = await service.inTurn(() => addDatabases(world, { name: service.name, meta, renaming }));
    service.changed();
    return idMapReply(ids);
  } catch (error) {
    if (!isTidemarkError(error) || error.kind !== "call") throw error;
    service.onRequest?.({ request: "metastore-update", bytes: 0, error: error.message });
    // As a server refuses.
    return idMapReply(new Map());
  }
}

async function* readReply(world: World, service: Service, { kind, fields }: Extract<Head, { readonly fields: unknown }>): AsyncGenerator<Buffer> {
  const backup = await openBackup(world, service.name, service.at);
  try {
    switch (kind) {
      case "metastore":
        yield metastoreReply({ meta: await readMetastore(backup), node: NO_NODE });
        return;
      case "database-info":
      case "policy-info":
        yield pathsReply(placesOf(backup, kind === "policy-info" ? fields : { ...fields, BackupRetentionPolicy: "" }));
        return;
      default: {
        const record = backup.shards.get(fields.ShardID);
        if (record === undefined) throw refused(`there is no shard ${fields.ShardID}`);
        yield* shardArchive(`${record.database}/${record.policy}/${record.shard}`, await filesFor(backup, record, { kind, fields }));
      }
    }
  } finally {
    await backup.close();
  }
}

function placesOf(backup: OpenBackup, { BackupDatabase, BackupRetentionPolicy }: z.output<typeof FIELDS>): readonly ShardRecord[] {
  const all = [...backup.shards.values()];
  const found = all.filter(
    ({ database, policy }) => (BackupDatabase === "" || database === BackupDatabase) && (BackupRetentionPolicy === "" || policy === BackupRetentionPolicy),
  );
  const isKnown = found.length > 0 || BackupDatabase === "" || backup.generation.databases.includes(BackupDatabase);
  if (!isKnown || (found.length === 0 && BackupRetentionPolicy !== "")) throw refused(`there is no ${BackupDatabase}/${BackupRetentionPolicy}`);
  return found;
}

/** Since a time, what the server had changed behind it; between two times, exactly the points between. */
async function filesFor(
  backup: OpenBackup,
  record: ShardRecord,
  { kind, fields }: Extract<Head, { readonly fields: unknown }>,
): Promise<readonly PreparedFile[]> {
  if (kind === "shard-export") {
    // No start, and no end, are open ones; a server takes no end for one before all of its points.
    const { start, end } = wholeRange({ ...given("start", fields.ExportStart), ...given("end", fields.ExportEnd) }) ?? {};
    if (start === undefined || end === undefined) return prepareFiles(backup, record, { tombstones: "applied" });
    const keep = { min: nanosecondsOf(start), max: nanosecondsOf(end) };
    return prepareFiles(backup, record, { tombstones: "applied", keep });
  }
  const files = await prepareFiles(backup, record, { tombstones: "kept" });
  return fields.Since.startsWith(NO_TIME_YEAR) ? files : files.filter(({ modifiedS }) => BigInt(modifiedS) * 1_000_000_000n > nanosecondsOf(fields.Since));
}

function given(name: "start" | "end", time: string): Range {
  return time.startsWith(NO_TIME_YEAR) ? {} : { [name]: time };
}

function refused(finding: string): TidemarkError {
  return callError("bad-request", `the request was refused: ${finding}`);
}

interface Client {
  readonly socket: Socket;
  readonly silentMs: number;
}

/** What the client is waited for. What this side takes, until a large shard is written anew, is not its silence. */
async function awaited<T>({ socket, silentMs }: Client, wait: () => Promise<T>): Promise<T> {
  socket.setTimeout(silentMs);
  try {
    return await wait();
  } finally {
    socket.setTimeout(0);
  }
}

async function write(client: Client, bytes: Buffer): Promise<void> {
  const { socket } = client;
  if (socket.destroyed) throw new TidemarkError("retry", "broken-connection", "the client ended the connection");
  await awaited(
    client,
    () =>
      new Promise<void>((done, failed) => {
        socket.write(bytes, (error) => (error == null ? done() : failed(error)));
      }),
  );
}

interface Input {
  take(bytes: number): Promise<Buffer>;
  /** Up to a line feed, without it. */
  line(bytesMax: number): Promise<string>;
  rest(): AsyncGenerator<Buffer>;
}

function inputOf(client: Client): Input {
  const chunks = (client.socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const nextChunk = () => awaited(client, () => chunks.next());
  let held: Buffer = Buffer.alloc(0);
  async function more(): Promise<void> {
    const next = await nextChunk();
    if (next.done === true) throw refused("it was cut off");
    held = Buffer.concat([held, next.value]);
  }
  return {
    async take(bytes) {
      const parts: Buffer[] = [];
      for (let missing = bytes; missing > 0; ) {
        if (held.length === 0) await more();
        const part = held.subarray(0, missing);
        held = held.subarray(part.length);
        missing -= part.length;
        parts.push(part);
      }
      return Buffer.concat(parts);
    },
    async line(bytesMax) {
      const parts: Buffer[] = [];
      for (let bytes = 0; !held.includes(0x0a); await more()) {
        bytes += held.length;
        if (bytes > bytesMax) throw refused(`its head has more than ${bytesMax} bytes`);
        parts.push(held);
        held = Buffer.alloc(0);
      }
      const end = held.indexOf(0x0a);
      const line = Buffer.concat([...parts, held.subarray(0, end)]).toString("utf8");
      held = held.subarray(end + 1);
      return line;
    },
    async *rest() {
      if (held.length > 0) yield held;
      for (;;) {
        const next = await nextChunk();
        if (next.done === true) return;
        yield next.value;
      }
    },
  };
}
