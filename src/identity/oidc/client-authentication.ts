/**
 * How this server proves to the provider that it is its client: the secret in the body or in a header, as the provider
 * lists it, or as the operator says.
 */
import type { ClientAuth, CustomFetch } from "openid-client";
import { type NamedProvider, profileOf } from "../profiles/profiles.ts";
import type { IdentityProviderSettings, SecretMethod } from "../settings.ts";
import { SPEAKS_OF_THE_USER } from "./answers.ts";

type Chooser = NamedProvider & Pick<IdentityProviderSettings, "tokenEndpointAuthMethod">;
type Metadata = Readonly<Record<string, unknown>>;

/**
 * In which ways to try, of which the second is for a provider that says nothing: RFC 8414 §2 has it mean
 * `client_secret_basic`, and many that say nothing take the body alone. Where both are listed it is the body, because some
 * do not decode what is in the header.
 */
export function secretMethods(chooser: Chooser, metadata: Metadata): readonly [SecretMethod, SecretMethod?] {
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
export function secretAs(
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

/** For one provider: what openid-client is given, of which `fetch` wraps another. */
export interface ClientAuthentication {
  authenticate: ClientAuth;
  fetch: CustomFetch;
}

/** Which way the provider takes, if it does not say so, is learned once. */
export function createClientAuthentication(
  config: Chooser & Pick<IdentityProviderSettings, "clientId" | "clientSecret">,
  send: CustomFetch,
): ClientAuthentication {
  const { clientId, clientSecret } = config;
  let learned: SecretMethod | undefined;
  /** The way that is left to try, of each request: by its body, because others learn while it is under way. */
  const left = new WeakMap<URLSearchParams, SecretMethod>();

  function add(method: SecretMethod, body: URLSearchParams, headers: Headers): void {
    const added = secretAs(method, clientId, clientSecret);
    for (const [name, value] of Object.entries(added.fields)) body.set(name, value);
    for (const [name, value] of Object.entries(added.headers)) headers.set(name, value);
  }

  return {
    authenticate(metadata, _client, body, headers) {
      const [first, second] = secretMethods(config, { ...metadata });
      if (learned === undefined && second !== undefined) left.set(body, second);
      // Revocation goes the same way: what is listed for it is not so everywhere (Glewlwyd lists what it refuses).
      add(learned ?? first, body, headers);
    },

    /** A request whose client was rejected did nothing: codes and tokens are looked at after it (RFC 6749 §4.1.3, §6). */
    async fetch(url, options) {
      const response = await send(url, options);
      const { body } = options;
      const other = body instanceof URLSearchParams ? left.get(body) : undefined;
      if (other === undefined || !(await rejectsClient(response))) return response;
      const again = new URLSearchParams(body as URLSearchParams);
      for (const name of ["client_id", "client_secret"]) again.delete(name);
      const headers = new Headers(options.headers);
      add(other, again, headers);
      const answered = await send(url, {
        ...options,
        body: again,
        headers: Object.fromEntries(headers.entries()),
      });
      if (answered.ok) learned = other;
      return (await sawClient(answered)) ? answered : response;
    },
  };
}

/** Some say with 401 that the user has to sign in again. */
async function rejectsClient(response: Response): Promise<boolean> {
  if (response.status !== 400 && response.status !== 401) return false;
  const code = await codeOf(response);
  return response.status === 401 ? !SPEAKS_OF_THE_USER.has(code ?? "") : code === "invalid_client";
}

/**
 * Whether an answer says more than that the client was not found where it was looked for: to who looks into the body alone,
 * a secret in the header is a request without a client, which RFC 6749 §5.2 calls `invalid_request`. Taken for the answer,
 * that would end the session of every user for our own wrong secret.
 */
async function sawClient(response: Response): Promise<boolean> {
  if (response.ok || response.status === 429 || response.status >= 500) return true;
  const code = await codeOf(response);
  return code !== undefined && code !== "invalid_request" && !(await rejectsClient(response));
}

async function codeOf(response: Response): Promise<string | undefined> {
  return /"error"\s*:\s*"(\w+)"/.exec(await response.clone().text())?.[1];
}
