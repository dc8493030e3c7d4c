// Captures for tests: a world whose snapshot takes several parts, and captures that die in it.

import { expect } from "vitest";
import { readControl } from "../../../lib/checkpoint/control.ts";
import { PART_SORT } from "../../../lib/checkpoint/items.ts";
import { capture } from "../../../lib/snapshot/capture.ts";
import type { CaptureRequest } from "../../../lib/snapshot/outcome.ts";
import { appendEach, id, type MemoryWorld, noAnswer, noise, put, withObjects, worldWithTable } from "../jobs/world.ts";

/** Small parts: several for a snapshot of some records. */
export const request: CaptureRequest = { id, codec: "json", sizes: { partBytes: 4_096, partBytesMin: 4_096 } };

/** Row groups of a few records, and parts of a few row groups. */
export const small = {
  ...request,
  sizes: { pageRows: 2, groupBytes: 1_000, partBytes: 4_096, partBytesMin: 2_048, copyBytes: 8_192 },
} satisfies CaptureRequest;

/** A world whose snapshot takes several parts. */
export async function worldWithLog(): Promise<MemoryWorld> {
  const world = await worldWithTable();
  for (let file = 0; file < 3; file++) await appendEach(world, [Array.from({ length: 40 }, (_, i) => put(`key-${file}-${i}`, noise(file * 40 + i, 300)))]);
  return world;
}

export async function checkpointIndex(world: MemoryWorld): Promise<number | undefined> {
  return (await readControl(world.checkpoints, id))?.checkpoint?.index;
}

/** Stops after so many parts were stored, as a killed function would: the lease stays. */
export async function killedAfter(world: MemoryWorld, parts: number, asked: CaptureRequest = request): Promise<number> {
  let sent = 0;
  const killed = withObjects(world, (objects) => ({
    async uploadPart(part) {
      if (sent === parts) throw noAnswer();
      sent++;
      return objects.uploadPart(part);
    },
  }));
  await expect(capture(killed, asked)).rejects.toMatchObject({ kind: "retry" });
  return sent;
}

/** Counts the parts that are sent. */
export function counting(world: MemoryWorld): { readonly world: MemoryWorld; readonly numbers: number[] } {
  const numbers: number[] = [];
  const counted = withObjects(world, (objects) => ({
    async uploadPart(part) {
      numbers.push(part.number);
      return objects.uploadPart(part);
    },
  }));
  return { world: counted, numbers };
}

/** A capture that dies with its lease once two parts are stored: neither parts nor release are answered. */
export async function killedWithoutRelease(world: MemoryWorld): Promise<void> {
  let dead = false;
  let stored = 0;
  const twoStored = Promise.withResolvers<void>();
  const silent: MemoryWorld = {
    ...world,
    objects: {
      ...world.objects,
      async uploadPart(part) {
        if (part.number < 3) return world.objects.uploadPart(part);
        await twoStored.promise;
        dead = true;
        throw noAnswer();
      },
    },
    checkpoints: {
      ...world.checkpoints,
      async write(changes) {
        if (dead) throw noAnswer();
        const written = await world.checkpoints.write(changes);
        if (changes.some(({ item }) => item.sort.startsWith(PART_SORT)) && ++stored === 2) twoStored.resolve();
        return written;
      },
      async get(key) {
        if (dead) throw noAnswer();
        return world.checkpoints.get(key);
      },
    },
  };
  await expect(capture(silent, request)).rejects.toMatchObject({ kind: "retry" });
}

/** Of a store that tells no CRC-32 of what it copies: only reading back finds damage in it. */
export function withoutChecksums(world: MemoryWorld): MemoryWorld {
  return withObjects(world, (objects) => ({
    async copyPart(part) {
      const outcome = await objects.copyPart(part);
      return outcome.kind === "stored" ? { kind: "stored", etag: outcome.etag } : outcome;
    },
  }));
}
