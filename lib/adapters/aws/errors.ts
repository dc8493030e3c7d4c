// What S3 and DynamoDB answer when they do not answer as asked, as faults that say what the caller can do. The only
// place that reads the names of their errors, but for those that the ports know as outcomes.
//
// A request without an answer (a time-out, a reset connection, most 5xx) may have had its effect: "retry" says that.

import { callError, isTidemarkError, TidemarkError } from "../../model/errors.ts";

/** The name of an error, as the service or the SDK gives it; "" for what is no error. */
export function awsErrorName(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** The status of the answer; undefined where there was none. */
export function awsStatus(error: unknown): number | undefined {
  const status = property(property(error, "$metadata"), "httpStatusCode");
  return typeof status === "number" ? status : undefined;
}

/** How often the SDK sent the request: more than once, and an earlier one may have had the effect. */
export function awsAttempts(error: unknown): number {
  const attempts = property(property(error, "$metadata"), "attempts");
  return typeof attempts === "number" ? attempts : 1;
}

/** Does the work; an error of the SDK comes out as a fault that names the resource, as in `bucket "states"`, and the rights that the work needs. */
export async function orAwsFault<T>(resource: string, work: () => Promise<T>, rights?: string): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw awsFault(error, resource, rights);
  }
}

export function awsFault(error: unknown, resource: string, rights?: string): TidemarkError {
  if (isTidemarkError(error)) return error;
  const name = awsErrorName(error);
  const known = CALL_FAULTS.get(name) ?? CALL_FAULTS.get(systemCode(error)) ?? (lacksRegion(error) ? NO_REGION : undefined);
  if (known !== undefined) return fault(known, error, { resource, rights });
  if (name.startsWith("KMS.") && !isPassing(error, name))
    return callError("no-key", `${resource}: its encryption key cannot be used: enable the key and let this caller use it (${detail(error)})`, error);
  if (ACCOUNT_LIMITS.has(name)) {
    return new TidemarkError("wait", "account-limit", `${resource}: a limit of the account is reached: raise it or wait (${detail(error)})`, { cause: error });
  }
  if (isPassing(error, name)) {
    return new TidemarkError("retry", "no-answer", `${resource}: no answer, or a passing refusal; call again (${detail(error)})`, { cause: error });
  }
  // An answer to HEAD has no body; that the region is wrong, S3 then says by this alone.
  if (awsStatus(error) === 400 && name.startsWith("Unknown") && regionOf(error) !== undefined) return fault(WRONG_REGION, error, { resource, rights });
  if (awsStatus(error) === 307 && regionOf(error) === undefined) {
    const message = `${resource}: the address of a new bucket takes some minutes to be known everywhere: wait, and call again (${detail(error)})`;
    return new TidemarkError("wait", "new-bucket", message, { cause: error });
  }
  const byStatus = STATUS_FAULTS.get(awsStatus(error) ?? 0);
  if (byStatus !== undefined) return fault(byStatus, error, { resource, rights });
  return new TidemarkError("bug", "refused-request", `${resource}: the request was refused (${detail(error)})`, { cause: error });
}

export function missingBucket(resource: string, error: unknown): TidemarkError {
  return fault(NO_BUCKET, error, { resource, rights: undefined });
}

function fault(
  { code, remedy }: CallFault,
  error: unknown,
  { resource, rights }: { readonly resource: string; readonly rights: string | undefined },
): TidemarkError {
  const region = code === WRONG_REGION.code ? regionOf(error) : undefined;
  const where = region === undefined ? "" : `, which is ${region}`;
  const lacking = code === NO_ACCESS.code && rights !== undefined ? `: this call needs ${rights}` : "";
  return callError(code, `${resource}: ${remedy}${where}${lacking} (${detail(error)})`, error);
}

/** The SDK has no name for it. */
function lacksRegion(error: unknown): boolean {
  return error instanceof Error && /^Region (?:is missing|not accepted)/.test(error.message);
}

/** Where S3 says that the bucket lies. */
function regionOf(error: unknown): string | undefined {
  const region = property(property(property(error, "$response"), "headers"), "x-amz-bucket-region") ?? property(error, "Region");
  return typeof region === "string" && region !== "" ? region : undefined;
}

interface CallFault {
  readonly code: string;
  readonly remedy: string;
}

const NO_CREDENTIALS: CallFault = {
  code: "no-credentials",
  remedy: "the credentials are missing, wrong or expired: sign in again, or set AWS_PROFILE or the AWS_* variables",
};
const NO_ACCESS: CallFault = {
  code: "no-access",
  remedy: "access is denied: give this caller the rights in its IAM policy, and look at the resource's own policy",
};
const NO_BUCKET: CallFault = { code: "no-bucket", remedy: "there is no such bucket: make it with `tidemark init`, or correct its name" };
const NO_TABLE: CallFault = {
  code: "no-control-table",
  remedy: "there is no such DynamoDB table, or it lacks the index `dirty`: make it with `tidemark init`, or correct its name and region",
};
const WRONG_REGION: CallFault = { code: "wrong-region", remedy: "it lies in another region: set AWS_REGION or the region of the client to its own" };
const NO_REGION: CallFault = { code: "no-region", remedy: "no region is set, or one that cannot be: set AWS_REGION or the region of the client" };
const WRONG_CLOCK: CallFault = { code: "wrong-clock", remedy: "this machine's clock is off by minutes: set it" };
const NAME_TAKEN: CallFault = { code: "name-taken", remedy: "the bucket belongs to another account: choose another name" };
const ARCHIVED: CallFault = {
  code: "archived-object",
  remedy: "an object lies in an archive: restore it with S3 first, and keep lifecycle rules from archiving",
};
const NO_SERVICE: CallFault = { code: "bad-endpoint", remedy: "what answers at its address does not speak its protocol: correct the endpoint" };
const BAD_ENDPOINT: CallFault = { code: "bad-endpoint", remedy: "its address cannot be reached: correct the endpoint or the region, and look at the network" };

const CALL_FAULTS = new Map<string, CallFault>([
  ...sameFault(NO_CREDENTIALS, [
    "CredentialsProviderError",
    "TokenProviderError",
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "InvalidToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "NotSignedUp",
  ]),
  ...sameFault(NO_ACCESS, ["AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "OptInRequired", "Forbidden"]),
  ...sameFault(NO_BUCKET, ["NoSuchBucket"]),
  ...sameFault(NO_TABLE, ["ResourceNotFoundException", "TableNotFoundException"]),
  ...sameFault(WRONG_REGION, ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint"]),
  ...sameFault(NO_REGION, ["ConfigError"]),
  ...sameFault(WRONG_CLOCK, ["RequestTimeTooSkewed", "RequestExpired"]),
  ...sameFault(NAME_TAKEN, ["BucketAlreadyExists"]),
  ...sameFault(ARCHIVED, ["InvalidObjectState", "ObjectNotInActiveTierError"]),
  ...sameFault(BAD_ENDPOINT, ["ENOTFOUND", "EHOSTUNREACH", "ERR_INVALID_URL", "InvalidEndpointException"]),
]);

/** For answers without a body, as those to HEAD, which bear no name. */
const STATUS_FAULTS = new Map<number, CallFault>([
  [301, WRONG_REGION],
  [307, WRONG_REGION],
  [401, NO_CREDENTIALS],
  [403, NO_ACCESS],
  [404, NO_SERVICE],
]);

const ACCOUNT_LIMITS = new Set(["LimitExceededException", "TooManyBuckets", "ServiceQuotaExceededException", "ItemCollectionSizeLimitExceededException"]);

const PASSING = new Set([
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "ThrottledException",
  "KMS.ThrottlingException",
  "TooManyRequestsException",
  "RequestThrottled",
  "RequestThrottledException",
  "BandwidthLimitExceeded",
  "ProvisionedThroughputExceededException",
  "RequestLimitExceeded",
  "PriorRequestNotComplete",
  "RequestTimeout",
  "RequestTimeoutException",
  "TimeoutError",
  "AbortError",
  "InternalError",
  "InternalServerError",
  "ServiceUnavailable",
  "OperationAborted",
  "ConditionalRequestConflict",
  "TransactionConflictException",
  "TransactionInProgressException",
  "ReplicatedWriteConflictException",
  "IncompleteBody",
  "BadDigest",
  "XAmzContentChecksumMismatch",
  "IDPCommunicationError",
]);

const PASSING_SYSTEM_CODES = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETUNREACH",
  "ENETDOWN",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_HTTP2_STREAM_ERROR",
]);

/** An answer that is no HTTP, or was garbled on its way, says nothing of what was done: Node's parser and OpenSSL have many names for it. */
const GARBLED = /^(?:HPE_|ERR_SSL_|EPROTO$)/;

function isPassing(error: unknown, name: string): boolean {
  const status = awsStatus(error) ?? 0;
  const code = systemCode(error);
  if (PASSING.has(name) || PASSING_SYSTEM_CODES.has(code) || GARBLED.test(code) || status >= 500 || status === 429 || status === 408) return true;
  if (property(error, "$retryable") !== undefined) return true;
  // The SDK compares a body with its checksum while it is read, and an answer that was cut off cannot be parsed.
  if (!(error instanceof Error)) return false;
  if (error.message.startsWith("Checksum mismatch") || error.message === "aborted" || error.message === "socket hang up") return true;
  return property(error, "$response") !== undefined && status < 300;
}

function sameFault(fault: CallFault, names: readonly string[]): readonly (readonly [string, CallFault])[] {
  return names.map((name) => [name, fault] as const);
}

function systemCode(error: unknown): string {
  const code = property(error, "code");
  return typeof code === "string" ? code : "";
}

function detail(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const status = awsStatus(error);
  return `${error.name}${status === undefined ? "" : ` ${status}`}: ${error.message}`;
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
