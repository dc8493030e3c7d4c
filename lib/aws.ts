// The store on AWS, or on whatever speaks the protocols of S3 and DynamoDB.

import { dynamodbCheckpointStore } from "./adapters/aws/checkpoint-store.ts";
import { awsClients, type Checksums } from "./adapters/aws/clients.ts";
import { s3ObjectStore } from "./adapters/aws/object-store.ts";
import { systemClock } from "./adapters/local/clock.ts";
import { cryptoRandom } from "./adapters/local/random.ts";
import { SILENT, type Store } from "./api/store.ts";
import type { Telemetry } from "./ports/telemetry.ts";

export interface AwsOptions {
  readonly bucket: string;
  /** Goes before every key, as it is: end it with a slash. Default: none. */
  readonly prefix?: string;
  /** Name of the DynamoDB table. */
  readonly table: string;
  /** Default: as the SDK finds it (AWS_REGION, the profile). */
  readonly region?: string | undefined;
  /** Address of both services where it is not AWS, such as http://localhost:4566. */
  readonly endpoint?: string | undefined;
  /** "none" for S3-compatible servers that tell no CRC-32 of a part that they copied: there captures would send what they could have copied. Default: "crc32". */
  readonly checksums?: Checksums | undefined;
  /** Is told what happens; nobody by default. */
  readonly telemetry?: Telemetry;
}

/** Bucket and table must be there: `tidemark init` makes them. Credentials are found as the AWS SDK does. */
export function aws({ bucket, prefix, table, region, endpoint, checksums, telemetry = SILENT }: AwsOptions): Store {
  return {
    async open() {
      const { s3, dynamodb, close } = awsClients({ region, endpoint, checksums });
      const objects = s3ObjectStore(s3, { bucket, checksums, ...(prefix !== undefined && { prefix }) });
      const world = { objects, checkpoints: dynamodbCheckpointStore(dynamodb, { table }), clock: systemClock(), random: cryptoRandom(), telemetry };
      return {
        world,
        async close() {
          close();
        },
      };
    },
  };
}
