// Mutation testing of the core; README.md tells what comes of it, and what is left out.
//   npm run mutation -- --mutate 'lib/cleanup/**'

import { declareClassPlugin, declareValuePlugin, PluginKind } from "@stryker-mutator/api/plugin";
import { LoadedOnceRunner } from "./runner.ts";

/** They tell of an error, or state what no test can break: what is within them is for people. */
const TOLD = ["assert", "callError", "damagedObject", "damagedItem", "newerFormat", "TidemarkError", "refuse"];

/** They give memory back before the collector would: nothing else tells whether they were called. */
const FREES = ["release", "releaseRows", "releaseFold"];

interface Node {
  readonly type: string;
  readonly callee?: { readonly type: string; readonly name?: string };
  readonly expression?: Node;
}

export const strykerPlugins = [
  declareClassPlugin(PluginKind.TestRunner, "loaded-once", LoadedOnceRunner),
  declareValuePlugin(PluginKind.Ignore, "told", {
    shouldIgnore(path: { readonly node: Node }) {
      const { type, callee } = (path.node.type === "ExpressionStatement" && path.node.expression) || path.node;
      if (type !== "CallExpression" && type !== "NewExpression") return undefined;
      if (callee?.type !== "Identifier" || callee.name === undefined) return undefined;
      if (FREES.includes(callee.name)) return "it frees memory";
      return TOLD.includes(callee.name) ? "it tells of an error" : undefined;
    },
  }),
];

export default {
  plugins: [import.meta.filename],
  testRunner: "loaded-once",
  coverageAnalysis: "perTest",
  mutate: ["lib/{model,checkpoint,cleanup,planner,attachments,redo-log,recovery,jobs,machines,snapshot}/**/*.ts", "!lib/model/limits.ts"],
  mutator: { excludedMutations: ["StringLiteral"] },
  ignorers: ["told"],
  ignoreStatic: true,
  ignorePatterns: ["/*", "!/lib", "!/test", "!/package.json", "/test/influxdb", "/test/localstack", "/test/mutation"],
  tempDirName: ".stryker",
  incrementalFile: ".stryker/incremental.json",
  concurrency: 1,
  timeoutMS: 10_000,
  timeoutFactor: 2,
  reporters: ["clear-text", "json", "progress-append-only"],
  jsonReporter: { fileName: ".stryker/mutation.json" },
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false, allowEmojis: false },
};
