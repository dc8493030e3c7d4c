// The SDK's clients, made in this one place: how long they wait and how often they try. The SDK's own defaults wait
// without an end for an answer, and a Lambda function that waits so is killed at its limit and paid for until then.
//
// With S3 silence is what is bounded, not the length of a call: a part of 8 MiB over a slow line takes minutes and is
// sound as long as bytes move. (A limit on the whole would also be how long the SDK holds a body back from a server that
// never says "100 Continue".) Calls of DynamoDB are small: they are bounded as a whole.

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
/** How often a call is sent at most: the pauses between grow from 0.1 s, or from 0.5 s where the service asks for less. */
export const ATTEMPTS_MAX = 4;
/** The wait for a free socket counts too, so there are enough of them for the parallel appends of a table with many shards. */
const CONNECT_MS_MAX = 10_000;
const SOCKETS_MAX = 256;
/** How long a service may be silent. S3 sends blanks while a long completion takes its time. */
const S3_SILENCE_MS_MAX = 20_000;
const DYNAMODB_SILENCE_MS_MAX = 5_000;
/** How long the answer of DynamoDB may take to begin. */
const DYNAMODB_ANSWER_MS_MAX = 15_000;

export interface AwsClientsOptions {
  /** Default: as the SDK finds it (AWS_REGION, the profile). */
  readonly region?: string | undefined;
  /** Address of both services where it is not AWS, such as http://localhost:4566. */
  readonly endpoint?: string | undefined;
  /** Default: as the SDK finds them. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string } | undefined;
  /** How often a call is sent at most. Default: ATTEMPTS_MAX. */
  readonly attemptsMax?: number;
  /** How long a service may be silent, in ms. Default: S3_SILENCE_MS_MAX and DYNAMODB_SILENCE_MS_MAX. */
  readonly silenceMsMax?: number;
  /** As the object store has it: with "none" the SDK compares none of what it reads either. Default: "crc32". */
  readonly checksums?: Checksums | undefined;
}

export type Checksums = "crc32" | "none";

export interface AwsClients {
  readonly s3: S3Client;
  readonly dynamodb: DynamoDBClient;
  /** Closes the connections. */
  close(): void;
}

/** Nothing is sent before a client is used, so that one which is not needed costs nothing. */
export function awsClients(options: AwsClientsOptions = {}): AwsClients {
  const s3 = s3Client(options);
  const dynamodb = dynamodbClient(options);
  return {
    s3,
    dynamodb,
    close() {
      s3.destroy();
      dynamodb.destroy();
    },
  };
}

/** For a bundle that is to hold one of them. */
export function s3Client(options: AwsClientsOptions = {}): S3Client {
  const { endpoint, silenceMsMax = S3_SILENCE_MS_MAX, checksums } = options;
  // The object store says which request has one. By itself the SDK adds its own to any other, which S3 refuses of a part in an upload without.
  const requestChecksumCalculation = "WHEN_REQUIRED";
  const unchecked = checksums === "none" ? ({ responseChecksumValidation: "WHEN_REQUIRED" } as const) : {};
  // Other endpoints than AWS seldom serve a name for each bucket.
  return new S3Client({
    ...common(options),
    requestChecksumCalculation,
    ...unchecked,
    forcePathStyle: endpoint !== undefined,
    requestHandler: patience(silenceMsMax),
  });
}

export function dynamodbClient(options: AwsClientsOptions = {}): DynamoDBClient {
  const { silenceMsMax = DYNAMODB_SILENCE_MS_MAX } = options;
  const requestHandler = { ...patience(silenceMsMax), requestTimeout: DYNAMODB_ANSWER_MS_MAX, throwOnRequestTimeout: true };
  return new DynamoDBClient({ ...common(options), requestHandler });
}

function common({ region, endpoint, credentials, attemptsMax = ATTEMPTS_MAX }: AwsClientsOptions) {
  return {
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials !== undefined && { credentials }),
    maxAttempts: attemptsMax,
    // Not "adaptive": it holds back calls of this process before they are sent, for as long as it sees fit.
    retryMode: "standard",
  };
}

function patience(silenceMsMax: number) {
  const agent = { keepAlive: true, maxSockets: SOCKETS_MAX };
  return { connectionTimeout: CONNECT_MS_MAX, socketTimeout: silenceMsMax, httpAgent: agent, httpsAgent: agent };
}
