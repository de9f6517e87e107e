/** The back channel: /token (RFC 6749 §3.2), /revoke (RFC 7009), /introspect (RFC 7662), back-channel logout. */

import { type ErrorRequestHandler, type Request, type RequestHandler, type Response, Router } from "express";
import type { StoredUsers } from "../access/stored-users.ts";
import type { Audit } from "../audit/audit.ts";
import {
  type AuthenticatedClient,
  authenticateClient,
  type ClientAuthentication,
  namesClient,
} from "../clients/authenticate-client.ts";
import { documentCosts } from "../clients/metadata-documents/document-costs.ts";
import type { Endings } from "../grants/endings.ts";
import type { LastUse } from "../grants/last-use.ts";
import type { Lifetimes } from "../grants/lifetimes.ts";
import { readToken } from "../grants/opaque-token.ts";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { count, limitPerAddress } from "../http/rate-limit.ts";
import { requestFacts } from "../http/request-facts.ts";
import type { LogoutToken } from "../identity/identity-provider.ts";
import { endGrantsOfLogout } from "../logout/back-channel.ts";
import { causes, OAuthError } from "../oauth/errors.ts";
import { BackchannelLogout, IntrospectionRequest, parse, RevocationRequest } from "../oauth/requests.ts";
import { jsonErrors } from "../pages/error-handler.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "../storage/store.ts";
import {
  answerTokenRequest,
  type GrantType,
  type GrantTypeDependencies,
  parseTokenRequest,
} from "./grant-type.ts";
import { introspectToken } from "./introspect.ts";
import { belongsToLiveGrant, readAhead } from "./presented-grant.ts";
import { revokeToken } from "./revoke.ts";

export interface TokenEndpointSettings {
  /** Also the issuer. */
  baseUrl: string;
  lifetimes: Lifetimes;
  tokenRequestsPerMinute: { perAddress: number; perClient: number };
}

export interface TokenEndpointDependencies
  extends ClientAuthentication,
    Omit<GrantTypeDependencies, "lifetimes" | "presentedGrant" | "endedMeanwhile"> {
  settings: TokenEndpointSettings;
  grantTypes: readonly GrantType[];
  endings: Endings;
  lastUse: LastUse;
  verifyLogoutToken(token: string): Promise<LogoutToken>;
  records: KeyValueStore;
  /** The sessions at /connections: they end with the login session at the provider. */
  sessions: { endOf(logout: LogoutToken): Promise<void> };
  users: StoredUsers;
  bodies: Bodies;
}

export function tokenRoutes({
  settings,
  clients,
  verifyAssertion,
  grantTypes,
  grants,
  endings,
  upstreamRefresh,
  assertions,
  resources,
  verifyLogoutToken,
  records,
  lastUse,
  sessions,
  users,
  bodies,
  audit,
  now,
  randomBytes,
  log,
}: Runtime & TokenEndpointDependencies): Router {
  const { lifetimes } = settings;
  const forGrantTypes = {
    grants,
    upstreamRefresh,
    assertions,
    resources,
    lifetimes,
    audit,
    now,
    randomBytes,
    log,
  };
  const router = Router();
  const { perAddress, perClient } = settings.tokenRequestsPerMinute;
  const limitAddress = limitPerAddress(records.rateLimits, {
    name: "token_requests_of_address",
    points: perAddress,
    seconds: 60,
  });
  // The same limit as for /token, because a provider may report a whole company's sign-outs together; counted separately.
  const limitLogouts = limitPerAddress(records.rateLimits, {
    name: "logout_tokens_of_address",
    points: perAddress,
    seconds: 60,
  });
  const readForm: RequestHandler[] = [formBody(bodies.ofStrangers), requireForm];
  const form: RequestHandler[] = [limitAddress, ...readForm];

  const costsOf = documentCosts(records.rateLimits);

  /**
   * The client, counted for who proved to be it: nobody uses up another's share.
   * @param withoutGrant what to throw instead of fetching a document for a request that belongs to no live grant: anybody
   * can name a URL
   */
  async function authenticated(
    req: Request,
    res: Response,
    withoutGrant: () => OAuthError,
  ): Promise<AuthenticatedClient> {
    const client = await authenticateClient(
      req.get("authorization"),
      req.body,
      { clients, verifyAssertion },
      (clientId) => ({
        ...costsOf(req, res),
        async holdsGrant() {
          if (await belongsToLiveGrant(req.body, clientId, { grants, now })) return true;
          if (await isVouchedFor(clientId, req.body, { grantTypes, assertions })) return true;
          throw withoutGrant();
        },
      }),
    );
    const limit = { name: "token_requests_of_client", points: perClient, seconds: 60 } as const;
    if (client.token_endpoint_auth_method !== "none")
      await count(records.rateLimits, limit, client.client_id);
    return client;
  }

  /** In use: it must not be forgotten before the grants it holds. But nothing may fail after a code was redeemed. */
  async function keepAlive(client: AuthenticatedClient, req: Request, res: Response): Promise<void> {
    try {
      await clients.keepAlive(client, costsOf(req, res));
    } catch (cause) {
      log.warn(
        { reason: "client_not_renewed", clientId: client.client_id, cause: causes(cause) },
        "Renewed next time",
      );
    }
  }

  function isWithAssertion({ body }: Request): boolean {
    return grantTypes.some(({ name, clients }) => clients === "none" && name === body.grant_type);
  }

  /** Undefined: the request of a grant type that needs no client names none. */
  async function clientOf(req: Request, res: Response): Promise<AuthenticatedClient | undefined> {
    if (isWithAssertion(req) && !namesClient(req.get("authorization"), req.body)) return undefined;
    return await authenticated(req, res, () => deadToken(req.body, grantTypes));
  }

  router.post("/token", ...form, async (req, res) => {
    res.set({ "Cache-Control": "no-store", Pragma: "no-cache" });
    // Before its client is looked up, which may be removed while the keys of an issuer are fetched.
    const begun = isWithAssertion(req) ? await endings.latest() : 0;
    const presentedGrant = readAhead(req.body, grants);
    const client = await clientOf(req, res);
    const facts = requestFacts(res);
    if (client !== undefined) facts.clientId = client.client_id;
    facts.grantType = String(req.body.grant_type).slice(0, 64);
    const request = parseTokenRequest(req.body, grantTypes);
    const tokens = await answerTokenRequest(client, request, {
      ...forGrantTypes,
      presentedGrant,
      endedMeanwhile: (signIn) => endings.since(begun, signIn),
    });
    const issued = readToken("access", tokens.access_token);
    if (issued !== undefined) lastUse.note(issued.grantId);
    if (client !== undefined) await keepAlive(client, req, res);
    res.json(tokens);
  });

  router.post("/revoke", ...form, async (req, res) => {
    const { token } = parse(RevocationRequest, req.body);
    const nothingToRevoke = unknownToUs();
    try {
      const client = await authenticated(req, res, () => nothingToRevoke);
      await revokeToken(client, token, { grants, log });
    } catch (error) {
      // RFC 7009 §2.2: what the client wants has come to pass.
      if (error !== nothingToRevoke) throw error;
    }
    res.status(200).json({});
  });

  router.post("/introspect", ...form, async (req, res) => {
    res.set("Cache-Control", "no-store");
    const client = await authenticated(req, res, unknownToUs);
    const { token } = parse(IntrospectionRequest, req.body);
    res.json(await introspectToken(client, token, { grants, resources, issuer: settings.baseUrl, now }));
  });

  router.post("/auth/backchannel-logout", limitLogouts, ...readForm, async (req, res) => {
    res.set("Cache-Control", "no-store");
    const { logout_token: logoutToken } = parse(BackchannelLogout, req.body);
    await endGrantsOfLogout(logoutToken, {
      grants,
      endings,
      sessions,
      verifyLogoutToken,
      records,
      users,
      log,
    });
    res.status(200).end();
  });

  const paths = ["/token", "/revoke", "/introspect", "/auth/backchannel-logout"];
  router.all(paths, refuseOtherMethods("POST"));
  router.use("/token", auditRefusals(audit));
  router.use(paths, jsonErrors(log));
  return router;
}

/** An assertion says who may ask with it. */
async function isVouchedFor(
  clientId: string,
  body: Readonly<Record<string, unknown>>,
  { grantTypes, assertions }: Pick<TokenEndpointDependencies, "grantTypes" | "assertions">,
): Promise<boolean> {
  const grantType = grantTypes.find(({ name }) => name === body.grant_type);
  if (grantType?.clients !== "none") return false;
  return await grantType.vouchesFor(parse(grantType.request, body), clientId, { assertions });
}

/** RFC 6749 §5.2: whoever it was, with this it has to sign in again. */
function deadToken(body: unknown, grantTypes: readonly GrantType[]): OAuthError {
  parseTokenRequest(body, grantTypes);
  return new OAuthError(
    "invalid_grant",
    "The code or refresh token is not valid any more: it is unknown, expired, or was used before. Sign in again.",
    { reason: "no_live_grant" },
  );
}

function unknownToUs(): OAuthError {
  return new OAuthError("invalid_client", "This client holds no such token, and is not known here.", {
    reason: "no_live_grant",
  });
}

/** An outage is not audited as a decision. */
function auditRefusals(audit: Audit): ErrorRequestHandler {
  return (error, _req, res, next) => {
    if (error instanceof OAuthError && error.status < 500) {
      const { clientId } = requestFacts(res);
      audit({ event: "token_refused", decision: "deny", reason: error.reason, clientId, ...error.about });
    }
    next(error);
  };
}

const requireForm: RequestHandler = (req, _res, next) => {
  if (req.body === undefined || req.is("application/x-www-form-urlencoded") === false)
    throw new OAuthError("invalid_request", "Send the parameters as application/x-www-form-urlencoded.", {
      reason: "wrong_content_type",
    });
  next();
};
