// Goes through all states of the world that can be reached, the nearest first: so the trace to a broken promise is a shortest one.
//
// A state is known again by 64 bits of a hash. Its components are numbered by their text, each distinct one once, so that only
// what a step replaced is written out. Cleaners are alike, and so are captures: states that differ in which of them is
// where count as one. Of a state that was gone through, only the hash, its parent and the step that led to it are kept.

import { brokenPromise } from "./model/promises.ts";
import { brokenAtRest } from "./model/rest.ts";
import { beginning, stepsFrom, taken } from "./model/steps.ts";
import type { Setting, World } from "./model/world.ts";

export interface Finding {
  readonly promise: string;
  /** What happened, one step a line. */
  readonly trace: readonly string[];
  /** The promise is broken once everything is killed, and let come to rest. */
  readonly atRest: boolean;
}

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** Steps from the beginning to the furthest state. */
  readonly depth: number;
  readonly ms: number;
  /** Whether every reachable state was gone through. */
  readonly complete: boolean;
  readonly finding?: Finding;
}

export function explore(setting: Setting, statesMax: number): Exploration {
  const startedAt = performance.now();
  const keys = keyring();
  const seen = hashSet();
  const parents = growing();
  const places = growing();
  const atRest = new Map<string, string>();
  let transitions = 0;
  let depth = 0;

  const { world: first, says } = beginning(setting);
  const firstNumbers = keys.numbers(first);
  seen.add(keys.hash(first, firstNumbers));
  parents.push(0);
  places.push(0);
  let level: readonly Reached[] = [{ world: first, id: 0, numbers: firstNumbers }];
  let isCut = false;
  while (level.length > 0) {
    const next: Reached[] = [];
    for (const from of level) {
      for (const [place, step] of stepsFrom(from.world, setting).entries()) {
        transitions++;
        const world = taken(from.world, step);
        const numbers = keys.numbers(world, from);
        if (!seen.add(keys.hash(world, numbers))) continue;
        const id = parents.push(from.id);
        places.push(place);
        const promise = brokenPromise(world, setting);
        const promiseAtRest = promise === "" && setting.bounds.rest ? restOf(world, numbers) : "";
        if (promise !== "" || promiseAtRest !== "") {
          const finding = { promise: promise || promiseAtRest, trace: traceTo(id), atRest: promise === "" };
          return { states: seen.size(), transitions, depth: depth + 1, ms: performance.now() - startedAt, complete: false, finding };
        }
        if (seen.size() < statesMax) next.push({ world, id, numbers });
        else isCut = true;
      }
    }
    if (next.length > 0) depth++;
    level = next;
  }
  return { states: seen.size(), transitions, depth, ms: performance.now() - startedAt, complete: !isCut };

  /** What is left at rest depends on the stores alone: many states share it. */
  function restOf(world: World, numbers: readonly number[]): string {
    const key = numbers.slice(0, STORES).join();
    const known = atRest.get(key);
    if (known !== undefined) return known;
    const promise = brokenAtRest(world, setting);
    atRest.set(key, promise);
    return promise;
  }

  function traceTo(id: number): readonly string[] {
    const path: number[] = [];
    for (let at = id; at !== 0; at = parents.at(at)) path.unshift(places.at(at));
    let world = first;
    const behind = path.map((place) => {
      const step = stepsFrom(world, setting)[place];
      world = taken(world, step);
      return step.says;
    });
    return [...says, ...behind];
  }
}

interface Reached {
  readonly world: World;
  readonly id: number;
  /** Of its components. */
  readonly numbers: readonly number[];
}

/**
 * What of a state the stores, and the truth, are made of: the first so many components. How many stamps were given out does not tell
 * states apart: the next one differs from all others, whatever it is.
 */
const STORES = 11;

function componentsOf(world: World): readonly unknown[] {
  const { redo, snapshots, uploads, control, rows, parts, attached, hint, truth, damagedAt, deleting, late, producers, left } = world;
  const stores = [redo, snapshots, uploads, control, rows, parts, attached, hint, truth, damagedAt, deleting];
  return [...stores, late, producers, left, ...world.gatherers, ...world.writers, ...world.captures, ...world.cleaners, ...world.readers];
}

/** Numbers for the components of states, and hashes of states made of them. */
function keyring(): {
  readonly numbers: (world: World, from?: Reached) => readonly number[];
  readonly hash: (world: World, numbers: readonly number[]) => readonly [number, number];
} {
  const byText = new Map<string, number>();

  function numberOf(component: unknown): number {
    const text = JSON.stringify(component) ?? "";
    const known = byText.get(text);
    if (known !== undefined) return known;
    byText.set(text, byText.size + 1);
    return byText.size;
  }

  return {
    /** A component that a step left as it was keeps its number. */
    numbers(world, from) {
      const components = componentsOf(world);
      if (from === undefined) return components.map(numberOf);
      const before = componentsOf(from.world);
      return components.map((component, place) => (component === before[place] ? from.numbers[place] : numberOf(component)));
    },
    hash({ captures, cleaners, readers }, numbers) {
      let end = numbers.length - readers.length;
      const alike = [cleaners, captures].flatMap(({ length }) => {
        end -= length;
        return numbers.slice(end, end + length).sort((a, b) => a - b);
      });
      let low = 0x811c9dc5;
      let high = 0x9e3779b9;
      for (const number of [...numbers.slice(0, end), ...alike, ...numbers.slice(numbers.length - readers.length)]) {
        low = Math.imul(low ^ number, 0x85ebca6b);
        low ^= low >>> 15;
        high = Math.imul((high << 7) ^ (high >>> 25) ^ number, 0xc2b2ae35);
        high ^= high >>> 13;
      }
      return [low, high];
    },
  };
}

interface HashSet {
  /** False where it was there already. */
  readonly add: (hash: readonly [number, number]) => boolean;
  readonly size: () => number;
}

/** Of 64-bit numbers, 16 bytes for each at most. The hash 0, 0 stands for an empty place, and is stored as 0, 1. */
function hashSet(): HashSet {
  let capacity = 1 << 16;
  let slots = new Int32Array(2 * capacity);
  let size = 0;

  function placeOf(low: number, high: number): number {
    let at = (low ^ Math.imul(high, 31)) & (capacity - 1);
    while ((slots[2 * at] !== 0 || slots[2 * at + 1] !== 0) && (slots[2 * at] !== low || slots[2 * at + 1] !== high)) at = (at + 1) & (capacity - 1);
    return 2 * at;
  }

  function grow(): void {
    const before = slots;
    capacity *= 2;
    slots = new Int32Array(2 * capacity);
    for (let at = 0; at < before.length; at += 2) {
      if (before[at] === 0 && before[at + 1] === 0) continue;
      const place = placeOf(before[at], before[at + 1]);
      slots[place] = before[at];
      slots[place + 1] = before[at + 1];
    }
  }

  return {
    add([low, upper]) {
      const high = low === 0 && upper === 0 ? 1 : upper;
      const place = placeOf(low, high);
      if (slots[place] !== 0 || slots[place + 1] !== 0) return false;
      slots[place] = low;
      slots[place + 1] = high;
      size++;
      if (size > capacity * 0.6) grow();
      return true;
    },
    size: () => size,
  };
}

/** Numbers one behind the other; `push` tells the place. */
function growing(): { readonly push: (value: number) => number; readonly at: (place: number) => number } {
  let values = new Uint32Array(1 << 14);
  let length = 0;
  return {
    push(value) {
      if (length === values.length) {
        const longer = new Uint32Array(2 * length);
        longer.set(values);
        values = longer;
      }
      values[length] = value;
      return length++;
    },
    at: (place) => values[place],
  };
}
