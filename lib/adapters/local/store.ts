// The embedded store: one directory with everything in it, for any number of processes on one machine.
//
//   tidemark-store.json    marks a finished store: {"formatVersion":1}
//   checkpoints.sqlite     the checkpoint store
//   objects/ uploads/ tmp/ the object store

import { link, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { callError, damagedObject, newerFormat } from "../../model/errors.ts";
import type { CheckpointStore } from "../../ports/checkpoint-store.ts";
import type { ObjectStore } from "../../ports/object-store.ts";
import { localCheckpointStore } from "./checkpoint-store.ts";
import { makeDirectory, syncDirectory } from "./directories.ts";
import { orFault, systemCode } from "./faults.ts";
import { isAbsence } from "./object-paths.ts";
import { localObjectStore, OBJECTS, sweepObjectStore, TEMPORARY, UPLOADS } from "./object-store.ts";
import { temporaryName, writeAll, writeDurably } from "./temporary-files.ts";

const FORMAT_VERSION = 1;
const MARKER = "tidemark-store.json";
const CHECKPOINTS = "checkpoints.sqlite";
const PARTS: readonly string[] = [OBJECTS, UPLOADS, TEMPORARY, CHECKPOINTS];
/** What was stored is in these alone. */
const KEPT_PARTS: readonly string[] = [OBJECTS, CHECKPOINTS];
/** What may stand in a directory that is to become a store: an init that was cut short, and the root of a disk. */
const TOLERATED = new Set([...PARTS, `${CHECKPOINTS}-wal`, `${CHECKPOINTS}-shm`, `${CHECKPOINTS}-journal`, "lost+found"]);

export interface LocalStore {
  readonly objects: ObjectStore;
  readonly checkpoints: CheckpointStore;
  close(): Promise<void>;
}

/**
 * Makes the directory a store, or adds what a store in it lacks. Safe to repeat, and for several processes at once;
 * the marker comes last, so a store that has one is whole. Refuses a directory that holds something else, and a store
 * that has lost what was stored.
 */
export async function initLocalStore(path: string): Promise<{ readonly kind: "created" } | { readonly kind: "exists" }> {
  const directory = resolve(path);
  return orFault(directory, async () => {
    await makeDurablePath(directory);
    const isMarked = await readMarker(directory);
    if (isMarked) await refuseLoss(directory);
    else await refuseOtherContent(directory);
    for (const part of [TEMPORARY, UPLOADS, OBJECTS]) await makeDirectory(join(directory, part));
    localCheckpointStore(join(directory, CHECKPOINTS)).close();
    const isNew = !isMarked && (await writeMarker(directory));
    await syncDirectory(directory);
    return { kind: isNew ? "created" : "exists" };
  });
}

/** Opens the store in a directory, and sweeps what killed processes left in it. */
export async function openLocalStore(path: string): Promise<LocalStore> {
  const directory = resolve(path);
  return orFault(directory, async () => {
    if (!(await readMarker(directory)))
      throw callError("no-store", `there is no store in ${directory}: make one with \`tidemark init\`, or name the directory of one`);
    await refuseLoss(directory);
    const missing = await missingOf(directory, PARTS);
    if (missing !== undefined)
      throw callError("incomplete-store", `the store in ${directory} lacks ${missing}, which holds nothing that is stored: \`tidemark init\` makes it anew`);
    await sweepObjectStore(directory);
    const checkpoints = localCheckpointStore(join(directory, CHECKPOINTS));
    return { objects: localObjectStore(directory), checkpoints, close: async () => checkpoints.close() };
  });
}

/** A marked store has had all its parts: an empty one in the place of one that was lost would be taken for what was stored. */
async function refuseLoss(directory: string): Promise<void> {
  const missing = await missingOf(directory, KEPT_PARTS);
  if (missing === undefined) return;
  throw callError(
    "incomplete-store",
    `the store in ${directory} has lost its ${missing}: restore the whole of it from a copy, or name another directory for an empty store`,
  );
}

async function missingOf(directory: string, parts: readonly string[]): Promise<string | undefined> {
  const present = new Set(await readdir(directory));
  return parts.find((part) => !present.has(part));
}

/** Makes the directory and those above it; what was made survives a power cut. */
async function makeDurablePath(directory: string): Promise<void> {
  const firstMade = await mkdir(directory, { recursive: true });
  if (firstMade === undefined) return;
  for (let made = directory; made.length >= firstMade.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/** Whether the directory is marked as a store, of a version that this program knows. */
async function readMarker(directory: string): Promise<boolean> {
  const marker = join(directory, MARKER);
  let text: string;
  try {
    text = await readFile(marker, "utf8");
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
  const version = parseVersion(text);
  if (version === undefined) throw damagedObject(marker, `it does not read {"formatVersion":${FORMAT_VERSION}}`);
  if (version > FORMAT_VERSION) throw newerFormat(marker, version, FORMAT_VERSION);
  return true;
}

function parseVersion(text: string): number | undefined {
  try {
    const version: unknown = JSON.parse(text)?.formatVersion;
    return typeof version === "number" && Number.isSafeInteger(version) && version >= 1 ? version : undefined;
  } catch {
    return undefined;
  }
}

/** A directory without a marker may hold what an earlier init made, but no object: those came only after the marker. */
async function refuseOtherContent(directory: string): Promise<void> {
  const foreign = (await readdir(directory)).find((name) => !TOLERATED.has(name)) ?? (await firstOf(directory, OBJECTS)) ?? (await firstOf(directory, UPLOADS));
  // Another process may have finished the store meanwhile, and written to it.
  if (foreign === undefined || (await readMarker(directory))) return;
  throw callError("not-a-store", `${directory} holds something else (${foreign}): name an empty directory, or one that does not exist yet`);
}

async function firstOf(directory: string, part: string): Promise<string | undefined> {
  try {
    const [first] = await readdir(join(directory, part));
    return first === undefined ? undefined : `${part}/${first}`;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** False if another process was first. */
async function writeMarker(directory: string): Promise<boolean> {
  // First all parts of the store, then the marker that says so.
  await syncDirectory(directory);
  const source = join(directory, TEMPORARY, temporaryName());
  try {
    await writeDurably(source, (file) => writeAll(file, Buffer.from(`${JSON.stringify({ formatVersion: FORMAT_VERSION })}\n`)));
    await link(source, join(directory, MARKER));
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  } finally {
    await rm(source, { force: true });
  }
}
