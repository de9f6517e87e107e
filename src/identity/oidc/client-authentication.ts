/**
 * How this server proves to the provider that it is its client (RFC 6749 §2.3, RFC 7523 §2.2), at every endpoint that asks
 * for it.
 */
import type { ClientAuth, CustomFetch, ServerMetadata } from "openid-client";
import type { Runtime } from "../../runtime/runtime.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { SPEAKS_OF_THE_USER } from "./answers.ts";
import { openCredential } from "./live-credential.ts";
import { type Chooser, type Way, waysToAuthenticate } from "./ways-to-authenticate.ts";

/** For one provider: what openid-client is given, of which `fetch` wraps another. */
export interface ClientAuthentication {
  authenticate: ClientAuth;
  fetch: CustomFetch;
}

/**
 * Which of several ways the provider takes is learned.
 * @throws InvalidValue if the credential cannot be read
 */
export function createClientAuthentication(
  config: Chooser & Pick<IdentityProviderSettings, "credential">,
  send: CustomFetch,
  runtime: Pick<Runtime, "now" | "randomBytes" | "log">,
): ClientAuthentication {
  const credential = openCredential(config.credential, runtime.log);
  let learned: string | undefined;
  /** The ways that are left to try, of each request: by its body, because others learn while it is under way. */
  const left = new WeakMap<URLSearchParams, readonly Way[]>();

  function waysTo(metadata: Readonly<ServerMetadata>): readonly [Way, ...Way[]] {
    const [first, ...others] = waysToAuthenticate(config, credential.current(), metadata, runtime);
    const known = others.find(({ id }) => id === learned);
    return known === undefined
      ? [first, ...others]
      : [known, first, ...others.filter((way) => way !== known)];
  }

  return {
    async authenticate(metadata, _client, body, headers) {
      // Revocation goes the same way: what is listed for it is not so everywhere (Glewlwyd lists what it refuses).
      const [first, ...others] = waysTo(metadata);
      left.set(body, others);
      await first.add(body, headers);
    },

    /** A request whose client was rejected did nothing: codes and tokens are looked at after it (RFC 6749 §4.1.3, §6). */
    async fetch(url, options) {
      const first = await send(url, options);
      const { body } = options;
      if (!(body instanceof URLSearchParams)) return first;
      const others = left.get(body) ?? [];
      if (others.length === 0 || !(await rejectsClient(first))) return first;
      for (const way of others) {
        const answered = await send(url, { ...options, ...(await inAnotherWay(way, body, options.headers)) });
        if (answered.ok) learned = way.id;
        if (await sawClient(answered)) return answered;
      }
      return first;
    },
  };
}

const PROOFS = ["client_id", "client_secret", "client_assertion_type", "client_assertion"];

async function inAnotherWay(way: Way, sent: URLSearchParams, sentHeaders: Readonly<Record<string, string>>) {
  const body = new URLSearchParams(sent);
  for (const name of PROOFS) body.delete(name);
  const headers = new Headers(sentHeaders);
  headers.delete("authorization");
  await way.add(body, headers);
  return { body, headers: Object.fromEntries(headers.entries()) };
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
