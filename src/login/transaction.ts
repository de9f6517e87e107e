/**
 * An authorization in progress. Until the user approves, it travels sealed inside the consent form and nothing is
 * stored: a link that is prefetched, or opened a thousand times, leaves no trace. After consent it is stored, and consumed
 * once.
 */
import { z } from "zod";
import type { UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import type { Endings } from "../grants/endings.ts";
import { ValidatedRedirectUri } from "../oauth/redirect-uri.ts";
import { asParameters, RequiredAuthentication } from "../oauth/required-authentication.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { RecordFormat } from "../storage/encrypted.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { Store, TakeOptions } from "../storage/store.ts";
import { BrowserHash } from "./browser-binding.ts";

/** A request that passed every check of /authorize. */
export const AuthorizationRequest = z.object({
  clientId: z.string(),
  /** What the client calls itself, as the consent page shows it. */
  clientName: z.string().optional(),
  redirectUri: ValidatedRedirectUri,
  state: z.string().optional(),
  codeChallenge: z.string(),
  resource: z.string(),
  scopes: z.array(z.string()),
  /** Replicas of 0.1.0 drop it: what they finish has no known authentication, which is not enough for who asked. */
  authentication: RequiredAuthentication.optional(),
});
export type AuthorizationRequest = z.infer<typeof AuthorizationRequest>;

/**
 * The request as the client sent it, asking for consent: for a browser that has to be asked after all.
 * @param more further parameters, or others
 */
export function authorizationRequestUrl(
  issuer: string,
  request: AuthorizationRequest,
  more: Readonly<Record<string, string>> = {},
): string {
  const parameters = new URLSearchParams({
    response_type: "code",
    client_id: request.clientId,
    redirect_uri: request.redirectUri,
    code_challenge: request.codeChallenge,
    code_challenge_method: "S256",
    resource: request.resource,
    scope: request.scopes.join(" ") || "openid", // an empty scope would mean every scope
    prompt: "consent",
    ...asParameters(request.authentication ?? {}),
    ...(request.state !== undefined && { state: request.state }),
    ...more,
  });
  return `${issuer}/authorize?${parameters}`;
}

/** An identity provider by its name; absent in what version 0.1.0 wrote, which had one. */
const Provider = z.string().optional();

const AwaitingConsent = z.object({
  step: z.literal("consent"),
  request: AuthorizationRequest,
  browser: BrowserHash,
  /** The identity provider that the page names. */
  provider: Provider,
  /** Seconds since the epoch. */
  expiresAt: z.number(),
});

/** What ties a login to the browser that it was begun in and to the identity provider that it was begun with. */
const binding = {
  browser: BrowserHash,
  /** The only one that can finish it. */
  provider: Provider,
  nonce: z.string(),
  codeVerifier: z.string(),
  /** Seconds since the epoch. */
  expiresAt: z.number(),
  /** When it began, see {@link ../grants/endings.ts Endings.latest}. Absent in records of an earlier version. */
  begun: z.number().optional(),
};
export type LoginBinding = z.infer<z.ZodObject<typeof binding>>;

/** The user approved what a client asked for. It ends with a code for that client. */
const clientLogin = {
  step: z.literal("login"),
  request: AuthorizationRequest,
  ...binding,
  /** The scopes that were asked for, if the user ticked "do not ask again": remembered when we know who it was. */
  remember: z.array(z.string()).optional(),
  /** All that the client asked for, of which `approvedBy` approved `request.scopes`: for who is asked in their place. */
  asked: z.array(z.string()).optional(),
};
export type ClientLogin = z.infer<z.ZodObject<typeof clientLogin>> & {
  /** Nobody was asked, because this user approved before. Anybody else must be. */
  approvedBy?: UserId | undefined;
};

/** The consent, as it is known before the user signs in, and since when where it was given for a login before. */
export type Consented = Pick<ClientLogin, "remember" | "approvedBy" | "asked" | "begun">;

/** A login for /connections. No client waits for it, so no code can come of it. */
const ConnectionsLogin = z.object({ step: z.literal("connections"), ...binding });

/** The browser is at the identity provider. All that the callback accepts; each kind goes its own way from there. */
export type AwaitingLogin = ClientLogin | ConnectionsLogin;

export function loginFormat(users: StoredUsers): RecordFormat<AwaitingLogin> {
  const approvedBy = users.fields.subject.transform((subject) => users.read({ subject })).optional();
  const stored = z.object({ ...clientLogin, approvedBy });
  return {
    schema: z.discriminatedUnion("step", [stored, ConnectionsLogin]),
    write: (login) =>
      login.step === "login" && login.approvedBy !== undefined
        ? { ...login, approvedBy: users.write(login.approvedBy).subject }
        : login,
  };
}

export type AwaitingConsent = z.infer<typeof AwaitingConsent>;
export type ConnectionsLogin = z.infer<typeof ConnectionsLogin>;

const CONSENT_FORM = "consent form";

/** `issuer` keeps deployments apart that share a SECRET_KEY. Whoever opens /authorize has one sealed. */
export function sealConsent(transaction: AwaitingConsent, sealer: Sealer, issuer: string): string {
  return sealer.sealForStranger(JSON.stringify(transaction), `${CONSENT_FORM} ${issuer}`);
}

/** What the form carries, or undefined if it is not a form of ours or its time is over. */
export function openConsent(
  form: string,
  sealer: Sealer,
  issuer: string,
  now: number,
): AwaitingConsent | undefined {
  const text = sealer.open(form, `${CONSENT_FORM} ${issuer}`);
  const parsed = text === undefined ? undefined : AwaitingConsent.safeParse(JSON.parse(text));
  return parsed?.success && parsed.data.expiresAt > now ? parsed.data : undefined;
}

/** Logins by the `state` that went upstream. Only its hash is stored: a dump of the store cannot finish a login. */
export interface Logins {
  /**
   * Keeps one that begins, or goes on with what another one began.
   * @param from the address that asks
   * @throws TooManyRequestsError
   */
  open(state: string, login: AwaitingLogin, ttlSeconds: number, from: string): Promise<void>;
  /** Restores a login that the caller has consumed; nobody else can have had it since. */
  restore(state: string, login: AwaitingLogin, ttlSeconds: number): Promise<void>;
  /** See {@link Store.claim}. */
  take(state: string, options: TakeOptions<AwaitingLogin>): Promise<AwaitingLogin | undefined>;
}

/**
 * @param admit decides about each one that begins, before it is kept
 * @param endings says when it began
 */
export function createLogins(
  store: Store<AwaitingLogin>,
  admit: (login: AwaitingLogin, from: string) => Promise<void>,
  endings: Pick<Endings, "latest">,
): Logins {
  return {
    async open(state, login, ttlSeconds, from) {
      // What it costs is counted by its size.
      const largest = { ...login, begun: Number.MAX_SAFE_INTEGER };
      const [latest] = await Promise.all([endings.latest(), admit(largest, from)]);
      await store.put(sha256(state), { ...login, begun: login.begun ?? latest }, ttlSeconds);
    },
    restore: (state, login, ttlSeconds) => store.put(sha256(state), login, ttlSeconds),
    take: (state, options) => store.claim(sha256(state), options),
  };
}
