/** Clients: can their metadata documents be fetched from here, and the keys with which those from CLIENTS prove who they are? */
import { proxyInWords } from "../../clients/metadata-documents/forward-proxy.ts";
import { createSafeFetch, type SafeFetch } from "../../clients/metadata-documents/safe-fetch.ts";
import type { ClientIdMetadataConfig } from "../../config/clients.ts";
import { causes } from "../../oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding, type Found, notChecked } from "./finding.ts";
import { checkKeysAt } from "./keys.ts";

export async function checkClients({ config, patience }: Deployment): Promise<Found> {
  if (config === undefined) return notChecked("clients.documents", "every setting");
  const keys = config.clients.flatMap(
    ({ client_id: id, jwks_uri: uri, token_endpoint_auth_signing_alg: algorithm }) => {
      const algorithms = algorithm === undefined ? ASYMMETRIC_ALGORITHMS : [algorithm];
      const asked = {
        check: "clients.keys",
        whose: `The keys of the client ${id} (CLIENTS)`,
        algorithms,
        fix: `Let the client publish a key for ${algorithms.join(", ")} there, or correct its jwks_uri.`,
        timeoutMs: patience.answerMs,
      };
      return uri === undefined ? [] : [checkKeysAt(uri, asked)];
    },
  );
  return Promise.all([checkClientDocuments(config.clientIdMetadata), ...keys]);
}

/** Asked of a known document, from this machine. */
export async function checkClientDocuments(
  { enabled, offered, probe, proxy }: ClientIdMetadataConfig,
  fetch: SafeFetch = createSafeFetch({ ...(proxy && { proxy }) }),
): Promise<Finding> {
  const found = checkOf("clients.documents");
  if (!enabled)
    return found`✓ Clients register; their metadata documents are switched off (CLIENT_ID_METADATA)`;
  const problem = await fetch(new URL(probe)).then(() => undefined, causes);
  const way = proxy === undefined ? "" : ` through ${proxyInWords(proxy)}`;
  if (problem === undefined) return found`✓ Clients' metadata documents can be fetched from here${way}`;
  const fix =
    offered === "always"
      ? "Let this server reach the internet by https, by itself or through a forward proxy (CLIENT_ID_METADATA_PROXY), or set CLIENT_ID_METADATA to auto or off: Claude Code and Codex cannot sign in as it is."
      : "Nothing has to be done: clients are not told of documents and register. Set CLIENT_ID_METADATA=off if that is meant, a forward proxy in CLIENT_ID_METADATA_PROXY if one has to be used, or name another document in CLIENT_ID_METADATA_PROBE.";
  return found`! Clients' metadata documents cannot be fetched from here${way}: the one at ${new URL(probe).host}: ${problem}
    → ${fix}`;
}
