/**
 * Clients whose client_id is the URL of a document about them (draft-ietf-oauth-client-id-metadata-document-03,
 * whose sections are cited here): no registration, the document is fetched when the client comes.
 */
import type { RegistrationRules } from "../../oauth/client-metadata.ts";
import { causes, OAuthError } from "../../oauth/errors.ts";
import { ClientMetadataError, type DocumentClient, parseClientIdMetadata, unusable } from "./document.ts";
import {
  createDocumentCache,
  type DocumentCacheOptions,
  type DocumentRequester,
  isDefinite,
  unavailable,
} from "./document-cache.ts";
import { ASSUMED_REACH, type DocumentReach, isOnTheWay } from "./document-reach.ts";
import { type DomainPolicy, domainRefusal } from "./domain-policy.ts";
import { SafeFetchError, type SafeFetchReason } from "./safe-fetch.ts";

export { ClientMetadataError, type DocumentClient } from "./document.ts";

export interface ClientIdMetadata {
  /**
   * The client of this URL, from its document.
   * @throws ClientMetadataError, what the requester throws, or UnavailableError when too many documents are being fetched
   */
  find(clientId: string, requester: DocumentRequester): Promise<DocumentClient>;
  /** See {@link DocumentCache.hold}. */
  hold(clientId: string, requester: Pick<DocumentRequester, "countStored">): Promise<void>;
}

const MAX_URL_LENGTH = 2_048;

export function createClientIdMetadata(
  dependencies: Pick<
    DocumentCacheOptions<DocumentClient>,
    "fetch" | "stored" | "now" | "monotonicNow" | "log" | "limits"
  > &
    RegistrationRules & {
      /** From which domains clients are welcome. */
      domains: DomainPolicy;
      /** Whether documents can be fetched from here at all. Default: it is taken for granted. */
      reach?: DocumentReach;
    },
): ClientIdMetadata {
  const { domains, reach = ASSUMED_REACH, fetch, stored, limits, now, monotonicNow, log } = dependencies;
  const documents = createDocumentCache({
    fetch,
    stored,
    ...(limits && { limits }),
    now,
    ...(monotonicNow && { monotonicNow }),
    log,
    parse: (body, clientId) => parseClientIdMetadata(body, clientId, dependencies, now()),
  });

  return {
    hold: documents.hold,
    async find(clientId, requester) {
      const problem = clientIdUrlProblem(clientId);
      if (problem !== undefined)
        throw new ClientMetadataError(`The application's client_id is a URL that ${problem}.`, {
          reason: "invalid_client_id_url",
        });
      refuseDomain(new URL(clientId).hostname, domains);
      try {
        return await documents.get(clientId, requester);
      } catch (error) {
        if (!(error instanceof SafeFetchError)) throw error;
        log.warn(
          { reason: error.reason, clientId, cause: causes(error) },
          "A client's metadata document cannot be fetched",
        );
        if (isOnTheWay(error)) throw noWayThere(clientId, error, reach);
        throw unusable(clientId, error.message, outwardReason(error), {
          temporary: !isDefinite(error),
          cause: error,
        });
      }
    },
  };
}

/** True for a client_id that is the URL of a metadata document (§3). */
export function isClientIdUrl(clientId: string): boolean {
  return clientIdUrlProblem(clientId) === undefined;
}

/**
 * The error as the token endpoint answers it: 401 for what is wrong with the client, 503 for what is only out of
 * reach, so that a hiccup of a client's web site signs nobody out.
 */
export function atTokenEndpoint(error: unknown): unknown {
  if (!(error instanceof ClientMetadataError)) return error;
  return error.temporary
    ? unavailable(error.reason, error)
    : new OAuthError("invalid_client", error.message, { reason: error.reason, cause: error });
}

function clientIdUrlProblem(clientId: string): string | undefined {
  if (clientId.length > MAX_URL_LENGTH) return `is longer than ${MAX_URL_LENGTH} characters`;
  if (!URL.canParse(clientId) || !clientId.startsWith("https://")) return "does not start with https://";
  if (clientId.includes("#")) return "has a fragment";
  const url = new URL(clientId);
  if (url.username !== "" || url.password !== "") return "carries a user name or password";
  // What is compared and shown is exactly what is fetched. This is also the rule against dot segments, however
  // encoded: resolving a URL removes them.
  if (url.href !== clientId || clientId.includes("\\"))
    return "is not in its normal form (lower-case host, no default port, no dot segments, a path)";
  if (url.pathname === "/") return "has no path";
  return undefined;
}

function refuseDomain(hostname: string, domains: DomainPolicy): void {
  const refusal = domainRefusal(hostname, domains);
  if (refusal !== undefined)
    throw new ClientMetadataError(
      `Applications of ${hostname} are not accepted here. Whoever runs this server can allow them.`,
      { reason: refusal },
    );
}

/** The same error for every address: the document may be fine, and this server be cut off. */
function noWayThere(clientId: string, error: SafeFetchError, reach: DocumentReach): ClientMetadataError {
  const { message } = unusable(clientId, error.message, error.reason);
  const description = reach.works()
    ? `${message} If the application works elsewhere, this server has no way to that address. ${OPERATOR}`
    : `This server has no way to ${new URL(clientId).host}, where the application describes itself; the application is not at fault. ${OPERATOR}`;
  return new ClientMetadataError(description, {
    reason: outwardReason(error),
    temporary: true,
    cause: error,
    ...(!reach.works() && { status: 503 }),
  });
}

const OPERATOR =
  "Its operator lets it reach that address, or sets CLIENT_ID_METADATA=off, and applications register themselves. Five minutes after that, start again in your application.";

/** A stranger must not learn which internal names exist: no address and a refused one look the same outside. */
function outwardReason({ reason }: SafeFetchError): SafeFetchReason {
  return reason === "address_refused" ? "unreachable" : reason;
}
