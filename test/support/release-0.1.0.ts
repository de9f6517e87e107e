/**
 * What release 0.1.0 reads and writes, as it was: its schemas and the names of its keys. Its replicas run beside newer ones while a
 * deployment is updated. Never to be changed.
 */
import { z } from "zod";
import { sha256 } from "../../src/oauth/sha256.ts";

const IssuedTokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  scopes: z.array(z.string()),
  expiresAt: z.number(),
});

const UpstreamTokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  obtainedAt: z.number(),
  expiresAt: z.number().optional(),
});

export const Grant = z.object({
  version: z.literal(1),
  id: z.string(),
  clientId: z.string(),
  clientName: z.string().optional(),
  subject: z.string(),
  resource: z.string(),
  scopes: z.array(z.string()),
  allowed: z.array(z.string()).optional(),
  claims: z.record(z.string(), z.unknown()),
  renewable: z.array(z.string()).default([]),
  createdAt: z.number(),
  expiresAt: z.number(),
  familyKey: z.string(),
  code: z.object({
    hash: z.string(),
    redirectUri: z.string(),
    codeChallenge: z.string(),
    expiresAt: z.number(),
    redeemed: z.boolean(),
  }),
  accessTokens: z.array(
    z.object({
      hash: z.string(),
      scopes: z.array(z.string()),
      expiresAt: z.number(),
      issuedAt: z.number().optional(),
    }),
  ),
  refreshToken: z.string().optional(),
  replaced: z.array(z.object({ hash: z.string(), until: z.number(), answer: IssuedTokens })),
  upstream: UpstreamTokens,
});
export type Grant = z.infer<typeof Grant>;

export const ConsentRecord = z.object({
  subject: z.string(),
  asked: z.array(z.string()),
  granted: z.array(z.string()),
  approvedAt: z.number().default(0),
});

const browserBinding = {
  browser: z.string(),
  nonce: z.string(),
  codeVerifier: z.string(),
  expiresAt: z.number(),
  begun: z.number().optional(),
};

export const AwaitingLogin = z.discriminatedUnion("step", [
  z.object({
    step: z.literal("login"),
    request: z.object({
      clientId: z.string(),
      clientName: z.string().optional(),
      redirectUri: z.string(),
      state: z.string().optional(),
      codeChallenge: z.string(),
      resource: z.string(),
      scopes: z.array(z.string()),
    }),
    ...browserBinding,
    remember: z.array(z.string()).optional(),
    approvedBy: z.string().optional(),
    asked: z.array(z.string()).optional(),
  }),
  z.object({ step: z.literal("connections"), ...browserBinding }),
]);

export const Session = z.object({
  subject: z.string(),
  name: z.string().optional(),
  email: z.string().optional(),
  sid: z.string().optional(),
  createdAt: z.number(),
  expiresAt: z.number(),
  ended: z.array(z.string()).optional(),
});

export const Client = z.object({
  client_id: z.string(),
  client_id_issued_at: z.number(),
  client_name: z.string().optional(),
  client_uri: z.string().optional(),
  logo_uri: z.string().optional(),
  application_type: z.enum(["native", "web"]).optional(),
  redirect_uris: z.array(z.string()),
  grant_types: z.array(z.string()),
  response_types: z.array(z.literal("code")),
  token_endpoint_auth_method: z.enum([
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
  ]),
  basicChosen: z.literal(true).optional(),
  jwks: z.unknown().optional(),
  jwks_uri: z.string().optional(),
  token_endpoint_auth_signing_alg: z.string().optional(),
  scope: z.string().optional(),
  secretHash: z.string().optional(),
  registrationTokenHash: z.string().optional(),
  provenance: z.enum(["registered", "configured", "document"]),
  usedAt: z.number(),
  removing: z.literal(true).optional(),
});

/** By the kind of their keys. */
export const schemas = {
  grant: Grant,
  approval: ConsentRecord,
  login: AwaitingLogin,
  session: Session,
  client: Client,
} as const;

export const keys = {
  ofUser: (subject: string) => `subject:${sha256(subject)}`,
  ofClient: (clientId: string) => `client:${sha256(clientId)}`,
  ofSession: (sid: string) => `session:${sha256(sid)}`,
  ended: (...ended: readonly string[]) => `ended:${sha256(JSON.stringify(ended))}`,
  withdrawn: (subject: string, clientId: string) =>
    `withdrawn:${sha256(JSON.stringify([subject, clientId]))}`,
  signedOut: (kind: "subject" | "session" | "without-session", value: string) =>
    `signed-out:${kind}:${sha256(value)}`,
};
