// A real S3 server does what is asked, and its reply is lost: what the jobs make of it, through the real adapter.

import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { systemClock } from "../../lib/adapters/local/clock.ts";
import { cryptoRandom } from "../../lib/adapters/local/random.ts";
import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { readHistory } from "../../lib/checkpoint/control.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { PUT_ATTEMPTS_MAX } from "../../lib/model/limits.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import type { BatchOutcome, Writer } from "../../lib/redo-log/writer.ts";
import { recoveredState } from "../processes/keyed-model.ts";
import { type HttpDouble, httpDouble, type SeenRequest } from "../unit/adapters/aws/http-double.ts";
import { CREDENTIALS, INSTALL_MS_MAX, missing, REGION, startVersitygw, type Versitygw } from "./versitygw.ts";

const SHARD = { table: "trees", shard: 0 };

type IsMeant = (request: SeenRequest) => boolean;
const ofRedo: IsMeant = ({ method, path }) => method === "PUT" && path.includes(".redo");
const ofUpload: IsMeant = ({ method, path }) => method === "POST" && path.includes("uploads");
const ofPart: IsMeant = ({ method, path }) => method === "PUT" && path.includes("partNumber=");
const ofCopy: IsMeant = ({ method, headers }) => method === "PUT" && headers["x-amz-copy-source"] !== undefined;
const ofCompletion: IsMeant = ({ method, path }) => method === "POST" && path.includes("uploadId=");
const ofDeletes: IsMeant = ({ method, path }) => method === "POST" && path.includes("delete");

const lacks = await missing();
if (lacks !== undefined) test("lost replies of versitygw", ({ skip }) => skip(lacks));
else proveJobs();

function proveJobs(): void {
  let server: Versitygw | undefined;
  let proxy: HttpDouble;
  let world: World;
  let writer: Writer;
  let losses: IsMeant[];
  let buckets = 0;
  beforeAll(async () => {
    server = await startVersitygw();
  }, INSTALL_MS_MAX);
  afterAll(() => server?.stop());
  afterEach(() => proxy.close());

  /** The next replies to what is meant get lost, one for each that is given. */
  function lose(...meant: readonly IsMeant[]): void {
    losses.push(...meant);
  }

  async function start(attemptsMax: number): Promise<void> {
    losses = [];
    if (server === undefined) throw new Error("the server runs");
    const otherwise = (request: SeenRequest) => {
      const place = losses.findIndex((isMeant) => isMeant(request));
      if (place < 0) return "pass";
      losses.splice(place, 1);
      return "lost";
    };
    proxy = await httpDouble({ upstream: server.endpoint, region: REGION, credentials: CREDENTIALS, attemptsMax, otherwise });
    const bucket = `lost-${++buckets}`;
    await proxy.s3.send(new CreateBucketCommand({ Bucket: bucket }));
    const objects = s3ObjectStore(proxy.s3, { bucket });
    world = { objects, checkpoints: memoryCheckpointStore(), clock: systemClock(), random: cryptoRandom(), telemetry: { report: () => undefined } };
    await createTable(world, { name: SHARD.table });
    writer = openWriter(world, { id: SHARD, codec: "json" });
  }

  function append(sequence: number): Promise<BatchOutcome> {
    const value = Buffer.from(JSON.stringify({ sequence }));
    return writer.append({ mutations: [{ kind: "put", key: Buffer.from(`k${sequence}`), value }], mark: { producer: "p", sequence: BigInt(sequence) } });
  }

  /** Keys with the indexes of their last changes. */
  async function recovered(): Promise<readonly string[]> {
    const state = await recoveredState(await recover(world, { id: SHARD, codec: "json" }));
    return state.split("\n").map((line) => line.split(" ").slice(0, 2).join(" "));
  }

  async function openUploads(): Promise<number> {
    return (await world.objects.listUploads({ prefix: "" })).uploads.length;
  }

  for (const [title, attemptsMax] of [
    ["the SDK repeats", 4],
    ["the SDK does not repeat", 1],
  ] as const) {
    describe(`a reply is lost, and ${title}:`, () => {
      beforeEach(() => start(attemptsMax));

      test("an append finds its own redo file, and acknowledges", async () => {
        lose(ofRedo);
        expect(await append(1)).toMatchObject({ kind: "appended", first: 1 });
        expect(await append(2)).toMatchObject({ kind: "appended", first: 2 });
        expect(losses).toEqual([]);
        expect(await recovered()).toEqual(["k1 1", "k2 2"]);
      });

      test("an append that got no answer at all, appended again, applies once", async () => {
        await append(1);
        lose(...Array.from({ length: attemptsMax * PUT_ATTEMPTS_MAX }, () => ofRedo));
        await expect(append(2)).rejects.toMatchObject({ kind: "retry" });
        expect(losses).toEqual([]);
        expect(await append(2)).toMatchObject({ kind: "appended", first: 3 });
        expect(await append(3)).toMatchObject({ kind: "appended", first: 4 });
        expect(await recovered()).toEqual(["k1 1", "k2 2", "k3 4"]);
      }, 60_000);

      for (const [what, isMeant] of [
        ["new upload", ofUpload],
        ["part", ofPart],
        ["completion", ofCompletion],
      ] as const) {
        test(`a capture whose ${what} was carried out is carried on, and leaves nothing behind`, async () => {
          await append(1);
          lose(isMeant);
          const first = await snapshotShard(world, { id: SHARD }).catch((error: unknown) => error);
          expect(losses).toEqual([]);
          if (attemptsMax === 1) expect(first).toMatchObject({ kind: "retry" });
          else expect(first).toMatchObject({ outcome: { kind: "completed", index: 1 } });
          await snapshotShard(world, { id: SHARD });
          await append(2);
          expect((await snapshotShard(world, { id: SHARD })).outcome).toMatchObject({ kind: "completed", index: 2 });
          expect((await readHistory(world.checkpoints, SHARD)).map(({ index, verified }) => ({ index, verified }))).toEqual([
            { index: 1, verified: true },
            { index: 2, verified: true },
          ]);
          await cleanupShard(world, { id: SHARD, policy: POLICY_DEFAULTS });
          expect(await openUploads()).toBe(0);
          expect((await world.objects.list({ prefix: "" })).objects.filter(({ key }) => key.endsWith(".parquet"))).toHaveLength(2);
          expect(await recovered()).toEqual(["k1 1", "k2 2"]);
        });
      }

      test("a copy of a part that was carried out is made again, and the upload completes with it", async () => {
        const { objects } = world;
        const body = Buffer.alloc(6 * 1024 * 1024, "0123456789");
        await objects.createIfAbsent("source", body);
        const found = await objects.head("source");
        const upload = { key: "copy", ...(await objects.createUpload("copy")) };
        const source = { key: "source", etag: found.kind === "found" ? found.etag : "", offset: 3, length: 5 * 1024 * 1024 };
        const copy = () => objects.copyPart({ ...upload, number: 1, source });
        lose(ofCopy);
        if (attemptsMax === 1) await expect(copy()).rejects.toMatchObject({ kind: "retry" });
        const copied = await copy();
        expect(losses).toEqual([]);
        const parts = [{ number: 1, etag: copied.kind === "stored" ? copied.etag : "" }];
        expect(await objects.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
        const whole = await objects.get("copy");
        expect(whole.kind === "found" && whole.body.equals(body.subarray(3, 3 + source.length))).toBe(true);
        expect(await openUploads()).toBe(0);
      });

      test("a cleanup whose deletes were carried out is finished by the next", async () => {
        for (const sequence of [1, 2, 3]) {
          await append(sequence);
          if (sequence === 3) lose(ofDeletes);
          await snapshotShard(world, { id: SHARD }).catch((error: unknown) => expect(error).toMatchObject({ kind: "retry" }));
        }
        expect(losses).toEqual([]);
        await cleanupShard(world, { id: SHARD, policy: POLICY_DEFAULTS });
        const held = (await world.objects.list({ prefix: `${SHARD.table}/` })).objects.map(({ key }) =>
          key
            .split("/")
            .slice(3)
            .join("/")
            .replace(/-e[0-9]+/, ""),
        );
        expect(held).toEqual(["redo/0000000000000003.redo", "snapshots/0000000000000002.parquet", "snapshots/0000000000000003.parquet"]);
        expect((await readHistory(world.checkpoints, SHARD)).map(({ index, state }) => ({ index, state }))).toEqual([
          { index: 2, state: "kept" },
          { index: 3, state: "kept" },
        ]);
        expect(await recovered()).toEqual(["k1 1", "k2 2", "k3 3"]);
      });
    });
  }
}
