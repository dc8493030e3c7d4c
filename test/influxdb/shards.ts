// A double that has one database, for tests of what backs a server up: as many shards as they say, each of one file.

import type { Socket } from "node:net";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { tarEnd, tarHeader, tarPadding } from "../../lib/sources/influxdb/tar.ts";
import { metastoreReply, REQUEST_TYPES } from "../../lib/sources/influxdb/wire.ts";
import { type Double, type SnapshotterRequest, startDouble } from "./double.ts";

const NEVER = "0001-01-01T00:00:00Z";

/** The type of a request for a shard's files. */
export const READ_SHARD = REQUEST_TYPES["shard-backup"];

/** Shards of one database, by id, each of one file with this text. */
export type Shards = Map<number, string>;

/** `spoils`: what is done in place of an answer, where it is to be none. */
export function startShards(shards: Shards, spoils: (request: SnapshotterRequest) => "nothing" | "silence" | undefined = () => undefined): Promise<Double> {
  return startDouble((request, socket) => {
    const spoilt = spoils(request);
    if (spoilt === "silence") return;
    socket.end(spoilt === "nothing" ? "" : replyTo(request, shards));
  });
}

function replyTo({ type, json }: SnapshotterRequest, shards: Shards): Parameters<Socket["end"]>[0] {
  if (type === REQUEST_TYPES.metastore) return metastoreReply({ meta: metastore([...shards.keys()]), node: Buffer.from("{}") });
  if (type !== READ_SHARD) return JSON.stringify({ Paths: [...shards.keys()].map((shard) => `/data/telegraf/autogen/${shard}`) });
  const bytes = Buffer.from(shards.get(Number(json.ShardID)) ?? "");
  const file = { name: `telegraf/autogen/${String(json.ShardID)}/000000001-000000001.tsm`, size: bytes.length, modifiedS: 1_700_000_000 };
  return Buffer.concat(json.Since === NEVER ? [tarHeader(file), bytes, tarPadding(bytes.length), tarEnd()] : [tarEnd()]);
}

function metastore(shards: readonly number[]): Buffer {
  const message = (...fields: readonly (readonly [number, number | string | Uint8Array])[]): Uint8Array => {
    const writer = new BinaryWriter();
    for (const [field, value] of fields) {
      if (typeof value === "number") writer.tag(field, WireType.Varint).uint64(value);
      else writer.tag(field, WireType.LengthDelimited).bytes(Buffer.from(value));
    }
    return writer.finish();
  };
  const groups = shards.map((shard) => [5, message([1, shard], [2, shard * 1_000], [3, shard * 1_000 + 1_000], [5, message([1, shard])])] as const);
  return Buffer.from(message([5, message([1, "telegraf"], [2, "autogen"], [3, message([1, "autogen"], ...groups)])], [8, 99], [9, 99]));
}
