// What is damaged on purpose: objects where they lie, and answers on their way. Of the snapshots one at a time, as more than
// one damage is more than is promised of the head; redo files are healed again, so that the log can go on.

import type { MemoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import type { HistoryRow } from "../../lib/model/control.ts";
import type { Random } from "../../lib/ports/random.ts";

export interface Damage {
  /** The snapshot that is damaged, or that was misread and so may be taken for damaged. */
  readonly snapshot: string | undefined;
  /** Whether a snapshot was damaged, so that one which was made of it can be damaged too. */
  readonly mayBeCarried: boolean;
  /** Whether redo files are damaged now. */
  readonly inLog: boolean;
  /** Whether an error may say that this object is damaged: it is, or was, or was misread. */
  mayBeNamed(key: string): boolean;
  /** Damages the newest of at least two sound generations; says what it did. */
  snapshotRots(deps: DamageDeps, rows: Iterable<HistoryRow>): string | undefined;
  /** Damages one of the redo files at these keys, or swaps two; says what it did. */
  logRots(deps: DamageDeps, keys: readonly string[]): string | undefined;
  /** Puts the sound bytes of all damaged redo files back, as from a backup. */
  logHeals(store: MemoryObjectStore): void;
  /** Whether an answer with the object's bytes may be damaged; if so, it will be. */
  misread(key: string): boolean;
  deleted(key: string): void;
  /** All is healed; from now on every alarm is false, but for the snapshot. */
  forget(): void;
}

export interface DamageDeps {
  readonly store: MemoryObjectStore;
  readonly random: Random;
}

export function noDamage(): Damage {
  let snapshot: string | undefined;
  const sound = new Map<string, Buffer>();
  const named = new Set<string>();

  return {
    get snapshot() {
      return snapshot;
    },
    get mayBeCarried() {
      return [...named].some(isSnapshot);
    },
    get inLog() {
      return sound.size > 0;
    },
    mayBeNamed: (key) => named.has(key),
    snapshotRots({ store, random }, rows) {
      const kept = [...rows].filter(({ state, verified }) => state === "kept" && verified).sort((a, b) => b.index - a.index);
      if (snapshot !== undefined || kept.length < 2) return undefined;
      snapshot = kept[0].key;
      named.add(snapshot);
      return rot(store, random, snapshot);
    },
    logRots({ store, random }, keys) {
      const there = keys.filter((key) => store.objects.has(key));
      if (sound.size > 0 || there.length === 0) return undefined;
      const one = oneOf(random, there);
      const other = oneOf(random, there);
      for (const key of new Set([one, other])) {
        sound.set(key, Buffer.from(bytesOf(store, key)));
        named.add(key);
      }
      if (one === other) return rot(store, random, one);
      for (const [key, from] of [
        [one, other],
        [other, one],
      ])
        store.damage(key, () => sound.get(from) ?? Buffer.alloc(0));
      return `${one} and ${other} are swapped`;
    },
    logHeals(store) {
      for (const [key, bytes] of sound) store.damage(key, () => bytes);
      sound.clear();
    },
    misread(key) {
      if (isSnapshot(key)) {
        if (snapshot !== undefined && snapshot !== key) return false;
        snapshot = key;
      }
      named.add(key);
      return true;
    },
    deleted(key) {
      sound.delete(key);
      if (key === snapshot) snapshot = undefined;
    },
    forget() {
      named.clear();
      if (snapshot !== undefined) named.add(snapshot);
    },
  };
}

export function rot(store: MemoryObjectStore, random: Random, key: string): string {
  const at = Math.floor(random.fraction() * bytesOf(store, key).length);
  const isCut = random.fraction() < 0.2;
  store.damage(key, (body) => {
    if (isCut) return body.subarray(0, at);
    body[at] ^= 1 << Math.floor(random.fraction() * 8);
    return body;
  });
  return isCut ? `${key} is cut off at ${at}` : `byte ${at} of ${key} rots`;
}

function bytesOf(store: MemoryObjectStore, key: string): Buffer {
  return store.objects.get(key) ?? Buffer.alloc(0);
}

function isSnapshot(key: string): boolean {
  return key.includes("/snapshots/");
}

export function oneOf<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random.fraction() * choices.length)];
}
