// What both ways to run LocalStack have in common: what they give, and its settings.

export interface LocalStack {
  readonly endpoint: string;
  readonly how: "container" | "host";
  stop(): Promise<void>;
}

export const BEHAVIOUR = {
  // The older provider, still the default, misses records of a stream.
  PROVIDER_OVERRIDE_DYNAMODB: "v2",
  PROVIDER_OVERRIDE_DYNAMODBSTREAMS: "v2",
  DYNAMODB_IN_MEMORY: "1",
  SQS_ENDPOINT_STRATEGY: "path",
  // Event source mappings that found nothing would wait for up to 10 s.
  LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC: "0.2",
  LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC: "0.5",
  DISABLE_EVENTS: "1",
  LS_LOG: "debug",
};
