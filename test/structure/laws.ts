// The laws of the layout, as pure functions from sources to findings. ARCHITECTURE.md tells them in words.

import { posix } from "node:path";
import { importsOf, type Source } from "./sources.ts";

/** The package's entries: the only files that pass on what others export. */
const ENTRIES = ["lib/index.ts", "lib/aws.ts", "lib/local.ts", "lib/memory.ts"];
const MECHANISMS = ["redo-log", "snapshot", "machines", "checkpoint", "attachments", "planner", "cleanup", "recovery"];
/** Formats of others that a source speaks: codecs, as pure as the core. */
const SOURCE_FORMATS = ["sources/influxdb/tsm"];
const CORE = ["model", "ports", "ndjson", ...MECHANISMS, "jobs", "api", ...SOURCE_FORMATS];
const CORE_BUILT_INS = ["node:buffer", "node:crypto", "node:util", "node:worker_threads", "node:zlib"];
const LINES_MAX = 400;

/** Which layers a layer may import, besides itself; of the mechanisms some are named by their folder. Whoever has no row may import all of lib/. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  model: [],
  ports: ["model"],
  ndjson: ["model"],
  mechanisms: ["model", "ports"],
  jobs: ["model", "ports", "mechanisms"],
  api: ["model", "ports", "recovery", "jobs"],
  sources: ["model", "ports", "mechanisms", "jobs"],
  adapters: ["model", "ports"],
  entries: ["model", "ports", "jobs", "api", "adapters"],
  cli: ["model", "ports", "ndjson", "recovery", "jobs", "sources", "adapters", "entries", "api"],
  functions: ["model", "ports", "ndjson", "jobs", "sources", "adapters", "entries"],
  infra: ["model"],
  docs: [],
};

const AMBIENT =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bset(?:Timeout|Interval|Immediate)\b|\brandom(?:UUID|Bytes|Int|FillSync)\b|\bperformance\.|\bprocess\.(?:hrtime|env)\b|\bgetRandomValues\b/g;

/** Imports that point the wrong way. */
export function wrongImports(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((file) => {
    const allowed = MAY_IMPORT[layerOf(file.path)];
    if (allowed === undefined) return [];
    return importsOf(file)
      .filter((target) => isOwn(target) && !mayImport(file.path, target, allowed))
      .map((target) => `${file.path} imports ${target}`);
  });
}

/** Packages and built-ins that the core must not know. */
export function foreignImports(sources: readonly Source[]): readonly string[] {
  return sources
    .filter(({ path }) => isCore(path))
    .flatMap((file) => {
      const foreign = importsOf(file).filter((target) => !isOwn(target) && !CORE_BUILT_INS.includes(target));
      return foreign.map((target) => `${file.path} imports ${target}`);
    });
}

/** Clocks, timers, chance and environment that were not handed in. */
export function ambientUses(sources: readonly Source[]): readonly string[] {
  return sources.filter(({ path }) => isCore(path)).flatMap(({ path, code }) => [...code.matchAll(AMBIENT)].map(([use]) => `${path} uses ${use}`));
}

/** Files that import themselves, by however many steps; each cycle once. */
export function cycles(sources: readonly Source[]): readonly string[] {
  const imports = new Map(sources.map((file) => [file.path, importsOf(file)]));
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const before = trail.indexOf(path);
    if (before >= 0) found.push([...trail.slice(before), path].join(" → "));
    if (before >= 0 || done.has(path)) return;
    for (const target of imports.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return found;
}

/** Files other than the package's entries that pass on a whole module, and index files. */
export function barrels(sources: readonly Source[]): readonly string[] {
  return sources
    .filter(({ path, code }) => !ENTRIES.includes(path) && (posix.basename(path) === "index.ts" || /^export\s*\*/m.test(code)))
    .map(({ path }) => path);
}

export function tooLong(sources: readonly Source[]): readonly string[] {
  return sources.filter(({ lines }) => lines > LINES_MAX).map(({ path, lines }) => `${path} has ${lines} lines`);
}

/** Unit tests that lie in a folder that lib/ does not have. */
export function strayTests(sources: readonly Source[]): readonly string[] {
  const folders = new Set(sources.map(({ path }) => posix.dirname(path)));
  return sources
    .filter(({ path }) => path.startsWith("test/unit/") && path.endsWith(".test.ts"))
    .filter(({ path }) => !folders.has(posix.dirname(path).replace(/^test\/unit/, "lib")))
    .map(({ path }) => path);
}

function layerOf(path: string): string {
  const [top, folder] = path.split("/");
  if (top !== "lib") return top;
  if (ENTRIES.includes(path)) return "entries";
  return MECHANISMS.includes(folder) ? "mechanisms" : folder;
}

function mayImport(from: string, target: string, allowed: readonly string[]): boolean {
  const layer = layerOf(target);
  return layer === layerOf(from) || allowed.includes(layer) || allowed.some((name) => target.startsWith(`lib/${name}/`));
}

function isCore(path: string): boolean {
  return CORE.some((folder) => path.startsWith(`lib/${folder}/`));
}

/** A path from the root, not a package's name. */
function isOwn(target: string): boolean {
  return target.endsWith(".ts") || target.endsWith(".json");
}
