// Ends the run with one line that a machine can read: `N passed, N failed, N skipped`. What was skipped is named above it.
// A file that could not be loaded, and an error outside every test, count as failed.

import type { SerializedError } from "vitest";
import type { Reporter, TestModule, TestRunEndReason } from "vitest/node";

export default class CountingReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[], reason: TestRunEndReason): void {
    let passed = 0;
    let failed = unhandled.length;
    const skipped: string[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") passed++;
        else if (result.state === "failed") failed++;
        else if (result.state === "skipped") skipped.push(`${module.relativeModuleId}: ${test.fullName}: ${result.note ?? "no reason given"}`);
        else skipped.push(`${module.relativeModuleId}: ${test.fullName}: the run ended before it did`);
      }
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
    }
    // A run that failed for a reason that no test shows must not look like one that passed.
    if (reason !== "passed" && failed === 0) failed = 1;
    const lines = [...skipped.map((what) => `skipped: ${what}`), `${passed} passed, ${failed} failed, ${skipped.length} skipped`];
    process.stdout.write(`${lines.join("\n")}\n`);
  }
}
