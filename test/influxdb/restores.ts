// Restores to a real InfluxDB, for tests: each of a backup of its own, under a name that no database has yet.

import { restore, type RestoreReport, type RestoreRequest } from "../../lib/sources/influxdb/restore.ts";
import { metastoreUpdateFrame } from "../../lib/sources/influxdb/wire.ts";
import { backup, clientOf, failureWorld, type FailureWorld, generationOf, NAME } from "./at-rest.ts";
import { type Fault, type SnapshotterRequest, startProxy } from "./double.ts";
import { type Influxd, startInfluxd } from "./influxd.ts";
import { type Answers, answers, points } from "./points.ts";

export const DAY_MS = 86_400_000;

export interface Restores {
  /** The server; its database `source` is what is backed up. */
  readonly target: Influxd;
  /** What `source` answers. */
  readonly original: Answers;
  /** A world with one generation of the source, a name that no database has yet, and a number that none had. */
  prepared(): Promise<{ readonly world: FailureWorld; readonly newDatabase: string; readonly number: number }>;
  bringBack(world: FailureWorld, newDatabase: string, about?: Partial<RestoreRequest>): Promise<RestoreReport>;
  /** The restore is begun through a proxy, which is gone when it goes on: that is of the same server by its address. */
  behind<T>(fault: (request: SnapshotterRequest) => Fault | undefined, work: (address: string, wellAgain: () => void) => Promise<T>): Promise<T>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startRestores(): Promise<Restores> {
  const target = await startInfluxd();
  await target.query('CREATE DATABASE "source" WITH DURATION INF SHARD DURATION 1d NAME "policy"');
  await target.write("source", points({ seed: 21, points: 240, shardGroupMs: DAY_MS, groups: 3 }));
  let made = 0;
  return {
    target,
    original: await answers(target, "source"),
    async prepared() {
      made += 1;
      const world = failureWorld(made);
      await generationOf(backup(world, target.snapshotter, { selection: { database: "source" } }));
      return { world, newDatabase: `restored ${made}`, number: made };
    },
    bringBack: (world, newDatabase, about = {}) =>
      restore(world, { name: NAME, client: clientOf(target.snapshotter), database: "source", newDatabase, ...about }),
    async behind(fault, work) {
      let isWell = false;
      await using proxy = await startProxy(target.snapshotter, (request) => (isWell ? undefined : fault(request)));
      return await work(proxy.address, () => {
        isWell = true;
      });
    },
    async [Symbol.asyncDispose]() {
      await target[Symbol.asyncDispose]();
    },
  };
}

/** Below 0: behind the first byte. Up to 1 a part of the head, from there on, up to 2, of the metastore behind it. */
export function placeIn(json: SnapshotterRequest["json"], part: number): number {
  const bytes = Number(json.UploadSize);
  const renaming = { database: `${json.BackupDatabase}`, newDatabase: `${json.RestoreDatabase}`, policy: "", newPolicy: "" };
  const headBytes = metastoreUpdateFrame(Buffer.alloc(bytes), renaming).length - bytes;
  if (part < 0) return 1;
  return Math.floor(part <= 1 ? headBytes * part : headBytes + bytes * (part - 1));
}
