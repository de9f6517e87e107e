/**
 * The API behind the tool in backend-api.mts. It knows nothing of MCP: it takes the identity provider's access tokens that
 * are for it (RFC 9068), as any resource server does.
 */
import { createServer, type IncomingMessage } from "node:http";
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from "jose";

const { AUTH0_DOMAIN, AUTH0_AUDIENCE, OIDC_ISSUER, OIDC_AUDIENCE, BACKEND_PORT } = process.env;
const issuer = AUTH0_DOMAIN ? `https://${AUTH0_DOMAIN}/` : String(OIDC_ISSUER);
const audience = String(AUTH0_AUDIENCE ?? OIDC_AUDIENCE);

const discovery = await fetch(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
const { jwks_uri } = (await discovery.json()) as { jwks_uri: string };
const keys = createRemoteJWKSet(new URL(jwks_uri));

async function verify({ headers }: IncomingMessage): Promise<JWTPayload | undefined> {
  const [, token = ""] = /^Bearer (.+)$/.exec(headers.authorization ?? "") ?? [];
  try {
    return (await jwtVerify(token, keys, { issuer, audience })).payload;
  } catch {
    return undefined;
  }
}

createServer(async (req, res): Promise<void> => {
  const user = await verify(req);
  const scopes = String(user?.scope ?? "").split(" ");
  if (user === undefined) return void res.writeHead(401).end();
  if (!scopes.includes("notes:read")) return void res.writeHead(403).end();
  res.setHeader("content-type", "application/json");
  res.end(JSON.stringify({ owner: user.sub, notes: ["Buy milk"] }));
}).listen(Number(BACKEND_PORT), "127.0.0.1");
