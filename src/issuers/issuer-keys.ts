/** The keys of a trusted issuer: where its metadata say they are, or where the operator says. Nothing is fetched before the first JWT. */
import type { JWTVerifyGetKey } from "jose";
import { boundedFetch } from "../identity/oidc/bounded-response.ts";
import { createProviderKeys, type KeyOwner } from "../identity/oidc/provider-keys.ts";
import { causes, UnavailableError } from "../oauth/errors.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { IssuerSettings } from "./trusted-issuer.ts";

/** Metadata are fetched again after this, so that an issuer may move its keys … */
const METADATA_SECONDS = 3_600;
/** … and after a failure this soon. */
const RETRY_SECONDS = 10;

/** What an issuer's metadata say that is used here. */
export interface IssuerMetadata {
  readonly jwksUri: string;
  readonly introspectionEndpoint?: string;
}

export interface TrustedIssuerAccess {
  readonly keys: JWTVerifyGetKey;
  /** @throws UnavailableError */
  metadata(): Promise<IssuerMetadata>;
}

type Clock = Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch">;

export function createIssuerAccess(settings: IssuerSettings, runtime: Clock): TrustedIssuerAccess {
  const metadata = keptMetadata(settings, runtime);
  let source: ReturnType<typeof createProviderKeys> | undefined;
  const keysAt = (uri: string) => {
    if (source?.uri !== uri)
      source = createProviderKeys(uri, settings.timeoutSeconds, runtime, ownerOf(settings));
    return source;
  };
  return {
    metadata,
    keys: async (header, token) => {
      const uri = settings.jwksUri ?? (await metadata()).jwksUri;
      return keysAt(uri).ofBearersToken(header, token);
    },
  };
}

/** One look at a time; what was found serves on while the issuer is out of reach. */
function keptMetadata(settings: IssuerSettings, runtime: Clock): () => Promise<IssuerMetadata> {
  const { now: wallClock, monotonicNow: now = wallClock, log } = runtime;
  let known: IssuerMetadata | undefined;
  let nextAt = 0;
  let failure: unknown;
  let underWay: Promise<IssuerMetadata> | undefined;

  async function attempt(): Promise<IssuerMetadata> {
    try {
      known = await fetchIssuerMetadata(settings, runtime);
      nextAt = now() + METADATA_SECONDS;
      return known;
    } catch (cause) {
      failure = cause;
      nextAt = now() + RETRY_SECONDS;
      log.error(
        { reason: "issuer_metadata_failed", issuer: settings.issuer, cause: causes(cause) },
        "The metadata of a trusted issuer could not be fetched: its tokens cannot be verified until they are. Is its name right?",
      );
      if (known !== undefined) return known;
      throw outageOf(settings, "issuer_metadata_failed", cause, { retryAfterSeconds: RETRY_SECONDS });
    } finally {
      underWay = undefined;
    }
  }

  return async () => {
    const isDue = now() >= nextAt;
    if (isDue) underWay ??= attempt();
    if (known !== undefined) return known;
    if (underWay !== undefined) return underWay;
    throw outageOf(settings, "issuer_metadata_failed", failure, { retryAfterSeconds: RETRY_SECONDS });
  };
}

/**
 * One look at an issuer's metadata: OpenID Connect Discovery §4, or else RFC 8414 §3.
 * @throws Error that says what is wrong with them
 */
export async function fetchIssuerMetadata(
  { issuer, timeoutSeconds }: IssuerSettings,
  runtime: Pick<Runtime, "fetch">,
): Promise<IssuerMetadata> {
  const problems: string[] = [];
  for (const url of metadataUrls(issuer)) {
    const options = {
      headers: { accept: "application/json" },
      redirect: "manual" as const,
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    };
    const response = await boundedFetch(url, options, runtime);
    if (response.status === 200) return readMetadata(issuer, url, await response.json());
    await response.body?.cancel();
    problems.push(`HTTP ${response.status} at ${url}`);
  }
  throw new Error(`The issuer publishes no metadata: ${problems.join(", ")}`);
}

function metadataUrls(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname === "/" ? "" : pathname.replace(/\/$/, "");
  return [
    `${origin}${path}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
  ];
}

function readMetadata(issuer: string, url: string, document: unknown): IssuerMetadata {
  const { issuer: named, jwks_uri: jwksUri, introspection_endpoint: endpoint } = Object(document);
  if (named !== issuer)
    throw new Error(`The metadata at ${url} are those of ${JSON.stringify(named)}, and not of ${issuer}`);
  if (!isEndpoint(jwksUri, issuer)) throw new Error(`The metadata at ${url} name no https jwks_uri`);
  return { jwksUri, ...(isEndpoint(endpoint, issuer) && { introspectionEndpoint: endpoint }) };
}

/** Whoever is on the network could answer by http. An issuer of this computer may, for development. */
function isEndpoint(value: unknown, issuer: string): value is string {
  const schemes = issuer.startsWith("http:") ? ["http:", "https:"] : ["https:"];
  return typeof value === "string" && URL.canParse(value) && schemes.includes(new URL(value).protocol);
}

function ownerOf(settings: IssuerSettings): KeyOwner {
  return {
    reasons: { failed: "issuer_keys_failed", askedLately: "issuer_keys_asked_lately" },
    message:
      "The keys of a trusted issuer could not be fetched: its tokens cannot be verified until they are",
    outage: (reason, cause, more) => outageOf(settings, reason, cause, more),
  };
}

export function outageOf(
  { issuer }: Pick<IssuerSettings, "issuer">,
  reason: ReasonCode,
  cause: unknown,
  { retryAfterSeconds }: { retryAfterSeconds: number },
): UnavailableError {
  return new UnavailableError("issuer of the token", {
    reason,
    cause: new Error(`the trusted issuer ${issuer} is out of reach`, { cause }),
    retryAfterSeconds,
  });
}
