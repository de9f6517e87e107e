/**
 * This project, put together as `npm start` does, with the benchmark's tools. (d) `guarded: false` leaves out the bearer
 * check alone: what it costs is the difference to (e).
 */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { watchPolicy } from "../../dist/src/access/live-policy.js";
import type { AuthenticatedClient } from "../../dist/src/clients/authenticate-client.js";
import { loadConfig } from "../../dist/src/config/config.js";
import { readToken } from "../../dist/src/grants/opaque-token.js";
import { defineTool } from "../../dist/src/mcp/authoring/define-tool.js";
import type { Authenticate } from "../../dist/src/resource/bearer-authentication.js";
import type { AuthenticatedRequest, Caller } from "../../dist/src/resource/caller.js";
import { createLog } from "../../dist/src/runtime/log.js";
import { systemClock } from "../../dist/src/runtime/runtime.js";
import { type AuthenticateAt, bearerTokens, mount } from "../../dist/src/server/mount.js";
import { catalogueOfAll, policyNames } from "../../dist/src/server/offered.js";
import { buildServices } from "../../dist/src/server/services.js";
import { loadFurtherResources } from "../../dist/src/server/tools-module.js";
import { redisStore } from "../../dist/src/storage/redis/redis.js";
import {
  type AuthorizationCodeRequest,
  authorizationCode,
} from "../../dist/src/token-endpoint/grant-types/authorization-code.js";
import { forecast, toolNames } from "../tools.ts";
import { listen, settings } from "./subject.ts";

export interface OurSettings {
  environment: Record<string, string>;
  guarded: boolean;
}

const { tools: count, environment, guarded } = settings<OurSettings>();
const config = loadConfig(environment);
const log = createLog(config.logLevel);
if (config.store.kind !== "redis") throw new Error("The benchmark needs a real Redis");
const offered = {
  tools: toolNames(count).map((name) =>
    defineTool({
      name,
      description: "Weather for a city",
      scopes: ["weather:read"],
      input: z.object({ city: z.string().min(1) }),
      run: ({ city }) => forecast(city),
    }),
  ),
  scopes: { "weather:read": "Read the weather" },
  furtherResources: await loadFurtherResources(config),
};
const policy =
  config.policyFile === undefined
    ? undefined
    : watchPolicy({
        path: config.policyFile,
        known: policyNames(config, offered),
        hierarchy: catalogueOfAll(offered),
        onChange: () => {},
        onRefused: () => {},
      });
const services = buildServices({
  ...offered,
  config,
  ...(policy && { policy: policy.policy }),
  records: redisStore({ ...config.store, log }),
  log,
});

/** In place of the bearer check: the same caller at every request. */
function nobodyAsked(): Authenticate {
  const [{ permissions, uri: resource }] = services.resources;
  const principal = {
    kind: "user",
    issuer: config.identityProviders[0].issuer,
    subject: "alice",
    claims: {},
  } as const;
  const client = { id: "bench", redirectUri: "http://127.0.0.1/callback" };
  const scopes = ["weather:read"];
  const caller: Caller = Object.freeze({
    principal,
    client,
    resource,
    scopes,
    notGiven: [],
    permissions: permissions.permissionSet({ principal, client }, scopes),
    expiresAt: systemClock() + 86_400,
    grantId: "none",
    sessionKey: "none",
  });
  const authenticated: AuthenticatedRequest = {
    caller,
    verify: async () => ({ caller }),
    accept: () => {},
    checkScopes: caller.permissions.checkScopes,
    checkAuthentication: () => undefined,
    required: [],
  };
  return async () => ({ ...authenticated });
}

/**
 * Live sessions of as many users, each as large as the one that `accessToken` belongs to, made by the code that makes
 * them in production; only the browser's way is left out.
 */
async function moreSessions({
  accessToken,
  sessions,
}: {
  accessToken: string;
  sessions: number;
}): Promise<string[]> {
  const template = await services.grants.find(readToken("access", accessToken)?.grantId ?? "");
  if (template === undefined) throw new Error("There is no session to take as a model");
  const { principal, client: ref, resource, scopes, renewable, upstream } = template;
  if (principal.kind !== "user" || upstream === undefined) throw new Error("Nobody signed in for the model");
  const client = await services.clients.find(ref.id);
  if (client === undefined) throw new Error("The model's client is not registered");
  const verifier = randomBytes(32).toString("base64url");
  const codeChallenge = createHash("sha256").update(verifier).digest("base64url");
  const tokens: string[] = [];
  for (let i = 0; i < sessions; i++) {
    const subject = `${principal.subject}-${i}`;
    const claims = { ...principal.claims, sub: subject, sid: `session-${i}` };
    const user = { ...principal, subject, claims };
    const request = { principal: user, client: ref, codeChallenge, resource, scopes, allowed: scopes };
    const opened = await services.grants.open(
      request,
      { renewable, tokens: upstream },
      async () => undefined,
    );
    if ("ended" in opened) throw new Error("The session was ended");
    const asked: AuthorizationCodeRequest = {
      code: opened.code,
      code_verifier: verifier,
      redirect_uri: ref.redirectUri,
      resource: [resource],
    };
    const issued = await authorizationCode.handle(client as AuthenticatedClient, asked, {
      ...services.runtime,
      grants: services.grants,
      presentedGrant: services.grants.find,
      upstreamRefresh: services.upstreamRefresh,
      assertions: services.assertions,
      endedMeanwhile: async () => undefined,
      resources: services.resources,
      audit: services.audit,
      lifetimes: config.lifetimes,
    });
    tokens.push(issued.access_token);
  }
  return tokens;
}

// The connection is made in the background.
while (
  !(await services.records.ping().then(
    () => true,
    () => false,
  ))
)
  await delay(20);
const authenticateAt: AuthenticateAt = (...at) => (guarded ? bearerTokens(...at) : nobodyAsked());
listen(mount(services, authenticateAt), config.port, moreSessions);
