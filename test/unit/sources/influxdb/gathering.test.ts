import { describe, expect, test } from "vitest";
import { gatheringItem, noteItem, parseNoteItem, restoreItem } from "../../../../lib/checkpoint/items.ts";
import { beginGathering, endGathering, type GatheringOutcome, readNotes } from "../../../../lib/sources/influxdb/gathering.ts";
import { GATHERING_TTL_MS } from "../../../../lib/model/limits.ts";
import { id, itemsOf, memoryWorld, START_MS, withCheckpoints } from "../../jobs/world.ts";
import { aFile, aShard } from "./samples.ts";

function held(outcome: GatheringOutcome) {
  if (outcome.kind !== "held") throw new Error("another has it");
  return outcome.gathering;
}

const PREFIX = "players/0/00000000000000aa/";
const about = (generation: number, job = "job", { prefix = PREFIX, startedAtMs = START_MS } = {}) => ({ generation, job, startedAtMs, prefix });

describe("gathering", () => {
  test("is one job's at a time; the other learns whose, and until when", async () => {
    const world = memoryWorld();
    const first = held(await beginGathering(world, id, "a"));
    const owner = String(itemsOf(world)[0].attributes.owner);
    expect(await beginGathering(world, id, "b")).toEqual({ kind: "rejected", owner, untilMs: START_MS + GATHERING_TTL_MS });
    await first.release();
    expect((await beginGathering(world, id, "b")).kind).toBe("held");
  });

  test("is taken over once its time has passed, and whoever had it is told", async () => {
    const world = memoryWorld();
    const first = held(await beginGathering(world, id, "a"));
    world.clock.advance(GATHERING_TTL_MS);
    expect((await beginGathering(world, id, "b")).kind).toBe("rejected");
    world.clock.advance(1);
    const second = held(await beginGathering(world, id, "b"));
    expect([await first.keep(), await second.keep()]).toEqual([false, true]);
    await first.release();
    expect((await beginGathering(world, id, "c")).kind).toBe("rejected");
  });

  test("is kept for as long as its job goes on, and renewed no more often than a third of its time", async () => {
    const world = memoryWorld();
    let writes = 0;
    const counted = withCheckpoints(world, (checkpoints) => ({
      write(changes) {
        writes++;
        return checkpoints.write(changes);
      },
    }));
    const gathering = held(await beginGathering(counted, id, "a"));
    writes = 0;
    for (let second = 0; second < 1_200; second++) {
      world.clock.advance(1_000);
      expect(await gathering.keep()).toBe(true);
    }
    expect(writes).toBe(12);
    expect((await beginGathering(world, id, "b")).kind).toBe("rejected");
  });

  test("tells when its job began: at its first attempt, unless that came to an end, or is of another name", async () => {
    const world = memoryWorld();
    const first = held(await beginGathering(world, id, "a"));
    await first.release();
    world.clock.advance(5_000);
    const again = held(await beginGathering(world, id, "a"));
    expect([first.startedAtMs, again.startedAtMs]).toEqual([START_MS, START_MS]);
    await endGathering(world, id, "a");
    const anew = held(await beginGathering(world, id, "a"));
    expect(anew.startedAtMs).toBe(START_MS + 5_000);
    await anew.release();
    world.clock.advance(5_000);
    expect(held(await beginGathering(world, id, "b")).startedAtMs).toBe(START_MS + 10_000);
  });

  test("is not ended by a job of another name, nor where nobody gathers", async () => {
    const world = memoryWorld();
    await endGathering(world, id, "a");
    expect(itemsOf(world)).toEqual([]);
    held(await beginGathering(world, id, "a"));
    await endGathering(world, id, "b");
    expect((await beginGathering(world, id, "c")).kind).toBe("rejected");
  });

  test("of two who begin together is one's", async () => {
    const world = memoryWorld();
    const outcomes = await Promise.all(["a", "b", "c"].map((job) => beginGathering(world, id, job)));
    expect(outcomes.map(({ kind }) => kind).sort()).toEqual(["held", "rejected", "rejected"]);
  });
});

describe("notes", () => {
  const file = aFile({ generation: 5 });
  const record = aShard({ shard: 7, generation: 5, files: [file] });

  test("of files are there for every job of the generation, those of shards for the same job alone", async () => {
    const world = memoryWorld();
    const notes = await readNotes(world, id, about(5, "a"));
    await notes.addFile(7, file);
    await notes.addFile(7, aFile({ name: "000000002-000000001.tsm" }));
    await notes.addFile(8, file);
    await notes.addShard(record);
    const same = await readNotes(world, id, about(5, "a"));
    const other = await readNotes(world, id, about(5, "b"));
    expect([same.filesOf(7).length, same.filesOf(8), same.filesOf(9), same.shard(7)]).toEqual([2, [file], [], record]);
    expect([other.filesOf(7).length, other.shard(7)]).toEqual([2, undefined]);
  });

  test("of shards are those of the job since it began, and of none of its name before", async () => {
    const world = memoryWorld();
    await (await readNotes(world, id, about(5, "a"))).addShard(record);
    for (const startedAtMs of [START_MS - 1, START_MS + 1]) expect((await readNotes(world, id, about(5, "a", { startedAtMs }))).shard(7)).toBeUndefined();
    expect((await readNotes(world, id, about(5, "a"))).shard(7)).toEqual(record);
  });

  test("of another generation are none of this one", async () => {
    const world = memoryWorld();
    const notes = await readNotes(world, id, about(5));
    await notes.addFile(7, file);
    await notes.addShard(record);
    for (const generation of [4, 6, 50]) {
      const others = await readNotes(world, id, about(generation));
      expect([others.filesOf(7), others.shard(7)]).toEqual([[], undefined]);
    }
  });

  test("of another life of the table are none of this one: its attachments lie elsewhere", async () => {
    const world = memoryWorld();
    const old = await readNotes(world, id, about(5, "a", { prefix: "players/0/00000000000000bb/" }));
    await old.addFile(7, file);
    await old.addShard(record);
    const now = await readNotes(world, id, about(5, "a"));
    expect([now.filesOf(7), now.shard(7)]).toEqual([[], undefined]);
  });

  test("that cannot be read are as none", async () => {
    const world = memoryWorld();
    const sound = await readNotes(world, id, about(5));
    await sound.addFile(1, file);
    await sound.addShard(aShard({ shard: 1, generation: 5 }));
    const whole = new Map(itemsOf(world).map(({ key, attributes }) => [key.sort, attributes]));
    let place = 0;
    for (const [sort, attributes] of whole) {
      const kind = sort.includes("file/") ? "file" : "shard";
      for (const name of Object.keys(attributes).filter((one) => one !== "formatVersion")) {
        for (const value of ["", "{", "null", "[]", '{"name":"x"}', -1]) {
          const put = { ...attributes, [name]: value };
          await world.checkpoints.write([{ item: noteItem(id, 5, `${kind}/wrong-${place++}`), when: [], put }]);
        }
      }
    }
    const notes = await readNotes(world, id, about(5));
    expect([notes.filesOf(1), notes.shard(1)?.shard]).toEqual([[file], 1]);
    expect([notes.filesOf(-1), notes.filesOf(Number.NaN)]).toEqual([[], []]);
  });

  test("of a shard that has more files than an item holds is left out", async () => {
    const world = memoryWorld();
    const notes = await readNotes(world, id, about(5));
    await notes.addShard(aShard({ shard: 7, files: Array.from({ length: 2_000 }, () => file) }));
    expect(itemsOf(world)).toEqual([]);
  });

  test("tell sequence and name by their keys", () => {
    const key = noteItem(id, 5, "file/7/000000001-000000001.tsm");
    expect(key.sort).toBe("note#0000000000000005#file/7/000000001-000000001.tsm");
    expect(parseNoteItem(key)).toEqual({ sequence: 5, name: "file/7/000000001-000000001.tsm" });
    expect(parseNoteItem(noteItem(id, 5, "a#b"))).toEqual({ sequence: 5, name: "a#b" });
    expect([gatheringItem(id).sort, restoreItem(id, "x").sort]).toEqual(["gathering", "restore#x"]);
  });
});
