// The history of a git repository as a change stream: each commit of the first-parent chain is a batch, each path a key,
// and {"blob","mode","size"} its value (a submodule has the commit it points to, and no size). What the changes amount to
// is told by `git ls-tree`, which looks at the tree of the one commit and knows nothing of how it came about.

import { isUtf8 } from "node:buffer";
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Readable, type Writable } from "node:stream";
import { promisify } from "node:util";
import { callError, isTidemarkError } from "../lib/model/errors.ts";
import { KEY_BYTES_MAX } from "../lib/model/limits.ts";
import type { Mutation } from "../lib/model/mutation.ts";
import type { ChangeStream, Step } from "./change-stream.ts";

const SUBMODULE = "160000";
const OUTPUT_BYTES_MAX = 2 ** 30;
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_")));

interface Commit {
  readonly id: string;
  readonly parent: string | undefined;
}

/** @throws {TidemarkError} `call` "no-git", "no-repository" or "no-history" */
export async function gitHistory(path: string): Promise<ChangeStream> {
  const gitDirectory = (await git(path, "rev-parse", "--absolute-git-dir")).trimEnd();
  const commits = await firstParentChain(gitDirectory);
  const branch = (await git(gitDirectory, "rev-parse", "--abbrev-ref", "HEAD")).trimEnd();
  const strange = new Set<string>();
  return {
    subject: `the git history of ${path} (${branch === "HEAD" ? commits[commits.length - 1].id.slice(0, 12) : branch})`,
    unit: "commits",
    witness: "git ls-tree",
    producer: "git",
    steps: commits.length,
    read: () => readCommits(gitDirectory, commits, strange),
    stateAfter: (place) => treeOf(gitDirectory, commits[place - 1].id),
    notes: () => (strange.size === 0 ? [] : [`${strange.size} paths were left out: a key is UTF-8 text of at most ${KEY_BYTES_MAX} bytes`]),
  };
}

/** Whether the directory is the top of a working tree, and not merely somewhere inside of one. */
export async function isRepositoryTop(path: string): Promise<boolean> {
  try {
    return (await git(path, "rev-parse", "--show-prefix")).trimEnd() === "";
  } catch (error) {
    if (isTidemarkError(error)) return false;
    throw error;
  }
}

/** From the oldest on. In a shallow clone it begins with a commit that stands for all before it. */
async function firstParentChain(gitDirectory: string): Promise<readonly Commit[]> {
  const lines = (await git(gitDirectory, "rev-list", "--first-parent", "--parents", "--reverse", "HEAD")).trimEnd().split("\n");
  return lines.map((line) => {
    const [id, parent] = line.split(" ");
    return { id, parent };
  });
}

async function* readCommits(gitDirectory: string, commits: readonly Commit[], strange: Set<string>): AsyncGenerator<Step> {
  const sizes = blobSizes(gitDirectory);
  try {
    let place = 0;
    for await (const { id, changes } of readDiffs(gitDirectory, commits)) {
      // A commit that changed nothing is not in git's output.
      while (commits[place].id !== id) yield { place: ++place, label: commits[place - 1].id, mutations: [] };
      const kept = changes.filter(({ path }) => isKey(path, strange));
      const sized = await sizes.of(kept.filter(isBlob).map(({ blob }) => blob));
      const mutations = kept.map((change): Mutation => {
        if (change.deleted) return { kind: "delete", key: change.path };
        return { kind: "put", key: change.path, value: valueOf(change, isBlob(change) ? sized.get(change.blob) : undefined) };
      });
      yield { place: ++place, label: id, mutations };
    }
    while (place < commits.length) yield { place: ++place, label: commits[place - 1].id, mutations: [] };
  } finally {
    sizes.close();
  }
}

interface Change {
  readonly path: Buffer;
  readonly blob: string;
  readonly mode: string;
  readonly deleted: boolean;
}

function isBlob({ mode, deleted }: Change): boolean {
  return !deleted && mode !== SUBMODULE;
}

function valueOf({ blob, mode }: Change, size: number | undefined): Buffer {
  return Buffer.from(JSON.stringify({ blob, mode, size: size ?? null }));
}

/** Every commit's difference from its first parent, as `git diff-tree` prints it: the commit's id, then ":… status" and path in turn. */
async function* readDiffs(gitDirectory: string, commits: readonly Commit[]): AsyncGenerator<{ readonly id: string; readonly changes: readonly Change[] }> {
  const child = start(gitDirectory, ["diff-tree", "--stdin", "-r", "--root", "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=none"]);
  const questions = commits.map(({ id, parent }) => (parent === undefined ? `${id}\n` : `${id} ${parent}\n`));
  Readable.from(questions).pipe(child.stdin);
  try {
    let id: string | undefined;
    let changes: Change[] = [];
    let header: string | undefined;
    for await (const token of splitAtNul(child.stdout)) {
      if (header !== undefined) {
        changes.push(changeOf(header, token));
        header = undefined;
      } else if (token[0] === 0x3a) {
        header = token.toString("latin1");
      } else {
        if (id !== undefined) yield { id, changes };
        id = token.toString("latin1").trim();
        changes = [];
      }
    }
    if (id !== undefined) yield { id, changes };
    await succeeded(child);
  } finally {
    child.kill();
  }
}

/** ":100644 100755 <blob before> <blob after> M" */
function changeOf(header: string, path: Buffer): Change {
  const [, mode, , blob, status] = header.slice(1).split(" ");
  return { path, blob, mode, deleted: status === "D" };
}

/** One `git cat-file` for all commits: ids in, sizes out, in their order. */
function blobSizes(gitDirectory: string): { of(blobs: readonly string[]): Promise<ReadonlyMap<string, number>>; close(): void } {
  const child = start(gitDirectory, ["cat-file", "--batch-check=%(objectname) %(objectsize)"]);
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async of(blobs) {
      const wanted = [...new Set(blobs)];
      const sizes = new Map<string, number>();
      if (wanted.length > 0) child.stdin.write(wanted.map((id) => `${id}\n`).join(""));
      for (const id of wanted) {
        const answer = await answers.next();
        const [name, size] = answer.done === true ? [] : answer.value.split(" ");
        if (name !== id || !/^[0-9]+$/.test(size)) throw callError("no-blob", `git does not have blob ${id}: use a clone that is not partial`);
        sizes.set(id, Number(size));
      }
      return sizes;
    },
    close: () => child.kill(),
  };
}

/** "100644 blob <id>     123\t<path>", with "-" for the size of a submodule. */
async function treeOf(gitDirectory: string, commit: string): Promise<ReadonlyMap<string, unknown>> {
  const child = start(gitDirectory, ["ls-tree", "-r", "-z", "--long", "--full-tree", commit]);
  child.stdin.end();
  const tree = new Map<string, unknown>();
  const strange = new Set<string>();
  for await (const line of splitAtNul(child.stdout)) {
    const tab = line.indexOf(0x09);
    const path = line.subarray(tab + 1);
    if (!isKey(path, strange)) continue;
    const [mode, , blob, size] = line.toString("latin1", 0, tab).split(/ +/);
    tree.set(path.toString("utf8"), { blob, mode, size: size === "-" ? null : Number(size) });
  }
  await succeeded(child);
  return tree;
}

function isKey(path: Buffer, strange: Set<string>): boolean {
  if (isUtf8(path) && path.length <= KEY_BYTES_MAX) return true;
  strange.add(path.toString("latin1"));
  return false;
}

async function* splitAtNul(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    let from = 0;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, from)) {
      yield bytes.subarray(from, end);
      from = end + 1;
    }
    rest = bytes.subarray(from);
  }
}

type Git = ChildProcessByStdio<Writable, Readable, null>;

function start(gitDirectory: string, args: readonly string[]): Git {
  const child = spawn("git", [`--git-dir=${gitDirectory}`, ...args], { cwd: gitDirectory, env: ENVIRONMENT, stdio: ["pipe", "pipe", "inherit"] });
  // A git that ends early is told by its exit code, not by the pipe that it closed.
  child.stdin.on("error", () => undefined);
  return child;
}

async function succeeded(child: Git): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  if (child.exitCode !== 0) throw callError("git-failed", `git ended with ${child.exitCode ?? child.signalCode}: its message stands above`);
}

async function git(path: string, ...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("git", ["-C", path, ...args], { env: ENVIRONMENT, maxBuffer: OUTPUT_BYTES_MAX });
    return stdout;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") throw callError("no-git", "git is not installed, or not on the PATH", error);
    const why = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw callError("no-repository", `${path} is no git repository with a commit: ${why}`, error);
  }
}
