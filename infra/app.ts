// The CDK app: one pipeline with settings from the context, checked against the AWS Solutions rules before it goes out.

import { App, Validations } from "aws-cdk-lib";
import { AwsSolutionsChecks } from "cdk-nag";
import { isTidemarkError } from "../lib/model/errors.ts";
import { parseSettings } from "./settings.ts";
import { TidemarkStack } from "./tidemark-stack.ts";

const EXIT_WRONG_CALL = 2;

try {
  const app = new App();
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app, { verbose: true }));
  new TidemarkStack(app, parseSettings(app.node.getAllContext()));
} catch (error) {
  if (!isTidemarkError(error)) throw error;
  console.error(error.message);
  process.exitCode = EXIT_WRONG_CALL;
}
