/** Steps 1 to 3: from a 401 to the authorization server's metadata (RFC 9728, RFC 8414). */
import { z } from "zod";
import { type Challenge, readChallenge } from "./challenge.ts";
import { describe, expectStatus, readJson, type Send } from "./http.ts";
import { firstRequest } from "./mcp.ts";
import { expect, type Trace } from "./trace.ts";

export interface Walk {
  send: Send;
  trace: Trace;
  /** The /mcp URL that was given. */
  url: string;
}

const Url = z.string().refine((value) => URL.canParse(value), "must be a URL");

const ResourceMetadata = z.object({
  resource: Url,
  /** Any of them will do; the first one is used (RFC 9728 §7.6). */
  authorization_servers: z.tuple([Url], Url),
  scopes_supported: z.array(z.string()).optional(),
});
export type ResourceMetadata = z.infer<typeof ResourceMetadata>;

const ServerMetadata = z.object({
  issuer: Url,
  authorization_endpoint: Url,
  token_endpoint: Url,
  registration_endpoint: Url,
  revocation_endpoint: Url,
  response_types_supported: z.array(z.string()),
  grant_types_supported: z.array(z.string()).default(["authorization_code", "implicit"]), // RFC 8414 §2
  code_challenge_methods_supported: z.array(z.string()).default([]),
  token_endpoint_auth_methods_supported: z.array(z.string()).default(["client_secret_basic"]),
  authorization_response_iss_parameter_supported: z.boolean().default(false),
  client_id_metadata_document_supported: z.boolean().default(false),
});
export type ServerMetadata = z.infer<typeof ServerMetadata>;

export async function requestWithoutToken({
  send,
  trace,
  url,
}: Walk): Promise<Challenge & { resource_metadata: string }> {
  const answer = await send(firstRequest(url));
  expect(answer.status === 401, {
    expected: "401 with a challenge: nobody is let in without a token",
    came: describe(answer),
    hint:
      answer.status === 404
        ? "There is no MCP endpoint here. URL is the server's base URL, or its /mcp URL; only a demo that was started with --backend has another one."
        : "Is this an mcp-oidc-proxy? Its /mcp asks everybody for a token.",
  });
  const challenge = readChallenge(answer);
  const { resource_metadata, scope } = challenge;
  expect(resource_metadata !== undefined && URL.canParse(resource_metadata), {
    expected: "the challenge's resource_metadata parameter, a URL (RFC 9728 §5.1)",
    came: answer.headers.get("www-authenticate") ?? "none",
    hint: "Clients cannot find the authorization server without it.",
  });
  trace.learned(`a token is needed; ${resource_metadata} says who issues it`);
  trace.learned(scope === undefined ? "no scope is asked for" : `scope to ask for: ${scope}`);
  if (challenge.error !== undefined)
    trace.remark("an error code without a token having been sent (RFC 6750 §3.1: SHOULD NOT)");
  return { ...challenge, resource_metadata };
}

export async function readResourceMetadata(
  { send, trace, url }: Walk,
  location: string,
): Promise<ResourceMetadata> {
  const answer = await send({ method: "GET", url: location });
  expectStatus(answer, 200);
  const metadata = readJson(answer, ResourceMetadata);
  // RFC 9728 §3.3: otherwise another server's document would be believed.
  expect(metadata.resource === url, {
    expected: `resource to be the URL that was called, ${url}`,
    came: metadata.resource,
    hint: `Call the server by its own name (URL=${metadata.resource}), or set its BASE_URL to the public one.`,
  });
  trace.learned(`resource ${metadata.resource}, as called`);
  trace.learned(`authorization server ${metadata.authorization_servers[0]}`);
  trace.learned(`scopes_supported: ${metadata.scopes_supported?.join(" ") || "none"}`);
  return metadata;
}

export async function readServerMetadata(walk: Walk, issuer: string): Promise<ServerMetadata> {
  const { trace } = walk;
  const metadata = await metadataOf(walk, issuer, ServerMetadata);
  const must = (holds: boolean, expected: string, came: unknown) =>
    expect(holds, {
      expected,
      came: JSON.stringify(came),
      hint: "MCP clients depend on it: see the server's metadata document.",
    });
  const {
    code_challenge_methods_supported: challenges,
    response_types_supported: responses,
    grant_types_supported: grants,
    token_endpoint_auth_methods_supported: methods,
    authorization_response_iss_parameter_supported: iss,
  } = metadata;
  must(challenges.includes("S256"), "code_challenge_methods_supported with S256 (RFC 7636)", challenges);
  must(responses.includes("code"), "response_types_supported with code", responses);
  must(grants.includes("authorization_code"), "grant_types_supported with authorization_code", grants);
  must(grants.includes("refresh_token"), "grant_types_supported with refresh_token", grants);
  must(methods.includes("none"), "token_endpoint_auth_methods_supported with none: public clients", methods);
  must(iss, "authorization_response_iss_parameter_supported (RFC 9207)", iss);
  for (const endpoint of ["registration", "authorization", "token", "revocation"] as const)
    trace.learned(`${endpoint} endpoint ${metadata[`${endpoint}_endpoint`]}`);
  trace.learned("PKCE with S256; public clients are welcome; the answer will name its issuer (iss)");
  if (metadata.client_id_metadata_document_supported)
    trace.learned("Client ID Metadata Documents are accepted too; this walk registers");
  return metadata;
}

const MetadataForPrograms = z.object({
  issuer: Url,
  token_endpoint: Url,
  revocation_endpoint: Url.optional(),
  grant_types_supported: z.array(z.string()).default([]),
  authorization_grant_profiles_supported: z.array(z.string()).default([]),
});
export type MetadataForPrograms = z.infer<typeof MetadataForPrograms>;

/** What a caller without a browser has to know of the server. */
export async function readMetadataForPrograms(
  walk: Walk,
  issuer: string,
  wanted: { grantType?: string; profile?: string },
): Promise<MetadataForPrograms> {
  const metadata = await metadataOf(walk, issuer, MetadataForPrograms);
  const { grant_types_supported: grants, authorization_grant_profiles_supported: profiles } = metadata;
  const { grantType, profile } = wanted;
  const must = (name: string, value: string | undefined, supported: readonly string[]) => {
    if (value === undefined) return;
    expect(supported.includes(value), {
      expected: `${name} with ${value}`,
      came: supported.join(" ") || "none",
      hint: "Nobody of this kind is configured on this server: docs/machines.md says how. The demo knows all of them.",
    });
    walk.trace.learned(`${name} has ${value}`);
  };
  must("grant_types_supported", grantType, grants);
  must("authorization_grant_profiles_supported", profile, profiles);
  walk.trace.learned(`token endpoint ${metadata.token_endpoint}`);
  return metadata;
}

async function metadataOf<Schema extends z.ZodType<{ issuer: string }>>(
  { send, trace }: Walk,
  issuer: string,
  schema: Schema,
): Promise<z.infer<Schema>> {
  const answer = await send({ method: "GET", url: serverMetadataUrl(issuer) });
  expectStatus(answer, 200);
  const metadata = readJson(answer, schema);
  expect(metadata.issuer === issuer, {
    expected: `issuer ${issuer}, byte for byte (RFC 8414 §3.3)`,
    came: metadata.issuer,
    hint: "Clients refuse this server. Compare BASE_URL with what both documents say.",
  });
  trace.learned(`issuer ${issuer}, byte for byte the same`);
  return metadata;
}

/** RFC 8414 §3.1: the well-known part goes between the host and the issuer's path. */
function serverMetadataUrl(issuer: string): string {
  const { origin, pathname } = new URL(issuer);
  return `${origin}/.well-known/oauth-authorization-server${pathname.replace(/\/$/, "")}`;
}
