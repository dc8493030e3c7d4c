// The layout is held by this test: imports point one way, model ← ports ← mechanisms ← jobs ← doors.

import { describe, expect, test } from "vitest";
import { ambientUses, barrels, cycles, foreignImports, strayTests, tooLong, wrongImports } from "./laws.ts";
import { readSources, source } from "./sources.ts";

const sources = readSources();

describe("the sources", () => {
  test("import only from the layers below their own", () => expect(wrongImports(sources)).toEqual([]));
  test("of the core import no package", () => expect(foreignImports(sources)).toEqual([]));
  test("of the core use no clock, timer, chance or environment that was not handed in", () => expect(ambientUses(sources)).toEqual([]));
  test("import each other without a cycle", () => expect(cycles(sources)).toEqual([]));
  test("pass nothing on, but for the package's entries", () => expect(barrels(sources)).toEqual([]));
  test("are short files", () => expect(tooLong(sources)).toEqual([]));
  test("have their unit tests where they lie themselves", () => expect(strayTests(sources)).toEqual([]));
});

describe("the laws find", () => {
  const wrong = (path: string, text: string) => [source(path, text)];

  test("a model that imports a port", () => {
    const file = wrong("lib/model/batch.ts", 'import type { Clock } from "../ports/clock.ts";\n');
    expect(wrongImports(file)).toEqual(["lib/model/batch.ts imports lib/ports/clock.ts"]);
  });

  test("an adapter that imports a mechanism, and a command that does", () => {
    expect(wrongImports(wrong("lib/adapters/local/store.ts", 'import { append } from "../../redo-log/append.ts";\n'))).toHaveLength(1);
    expect(wrongImports(wrong("cli/append.ts", 'import { append } from "../lib/redo-log/append.ts";\n'))).toHaveLength(1);
    expect(wrongImports(wrong("cli/recover.ts", 'import { recover } from "../lib/recovery/recover.ts";\n'))).toEqual([]);
  });

  test("a package in the core, by whatever form of import", () => {
    expect(foreignImports(wrong("lib/jobs/run.ts", 'import {\n  a,\n  b,\n} from "zod";\n'))).toEqual(["lib/jobs/run.ts imports zod"]);
    expect(foreignImports(wrong("lib/jobs/run.ts", 'const fs = await import("node:fs");\n'))).toEqual(["lib/jobs/run.ts imports node:fs"]);
    expect(foreignImports(wrong("lib/jobs/run.ts", 'import "zod";\n'))).toEqual(["lib/jobs/run.ts imports zod"]);
  });

  test("an ambient clock, but not a word in a comment", () => {
    expect(ambientUses(wrong("lib/jobs/run.ts", "const now = Date.now();\n"))).toEqual(["lib/jobs/run.ts uses Date.now"]);
    expect(ambientUses(wrong("lib/jobs/run.ts", "// Date.now is not used\n/* nor\n new Date() */ const at = new Date(0);\n"))).toEqual([]);
  });

  test("a cycle of three files", () => {
    const files = ["a", "b", "c"].map((name, at) => source(`lib/model/${name}.ts`, `import { x } from "./${"bca"[at]}.ts";\n`));
    expect(cycles(files)).toEqual(["lib/model/a.ts → lib/model/b.ts → lib/model/c.ts → lib/model/a.ts"]);
  });

  test("a barrel, a long file and a stray test", () => {
    expect(barrels(wrong("lib/model/index.ts", 'export * from "./batch.ts";\n'))).toEqual(["lib/model/index.ts"]);
    expect(tooLong(wrong("lib/model/batch.ts", "\n".repeat(401)))).toEqual(["lib/model/batch.ts has 401 lines"]);
    expect(strayTests(wrong("test/unit/nowhere/a.test.ts", ""))).toEqual(["test/unit/nowhere/a.test.ts"]);
  });
});
