// A stack with one pipeline, synthesized with empty bundles: the tests here need no build.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { afterAll } from "vitest";
import { FUNCTION_NAMES } from "../../infra/functions.ts";
import { parseSettings } from "../../infra/settings.ts";
import { SnapshotPipeline, type SnapshotPipelineProps } from "../../infra/snapshot-pipeline.ts";
import { TidemarkStack } from "../../infra/tidemark-stack.ts";

const folder = mkdtempSync(join(tmpdir(), "tidemark-infra-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

export const BUNDLES = join(folder, "functions");
for (const name of FUNCTION_NAMES) {
  mkdirSync(join(BUNDLES, name), { recursive: true });
  writeFileSync(join(BUNDLES, name, "index.cjs"), "exports.handler = async () => undefined;\n");
}

export interface Scene {
  readonly stack: Stack;
  readonly pipeline: SnapshotPipeline;
  readonly template: Template;
}

/** `around` makes what the props name, in the same stack; `also` does more with the pipeline, such as grants. */
export function synthesize(around: SnapshotPipelineProps | ((stack: Stack) => SnapshotPipelineProps) = {}, also?: (pipeline: SnapshotPipeline) => void): Scene {
  const stack = new Stack(emptyApp(), "Test");
  const props = typeof around === "function" ? around(stack) : around;
  const pipeline = new SnapshotPipeline(stack, "Pipeline", { bundles: BUNDLES, ...props });
  also?.(pipeline);
  return { stack, pipeline, template: Template.fromStack(stack) };
}

/** The stack of the app, as `cdk -c NAME=VALUE` would make it. */
export function synthesizeApp(context: Readonly<Record<string, unknown>> = {}): Scene {
  const stack = new TidemarkStack(emptyApp(), parseSettings({ bundles: BUNDLES, ...context }));
  return { stack, pipeline: stack.pipeline, template: Template.fromStack(stack) };
}

/** With the feature flags of cdk.json, as the CLI hands them over; its check of the template takes seconds and has one test of its own. */
function emptyApp(): App {
  const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
  return new App({
    builtinCloudFormationValidation: false,
    outdir: mkdtempSync(join(folder, "assembly-")),
    analyticsReporting: false,
    context: { ...context, "aws:cdk:enable-path-metadata": true },
  });
}

/** The properties of the one resource of the type whose construct path ends with `id`. */
export function propertiesOf({ template }: Pick<Scene, "template">, type: string, id: string): Record<string, unknown> {
  const found = Object.values(template.findResources(type)).filter(({ Metadata }) => Metadata?.["aws:cdk:path"]?.endsWith(`/${id}/Resource`));
  if (found.length !== 1) throw new Error(`there are ${found.length} resources of type ${type} named ${id}`);
  return found[0].Properties;
}
