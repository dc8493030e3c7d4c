// The operating system's errors as faults that say what the caller can do.

import { callError, isTidemarkError, messageOf, TidemarkError } from "../../model/errors.ts";

/** The error's name in the operating system's words, as ENOENT; undefined for other errors. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return error.code;
}

/** Does the work; an error of the operating system comes out as a fault that names the store's directory. */
export async function orFault<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileFault(error, directory);
  }
}

export function noSpace(directory: string, cause: unknown): TidemarkError {
  const message = `no space is left for ${directory}: free some on its disk, raise the quota or file size limit, or move the store, then call again; nothing was left half-written`;
  return new TidemarkError("wait", "no-space", message, { cause });
}

export function noAccess(directory: string, cause: unknown): TidemarkError {
  return callError("no-access", `the system refuses access to ${directory}: let this user read and write it, or name another directory`, cause);
}

export function noLinks(directory: string, cause: unknown): TidemarkError {
  return callError("no-links", `the file system of ${directory} does not link files, on which the store rests: use a directory on another one`, cause);
}

export function fileFault(error: unknown, directory: string): unknown {
  const code = systemCode(error);
  if (isTidemarkError(error) || code === undefined) return error;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return noSpace(directory, error);
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return noAccess(directory, error);
    case "ENOTSUP":
    case "EOPNOTSUPP":
    case "EMLINK":
    case "EXDEV":
      return noLinks(directory, error);
    case "ENAMETOOLONG":
      return callError("name-too-long", `a name is too long for the file system of ${directory}: use shorter names`, error);
    case "ENOTDIR":
    case "EEXIST":
    case "ELOOP":
      return callError("not-a-directory", `a file stands where ${directory} needs a directory: ${messageOf(error)}; move it away`, error);
    case "EMFILE":
    case "ENFILE":
      return new TidemarkError("wait", "too-many-files", `too many files are open to work in ${directory}: close some, or raise the limit (ulimit -n)`, {
        cause: error,
      });
    case "EIO":
    case "EUCLEAN":
      return new TidemarkError(
        "repair",
        "disk-fault",
        `the disk of ${directory} fails: ${messageOf(error)}; check it, and restore the store from a copy if need be`,
        { cause: error },
      );
    default:
      return new TidemarkError("retry", "file-fault", `working in ${directory} failed: ${messageOf(error)}; call again`, { cause: error });
  }
}
