// Bundles the functions for Lambda: one file for each, with all it imports, so that a start reads one file and what runs
// is what was tested. Run by `npm run build`.

import { readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build, type BuildOptions } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const OUT = fileURLToPath(new URL("../dist/functions/", import.meta.url));
const NODE = "node24";

/**
 * Lambda's credentials are in the environment, where the SDK looks first. Its other ways to them are imported only when
 * all before have failed; in a bundle they would be a tenth of what a start reads.
 */
const NOT_IN_LAMBDA = [
  "@aws-sdk/credential-provider-http",
  "@aws-sdk/credential-provider-ini",
  "@aws-sdk/credential-provider-process",
  "@aws-sdk/credential-provider-sso",
  "@aws-sdk/credential-provider-web-identity",
  "@smithy/credential-provider-imds",
];

/**
 * How a program becomes one file for Lambda. CommonJS: an `import` of one of Node's own modules, unlike a require(), reads all
 * that the module exports, and that of `node:http` loads undici with it: a seventh of the CPU of a start, and 3 MB.
 */
export const FOR_LAMBDA = {
  outExtension: { ".js": ".cjs" },
  bundle: true,
  minify: true,
  // Names of functions and classes stand in logs and stack traces.
  keepNames: true,
  format: "cjs",
  supported: { "dynamic-import": false },
  platform: "node",
  target: NODE,
  mainFields: ["module", "main"],
  external: NOT_IN_LAMBDA,
  logLevel: "warning",
} satisfies BuildOptions;

export interface Bundle {
  readonly name: string;
  readonly bytes: number;
}

/** Each function's bundle, as `NAME/index.cjs` below `out`; folders of functions that are no more go. */
export async function bundleFunctions(out = OUT): Promise<readonly Bundle[]> {
  const files = await readdir(HERE);
  const names = files.filter((file) => file.endsWith(".ts") && file !== "bundle.ts").map((file) => file.slice(0, -".ts".length));
  const { metafile } = await build({
    ...FOR_LAMBDA,
    entryPoints: names.map((name) => ({ in: `${HERE}${name}.ts`, out: `${name}/index` })),
    outdir: out,
    metafile: true,
  });
  const left = (await readdir(out)).filter((folder) => !names.includes(folder));
  for (const folder of left) await rm(`${out}/${folder}`, { recursive: true });
  return Object.entries(metafile.outputs).map(([path, { bytes }]) => ({ name: path.split("/").at(-2) ?? path, bytes }));
}

if (import.meta.main) for (const { name, bytes } of await bundleFunctions()) console.log(`${name}: ${Math.round(bytes / 1024)} KiB`);
