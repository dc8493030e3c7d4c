// The project's sources as text, and what they import. A scan by pattern is enough: the formatter leaves one way to write an import.

import { readdirSync, readFileSync } from "node:fs";
import { join, posix, relative } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const FOLDERS = ["lib", "cli", "functions", "infra", "test", "bench", "examples", "docs"];
const COMMENTS = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm;
const IMPORTS = /\b(?:from\s*|import\s*\(?\s*)"([^"\n]+)"/g;

export interface Source {
  /** From the project's root, with slashes. */
  readonly path: string;
  /** Without comments. */
  readonly code: string;
  readonly lines: number;
}

export function readSources(): readonly Source[] {
  return FOLDERS.flatMap((folder) => pathsBelow(folder)).map((path) => source(path, readFileSync(join(ROOT, path), "utf8")));
}

export function source(path: string, text: string): Source {
  return { path, code: text.replace(COMMENTS, ""), lines: text.split("\n").length - 1 };
}

/** What a source imports, exports from, or imports types of: paths from the root, or names of packages as they are written. */
export function importsOf({ path, code }: Source): readonly string[] {
  return [...code.matchAll(IMPORTS)].map(([, name]) => (name.startsWith(".") ? posix.join(posix.dirname(path), name) : name));
}

function pathsBelow(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name)).replaceAll("\\", "/"))
    .sort();
}
