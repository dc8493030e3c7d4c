// A running InfluxDB as its snapshotter shows it. Which dialect it speaks is found out by the first question.

import { TidemarkError } from "../../model/errors.ts";
import { type Address, addressInWords, exchange, exchangeAll, type Line, SILENT_MS, upload } from "./connection.ts";
import { type Metastore, parseMeta } from "./meta.ts";
import type { WholeRange } from "./select.ts";
import {
  type Dialect,
  isMetastoreReply,
  METASTORE_BYTES_MAX,
  metastoreUpdateFrame,
  parseIdMap,
  parseMetastore,
  parsePaths,
  type Renaming,
  requestFrame,
  type ShardPlace,
  shardUpdateHead,
} from "./wire.ts";

const PATHS_BYTES_MAX = 64 * 1024 * 1024;
const ID_MAP_BYTES_MAX = 16 * 1024 * 1024;
/** A server makes all shards of a metastore before it answers: each has some 30 bytes there, and may take 300 ms on a slow disk. */
const MADE_MS_PER_BYTE = 10;

export interface InfluxClient {
  readonly address: Address;
  dialect(): Promise<Dialect>;
  metastore(): Promise<{ readonly meta: Buffer; readonly node: Buffer; readonly parsed: Metastore }>;
  /** Ids of the shards that the server has of a database, or of one policy of it. */
  shardIds(place: { readonly database: string; readonly policy?: string }): Promise<readonly number[]>;
  /** A shard's archive (tar.ts), its cache flushed before: all its files, those changed since a time, or of those the blocks between two times. */
  shard(place: ShardPlace, which?: { readonly since?: string } | WholeRange): AsyncIterable<Buffer>;
  /** Makes databases of a metastore; the ids of their shards, old and new. None where the server refuses. */
  updateMetastore(meta: Uint8Array, renaming: Renaming): Promise<ReadonlyMap<number, number>>;
  /** Adds an archive's files to a shard. Answers once the server is done with them, whether or not it took them. */
  updateShard(shard: number, archive: AsyncIterable<Buffer>): Promise<void>;
}

export interface ClientOptions {
  readonly address: Address;
  /** How long the server may say nothing, in ms. */
  readonly silentMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export function influxClient({ address, silentMs = SILENT_MS, signal }: ClientOptions): InfluxClient {
  const line: Line = { address, silentMs, signal };
  let known: Dialect | undefined;

  async function detect(): Promise<Dialect> {
    let isSilent = true;
    for (const dialect of ["1.5", "1.0"] as const) {
      const reply = await exchangeAll(line, requestFrame(dialect, { kind: "metastore" }), METASTORE_BYTES_MAX).catch((error: unknown) => {
        // One that is no snapshotter may also end the connection rudely.
        if (error instanceof TidemarkError && error.code === "broken-connection") return Buffer.alloc(0);
        throw error;
      });
      if (isMetastoreReply(reply)) return dialect;
      isSilent &&= isMetastoreReply(reply, reply.length);
    }
    // A snapshotter that fails says nothing either; what speaks otherwise is none.
    throw new TidemarkError(
      isSilent ? "retry" : "call",
      "no-snapshotter",
      `${addressInWords(address)} does not answer as InfluxDB 1.x's snapshotter: name its "bind-address", port 8088 by default, not that of its HTTP API`,
    );
  }

  async function dialect(): Promise<Dialect> {
    known ??= await detect();
    return known;
  }

  return {
    address,
    dialect,
    async metastore() {
      const reply = await exchangeAll(line, requestFrame(await dialect(), { kind: "metastore" }), METASTORE_BYTES_MAX);
      const { meta, node } = parseMetastore(reply);
      return { meta, node, parsed: parseMeta(meta) };
    },
    async shardIds({ database, policy }) {
      const request = policy === undefined ? ({ kind: "database-info", database } as const) : ({ kind: "policy-info", database, policy } as const);
      const reply = await exchangeAll(line, requestFrame(await dialect(), request), PATHS_BYTES_MAX);
      if (reply.length > 0) return parsePaths(reply);
      const what = policy === undefined ? `database ${JSON.stringify(database)}` : `policy ${JSON.stringify(policy)} of database ${JSON.stringify(database)}`;
      throw new TidemarkError("retry", "empty-reply", `the server told nothing of ${what}: was it dropped just now? its log tells why`);
    },
    async *shard(place, which = {}) {
      const request = "start" in which ? ({ kind: "shard-export", ...place, ...which } as const) : ({ kind: "shard-backup", ...place, ...which } as const);
      yield* exchange(line, requestFrame(await dialect(), request));
    },
    async updateMetastore(meta, renaming) {
      const patient: Line = { ...line, silentMs: silentMs + meta.length * MADE_MS_PER_BYTE };
      return parseIdMap(await exchangeAll(patient, metastoreUpdateFrame(meta, renaming), ID_MAP_BYTES_MAX));
    },
    async updateShard(shard, archive) {
      await upload(line, shardUpdateHead(shard), archive);
    },
  };
}
