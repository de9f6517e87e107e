/**
 * The OpenID provider of the demo and of the tests: a certified implementation (oidc-provider) with the
 * behaviour of Auth0, or of another provider where a test asks for it.
 */
import { generateKeyPair as generateKeyPairCallback, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { type AdapterFactory, type JWK, Provider } from "oidc-provider";
import { configure, type McpServer, type Settings } from "./configuration.ts";
import { interact } from "./login.ts";
import {
  acceptJwtAtUserinfo,
  readAuthorizationRequests,
  refuseBasic,
  writeAnswers,
} from "./profile-middleware.ts";
import { completeProfile, GOOGLE, type ProviderBehaviour } from "./provider-profiles.ts";
import { createProviderStorage } from "./storage.ts";
import { registerTokenExchange } from "./token-exchange.ts";
import { createDirectory, type DemoUser } from "./users.ts";

export type { DemoUser, McpServer, ProviderBehaviour };
export { GOOGLE };

export interface IdentityProviderOptions {
  /** 0 takes any free port. */
  port: number;
  /** The address to listen on; 127.0.0.1 unless said otherwise. */
  host?: string;
  /** Where browsers and clients reach it, if that is not `http://localhost:PORT`: behind a proxy. No trailing slash. */
  publicUrl?: string;
  /** The one confidential client. */
  client: Settings["client"];
  /** The API's identifier: Auth0's `audience` and RFC 8707's `resource` both select it. */
  audience: string;
  /** A client of the API itself, which alone may exchange tokens for it (Auth0's "Custom API client"). Default: the one client may. */
  apiClient?: Settings["apiClient"];
  /** The API's scopes. */
  scopes: readonly string[];
  /** Other APIs, by identifier, with their scopes: their tokens are got by token exchange. Default: none. */
  otherApis?: Settings["otherApis"];
  /** Who the login page lists. */
  users: readonly DemoUser[];
  behaviour?: ProviderBehaviour;
  /** By how many seconds the client's clock is ahead: what is signed is good for as much longer. Default: 0. */
  clockAhead?(): number;
  /** An MCP server to which people and programs come with what this provider signs (ID-JAG, access tokens). Default: none. */
  mcpServer?: McpServer;
  /** What is answered under paths of the same origin by others: the demo's platform of workloads, another API. */
  beside?: Readonly<Record<string, RequestListener>>;
  /** How many seconds ago whoever signs in did so, by what it says: 0 unless said otherwise. */
  signedInAgo?(): number;
  /** What it remembers and signs with, to go on after a restart. Default: new at every start. */
  kept?: { adapter: AdapterFactory; cookieKey: string; signingKey: JWK };
}

export interface RunningIdentityProvider {
  issuer: string;
  port: number;
  /** A new signing key under a new `kid`; the old one is gone from the JWKS. Sessions and tokens stay. */
  rotateKeys(): Promise<void>;
  /** Changes what is known of a listed user; their tokens say so from the next refresh on. */
  changeUser(subject: string, change: Partial<DemoUser>): void;
  /** The client authenticates with this from now on, and with nothing else. */
  changeClient(proof: { secret: string } | { jwks: readonly JWK[] }): void;
  /** The API has these scopes now. */
  changeScopes(scopes: readonly string[]): void;
  close(): Promise<void>;
}

export async function startIdentityProvider(
  options: IdentityProviderOptions,
): Promise<RunningIdentityProvider> {
  const behaviour = completeProfile(options.behaviour);
  const settings: Settings = {
    mcpServer: options.mcpServer,
    client: options.client,
    audience: options.audience,
    apiClient: options.apiClient,
    scopes:
      behaviour.apiScopes === "known" ? options.scopes.map((scope) => behaviour.scopePrefix + scope) : [],
    otherApis: options.otherApis ?? {},
    directory: createDirectory(options.users),
    behaviour,
    clockAhead: options.clockAhead ?? (() => 0),
    signedInAgo: options.signedInAgo ?? (() => 0),
    organizations: new Map(),
    offline: new Set(),
  };
  let answer: RequestListener = (_req, res) => void res.writeHead(503).end();
  const beside = Object.entries(options.beside ?? {});
  const server = createServer((req, res) => {
    const found = beside.find(([path]) => req.url === path || req.url?.startsWith(`${path}/`));
    (found?.[1] ?? answer)(req, res);
  });
  server.listen(options.port, options.host ?? "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const slash = settings.behaviour.trailingSlashIssuer ? "/" : "";
  const issuer = `${options.publicUrl ?? `http://localhost:${port}`}${slash}`;
  const { adapter, cookieKey } = options.kept ?? {
    adapter: createProviderStorage(),
    cookieKey: randomBytes(32).toString("base64url"),
  };
  const kept = { adapter, cookieKey, port };

  // oidc-provider takes its keys and the names of claims once, so new ones mean a new provider over the same storage.
  let signingKey = options.kept?.signingKey ?? (await firstSigningKey());
  function restart(): void {
    answer = createProvider(issuer, settings, kept, signingKey).callback();
  }

  async function rotateKeys(): Promise<void> {
    signingKey = await createSigningKey();
    restart();
  }

  restart();
  return {
    issuer,
    port,
    rotateKeys,
    changeUser(subject, change) {
      settings.directory.change(subject, change);
      restart();
    },
    changeClient(proof) {
      const { jwks: _, ...client } = settings.client;
      settings.client = { ...client, ...proof };
      restart();
    },
    changeScopes(scopes) {
      settings.scopes = scopes;
      restart();
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function createProvider(
  issuer: string,
  settings: Settings,
  kept: Omit<Parameters<typeof configure>[1], "signingKey">,
  signingKey: JWK,
): Provider {
  const provider = new Provider(issuer, configure(settings, { ...kept, signingKey }));
  if (Object.keys(settings.otherApis).length > 0 || settings.mcpServer !== undefined)
    registerTokenExchange(provider, settings, issuer, signingKey);
  // Auth0 puts `sid` into every ID token, oidc-provider only into those of back-channel logout clients.
  provider.Client.prototype.includeSid = () => true;
  provider.use(readAuthorizationRequests(settings));
  provider.use(writeAnswers(settings));
  provider.use(refuseBasic(settings));
  provider.use(acceptJwtAtUserinfo(settings, issuer, signingKey));
  provider.use(interact(provider, settings));
  // Without a listener oidc-provider answers `server_error` and logs no reason.
  provider.on("server_error", (_ctx, error) => console.error("demo identity provider:", error));
  return provider;
}

const generateKeyPair = promisify(generateKeyPairCallback);
let first: Promise<JWK> | undefined;

/**
 * What a provider of this process begins with, under a `kid` of its own. It takes 0.2 s to make one, and a test starts
 * dozens of providers; which key it is matters to them only after a rotation.
 */
async function firstSigningKey(): Promise<JWK> {
  first ??= createSigningKey();
  return { ...(await first), kid: newKid() };
}

export async function createSigningKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: newKid(), use: "sig", alg: "RS256" } as JWK;
}

function newKid(): string {
  return randomBytes(8).toString("base64url");
}
