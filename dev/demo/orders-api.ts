/**
 * Another API, for tools that call one in a person's name: it takes access tokens of the demo's identity providers that are meant
 * for it, and answers with what it was shown, so that whoever called can see which token that was.
 */
import type { RequestListener } from "node:http";
import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from "jose";
import { z } from "zod";

/** Its identifier at the identity providers: the audience of its tokens. */
export const ORDERS_API = "https://orders.example.com";

/** What its scopes mean, for the consent page: nobody is asked for them before a tool needs them. */
export const ORDERS_SCOPES = {
  "orders:read": { description: "Read your orders", whenNeeded: true },
  "orders:write": { description: "Place orders in your name", whenNeeded: true },
} as const;

/** What it says of the token that it was shown, beside the orders. */
export const OrdersAnswer = z.object({
  orders: z.array(z.string()),
  token: z.object({
    iss: z.string(),
    sub: z.string(),
    aud: z.string(),
    client_id: z.string(),
    scope: z.string(),
    jti: z.string(),
  }),
});

type OrdersScope = keyof typeof ORDERS_SCOPES;

/** @param issuers whose tokens it takes; asked for with each request */
export function createOrdersApi(issuers: () => readonly string[]): RequestListener {
  const orders = new Map<string, string[]>();
  const keySets = new Map<string, ReturnType<typeof createRemoteJWKSet>>();

  async function verified(token: string): Promise<JWTPayload | undefined> {
    try {
      const { iss = "" } = decodeJwt(token);
      if (!issuers().includes(iss)) return undefined;
      const keys = keySets.get(iss) ?? createRemoteJWKSet(new URL(`${iss}/jwks`));
      keySets.set(iss, keys);
      return (await jwtVerify(token, keys, { issuer: iss, audience: ORDERS_API, typ: "at+jwt" })).payload;
    } catch {
      return undefined;
    }
  }

  return async (req, res) => {
    const answer = (status: number, body: object) =>
      res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const token = await verified(/^Bearer (\S+)$/i.exec(req.headers.authorization ?? "")?.[1] ?? "");
    if (token === undefined) return void answer(401, { error: "invalid_token" });
    const needed: OrdersScope = req.method === "POST" ? "orders:write" : "orders:read";
    if (!String(token.scope).split(" ").includes(needed))
      return void answer(403, { error: "insufficient_scope", scope: needed });
    const customer = `${token.iss} ${token.sub}`;
    const theirs = orders.get(customer) ?? ["umbrella"];
    if (req.method === "POST") theirs.push("rubber boots");
    orders.set(customer, theirs);
    const { iss, sub, aud, client_id, scope, jti = "" } = token;
    // Enough to tell one token from another.
    answer(200, { orders: theirs, token: { iss, sub, aud, client_id, scope, jti: jti.slice(0, 8) } });
  };
}
