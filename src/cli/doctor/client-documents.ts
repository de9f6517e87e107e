/** Can the documents be fetched by which clients describe themselves? Asked of a known one, from this machine. */
import { proxyInWords } from "../../clients/metadata-documents/forward-proxy.ts";
import { createSafeFetch, type SafeFetch } from "../../clients/metadata-documents/safe-fetch.ts";
import type { ClientIdMetadataConfig } from "../../config/clients.ts";
import { causes } from "../../oauth/errors.ts";
import { checkOf, type Finding } from "./finding.ts";

const { ok, warning } = checkOf("clients.documents");

export async function checkClientDocuments(
  { enabled, offered, probe, proxy }: ClientIdMetadataConfig,
  fetch: SafeFetch = createSafeFetch({ ...(proxy && { proxy }) }),
): Promise<Finding[]> {
  if (!enabled)
    return [ok("Clients register; their metadata documents are switched off (CLIENT_ID_METADATA)")];
  const problem = await fetch(new URL(probe)).then(() => undefined, causes);
  const way = proxy === undefined ? "" : ` through ${proxyInWords(proxy)}`;
  if (problem === undefined) return [ok(`Clients' metadata documents can be fetched from here${way}`)];
  const { host } = new URL(probe);
  const says = `Clients' metadata documents cannot be fetched from here${way}: the one at ${host}: ${problem}`;
  return [
    offered === "always"
      ? warning(
          says,
          "Let this server reach the internet by https, by itself or through a forward proxy (CLIENT_ID_METADATA_PROXY), or set CLIENT_ID_METADATA to auto or off: Claude Code and Codex cannot sign in as it is.",
        )
      : warning(
          says,
          "Nothing has to be done: clients are not told of documents and register. Set CLIENT_ID_METADATA=off if that is meant, a forward proxy in CLIENT_ID_METADATA_PROXY if one has to be used, or name another document in CLIENT_ID_METADATA_PROBE.",
        ),
  ];
}
