/**
 * Makes the embedded provider, behind a {@link FaultyProxy}, one with many tenants, as Entra is: one discovery document whose
 * issuer is a pattern, and tokens of each tenant's own issuer.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeJwt, type JWTPayload } from "jose";
import type { FaultyProxy } from "./faulty-proxy.ts";
import { publishKey } from "./provider-key.ts";

export interface Tenants {
  /** With `{tenantid}`. */
  issuer: string;
  issuerOf(tenant: string): string;
  /** Whose tokens are issued from now on. */
  tenant: string;
  /** What ID and access tokens say otherwise. */
  idToken: JWTPayload;
  accessToken: JWTPayload;
  close(): Promise<void>;
}

export async function startTenants(upstream: FaultyProxy, tenant: string): Promise<Tenants> {
  const server = createServer(async (req, res) => {
    if (req.url !== "/organizations/v2.0/.well-known/openid-configuration")
      return void res.writeHead(404).end();
    const answer = await fetch(`http://localhost:${upstream.port}/.well-known/openid-configuration`);
    const { authorization_response_iss_parameter_supported: _, ...document } =
      (await answer.json()) as object & {
        authorization_response_iss_parameter_supported?: boolean;
      };
    res.writeHead(200, { "content-type": "application/json" });
    res.end(JSON.stringify({ ...document, issuer: tenants.issuer }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  const sign = await publishKey(upstream);
  const tenants: Tenants = {
    issuer: `${origin}/{tenantid}/v2.0`,
    issuerOf: (named) => `${origin}/${named}/v2.0`,
    tenant,
    idToken: {},
    accessToken: {},
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const asTenants = async (token: unknown, otherwise: JWTPayload) =>
    typeof token === "string" && token.split(".").length === 3
      ? sign({
          ...decodeJwt(token),
          iss: tenants.issuerOf(tenants.tenant),
          tid: tenants.tenant,
          ...otherwise,
        })
      : token;
  upstream.rewrite = async (body) => ({
    ...body,
    id_token: await asTenants(body.id_token, tenants.idToken),
    access_token: await asTenants(body.access_token, tenants.accessToken),
  });
  return tenants;
}
