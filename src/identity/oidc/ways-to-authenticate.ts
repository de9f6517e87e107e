/** The ways in which a credential may be sent to a provider, the likeliest first. */
import { SignJWT } from "jose";
import { sha256 } from "../../oauth/sha256.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { type NamedProvider, profileOf } from "../profiles/profiles.ts";
import type { IdentityProviderSettings, SecretMethod } from "../settings.ts";
import type { Credential, SigningKey } from "./credential.ts";
import type { Credentials } from "./live-credential.ts";

export type Chooser = NamedProvider & Pick<IdentityProviderSettings, "tokenEndpointAuthMethod" | "clientId">;
type Metadata = Readonly<Record<string, unknown>>;
type Source = Pick<Runtime, "now" | "randomBytes">;

export interface Way {
  /** Recognizes it among the ways of another request; tells nothing of a secret. */
  readonly id: string;
  /** As discovery documents call it. */
  readonly method: SecretMethod | "private_key_jwt";
  /** Adds the proof to a request. */
  add(body: URLSearchParams, headers: Headers): void | Promise<void>;
}

/** @param credentials the newest first */
export function waysToAuthenticate(
  chooser: Chooser,
  credentials: Credentials,
  metadata: Metadata,
  source: Source,
): readonly [Way, ...Way[]] {
  const [first, ...others] = credentials.flatMap((credential) =>
    waysOf(credential, chooser, metadata, source),
  );
  // A credential has at least one way.
  return [first as Way, ...others];
}

function waysOf(credential: Credential, chooser: Chooser, metadata: Metadata, source: Source): Way[] {
  switch (credential.kind) {
    case "secrets":
      return credential.secrets.flatMap((secret) => waysOfSecret(secret, chooser, metadata));
    case "assertion":
      return [byAssertion("assertion", chooser, async () => credential.assertion)];
    case "private_key":
      return audiences(chooser, metadata).map((audience) =>
        byAssertion(`private_key_jwt for ${audience}`, chooser, () =>
          signedAssertion(credential, chooser.clientId, audience, source),
        ),
      );
  }
}

function waysOfSecret(secret: string, chooser: Chooser, metadata: Metadata): Way[] {
  return secretMethods(chooser, metadata)
    .filter((method) => method !== undefined)
    .map((method) => ({
      id: `${method} ${sha256(secret)}`,
      method,
      add(body, headers) {
        const added = secretAs(method, chooser.clientId, secret);
        for (const [name, value] of Object.entries(added.fields)) body.set(name, value);
        for (const [name, value] of Object.entries(added.headers)) headers.set(name, value);
      },
    }));
}

/**
 * In which ways to try, of which the second is for a provider that says nothing: RFC 8414 §2 has it mean
 * `client_secret_basic`, and many that say nothing take the body alone. Where both are listed it is the body, because some
 * do not decode what is in the header.
 */
function secretMethods(
  chooser: Omit<Chooser, "clientId">,
  metadata: Metadata,
): readonly [SecretMethod, SecretMethod?] {
  const { tokenEndpointAuthMethod: chosen } = chooser;
  if (chosen !== "auto") return [chosen];
  const { secretMethod: wanted } = profileOf(chooser);
  if (wanted !== undefined) return [wanted];
  const listed = metadata.token_endpoint_auth_methods_supported;
  if (!Array.isArray(listed)) return ["client_secret_post", "client_secret_basic"];
  return [ofList(listed) ?? "client_secret_post"];
}

function ofList(listed: readonly unknown[]): SecretMethod | undefined {
  return (["client_secret_post", "client_secret_basic"] as const).find((method) => listed.includes(method));
}

/** The fields and headers of a request that authenticates in this way. */
function secretAs(
  method: SecretMethod,
  clientId: string,
  clientSecret: string,
): { fields: Record<string, string>; headers: Record<string, string> } {
  if (method === "client_secret_post")
    return { fields: { client_id: clientId, client_secret: clientSecret }, headers: {} };
  // Every decoder reads what is not encoded here as it is; openid-client would encode hyphens, too, and with that fail
  // where nobody decodes.
  const encode = method === "client_secret_basic" ? encodeURIComponent : (text: string) => text;
  const credentials = `${encode(clientId)}:${encode(clientSecret)}`;
  return {
    fields: {},
    headers: { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` },
  };
}

/**
 * What an assertion names as its audience: the issuer, which no other server can claim to be, or the token endpoint, which
 * RFC 7523 §3 also allows and some providers insist on (Okta, Entra).
 */
function audiences(chooser: Chooser, { issuer, token_endpoint: endpoint }: Metadata): string[] {
  const [byIssuer, byEndpoint] = [String(issuer), String(endpoint)];
  return profileOf(chooser).assertionAudience === "token_endpoint" ? [byEndpoint] : [byIssuer, byEndpoint];
}

function byAssertion(id: string, { clientId }: Chooser, assertion: () => Promise<string>): Way {
  return {
    id,
    method: "private_key_jwt",
    async add(body) {
      body.set("client_id", clientId);
      body.set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
      body.set("client_assertion", await assertion());
    },
  };
}

const ASSERTION_SECONDS = 60;

function signedAssertion(
  { key, algorithm, keyId, certificateThumbprint }: SigningKey,
  clientId: string,
  audience: string,
  { now, randomBytes }: Source,
): Promise<string> {
  const header = {
    alg: algorithm,
    typ: "JWT",
    ...(keyId !== undefined && { kid: keyId }),
    ...(certificateThumbprint !== undefined && { "x5t#S256": certificateThumbprint }),
  };
  return new SignJWT({
    iss: clientId,
    sub: clientId,
    aud: audience,
    jti: randomBytes(16).toString("base64url"),
  })
    .setProtectedHeader(header)
    .setIssuedAt(now())
    .setNotBefore(now())
    .setExpirationTime(now() + ASSERTION_SECONDS)
    .sign(key);
}
