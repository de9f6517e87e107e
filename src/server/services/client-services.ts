/** Clients: how they are registered, found, and how they prove who they are. */
import { type ClientAuthentication, isCurrentCredential } from "../../clients/authenticate-client.ts";
import { verifyClientAssertion } from "../../clients/client-assertion.ts";
import { createClients } from "../../clients/find-client.ts";
import {
  type ClientIdMetadata,
  createClientIdMetadata,
} from "../../clients/metadata-documents/client-id-metadata.ts";
import { ASSUMED_REACH, type DocumentReach } from "../../clients/metadata-documents/document-reach.ts";
import { createKeySets, type KeySets } from "../../clients/metadata-documents/jwks.ts";
import { createSafeFetch } from "../../clients/metadata-documents/safe-fetch.ts";
import {
  StoredDocument,
  type StoredDocuments,
  storedDocuments,
} from "../../clients/metadata-documents/stored-document.ts";
import type { Config } from "../../config/config.ts";
import type { Grant } from "../../grants/grant.ts";
import { createProviderKeys, type KeyOwner } from "../../identity/oidc/provider-keys.ts";
import { CLIENT_CREDENTIALS_GRANT, Client, type RegistrationRules } from "../../oauth/client-metadata.ts";
import { UnavailableError } from "../../oauth/errors.ts";
import { redirectUriPolicy } from "../../oauth/redirect-uri.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { encryptedStore } from "../../storage/encrypted.ts";
import type { GrantType } from "../../token-endpoint/grant-type.ts";
import type { Foundation } from "./foundation.ts";

export interface ClientsOptions {
  /** Fetches what strangers' URLs name. Default: public addresses only; tests let it reach their own servers. */
  safeFetch?: typeof createSafeFetch;
  /** Whether documents can be fetched from here. Default: assumed. */
  documentReach?: DocumentReach;
}

export function clientServices(
  { safeFetch = createSafeFetch, documentReach = ASSUMED_REACH }: ClientsOptions,
  base: Foundation,
  grantTypes: readonly GrantType[],
) {
  const { config, runtime, storing } = base;
  const redirectUris = redirectUriPolicy(config.redirectUriPatterns);
  const registrationRules: RegistrationRules = {
    redirectUriPolicy: redirectUris,
    grantTypes: grantTypes
      .filter(({ clients }) => clients === "any" || clients === "confidential")
      .map(({ name }) => name),
  };
  const given = { safeFetch, documentReach };
  const documents = clientIdMetadata(given, base, registrationRules);
  const keySets = clientKeySets(given, base);
  const clients = createClients(
    encryptedStore({ ...storing, kind: "client", schema: Client }),
    config.clients,
    { documents, keySets },
    config.lifetimes,
    runtime.now,
  );
  return {
    redirectUris,
    registrationRules,
    documents,
    documentReach,
    clients,
    verifyAssertion: assertionVerification(keySets, base),
    takenBack: credentialsTakenBack(config.clients),
  };
}

/** Undefined where clients may not be known by a metadata document. */
function clientIdMetadata(
  { safeFetch, documentReach }: Required<ClientsOptions>,
  base: Foundation,
  rules: RegistrationRules,
): ClientIdMetadata | undefined {
  const { config, runtime } = base;
  const { enabled, domains } = config.clientIdMetadata;
  if (!enabled) return undefined;
  return createClientIdMetadata({
    ...runtime,
    ...rules,
    fetch: documentReach.watching(safeFetch(wayOf(config))),
    reach: documentReach,
    stored: storedAs("document", base),
    domains,
    limits: { heldSeconds: config.lifetimes.clientSeconds },
  });
}

const MAX_JWKS_BYTES = 65_536;

function clientKeySets({ safeFetch }: Required<ClientsOptions>, base: Foundation): KeySets {
  const { config, runtime } = base;
  return createKeySets({
    ...runtime,
    fetch: safeFetch({ ...wayOf(config), maxBytes: MAX_JWKS_BYTES }),
    stored: storedAs("key-set", base),
    heldSeconds: config.lifetimes.clientSeconds,
  });
}

function wayOf({ clientIdMetadata: { proxy } }: Config) {
  return { ...(proxy && { proxy }) };
}

function storedAs(kind: "document" | "key-set", { storing }: Foundation): StoredDocuments {
  return storedDocuments(encryptedStore({ ...storing, kind, schema: StoredDocument }));
}

/** RFC 7523: a client signs, and its keys are where its metadata says, or in the configuration. */
function assertionVerification(
  keySets: KeySets,
  { config: { baseUrl }, runtime, records }: Foundation,
): ClientAuthentication["verifyAssertion"] {
  const rules = {
    issuer: baseUrl,
    tokenEndpoint: `${baseUrl}/token`,
    configuredKeys: keysOfConfiguredClients(runtime),
    records,
    now: runtime.now,
    randomBytes: runtime.randomBytes,
  };
  return (assertion, assertionType, client, requester) =>
    verifyClientAssertion(assertion, assertionType, client, {
      ...rules,
      fetchJwks: (uri, options) => keySets.get(uri, requester, options),
    });
}

/** Those of an address are kept once, however many clients name it; the operator decides how many addresses there are. */
function keysOfConfiguredClients(runtime: Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch">) {
  const sources = new Map<string, ReturnType<typeof createProviderKeys>>();
  return (uri: string) => {
    const source =
      sources.get(uri) ?? createProviderKeys(uri, CLIENT_KEYS_TIMEOUT_SECONDS, runtime, CONFIGURED_CLIENT);
    sources.set(uri, source);
    return source.ofBearersToken;
  };
}

const CLIENT_KEYS_TIMEOUT_SECONDS = 5;
const CONFIGURED_CLIENT: KeyOwner = {
  reasons: { failed: "client_keys_failed", askedLately: "client_keys_asked_lately" },
  message: "The keys of a client from CLIENTS could not be fetched: it cannot prove who it is until they are",
  outage: (reason, cause, more) => new UnavailableError("application's web site", { reason, cause, ...more }),
};

/** A token of a client that acts for itself is good for as long as the operator has the client and what it proved itself with. */
function credentialsTakenBack(configured: Config["clients"]) {
  const clients = new Map(configured.map((client) => [client.client_id, client]));
  return ({
    origin,
    client: { id },
  }: Pick<Grant, "origin" | "client">): "client_credentials_removed" | undefined => {
    if (origin.kind !== "client_credentials") return undefined;
    const client = clients.get(id);
    const isGood =
      client?.grant_types.includes(CLIENT_CREDENTIALS_GRANT) &&
      isCurrentCredential(origin.credential, client);
    return isGood ? undefined : "client_credentials_removed";
  };
}
