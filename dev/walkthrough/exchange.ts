/**
 * `--exchange`: a person signs in, and tools of the demo call another API in their name. The server exchanges the person's own
 * token at the identity provider (RFC 8693); the API answers with what it was shown, by which a client can see it.
 */
import type { z } from "zod";
import { OrdersAnswer } from "../demo/orders-api.ts";
import type { Walk } from "./discovery.ts";
import { revoke } from "./end.ts";
import { createMcpClient } from "./mcp.ts";
import type { Settings } from "./settings.ts";
import { findAndRegister, refusedFor, signInFor } from "./step-up.ts";
import { callStructured, listTools, shakeHands } from "./tools.ts";
import { expect } from "./trace.ts";

const READ = "orders:read";
const WRITE = "orders:write";
const MY_ORDERS = { name: "my_orders" };
const PLACE_ORDER = { name: "place_order", arguments: {} };

type Token = z.infer<typeof OrdersAnswer>["token"];

export async function walkWithExchange(walk: Walk, settings: Settings): Promise<void> {
  const { trace, url, send } = walk;
  trace.show(`A person signs in at ${url}, and its tools call another API in their name.`);
  const registered = await findAndRegister(walk);
  const first = await signInFor(walk, registered, READ, settings);
  const client = createMcpClient(send, url, first.access_token);
  trace.step("Initialize MCP, and list the tools");
  await shakeHands(walk, client);
  const names = await listTools(walk, client);
  expect(names.includes(MY_ORDERS.name), {
    expected: `a tool ${MY_ORDERS.name}`,
    came: names.join(", ") || "no tools",
    hint: "The tools that call another API are the demo's own: npm run demo, without --tools.",
  });

  trace.step("Call a tool that calls another API in our name");
  const { token } = await callStructured(client.stateless, MY_ORDERS, OrdersAnswer, trace);
  explain(walk, token, READ);
  trace.step("Call it again");
  const { token: again } = await callStructured(client.stateless, MY_ORDERS, OrdersAnswer, trace);
  expect(again.jti === token.jti, {
    expected: `the API to be shown the same token, jti ${token.jti}`,
    came: again.jti,
    hint: "Every call would cost an exchange at the identity provider.",
  });
  trace.learned("the same jti: the token was kept, and nothing was exchanged this time");

  trace.step("Call a tool that needs more at the API than was granted");
  const scope = refusedFor(WRITE, await client.stateless({ method: "tools/call", params: PLACE_ORDER }));
  trace.learned(`refused before anything was exchanged: ask for "${scope}" and call again`);
  const second = await signInFor(walk, registered, scope, settings, "again, for more");
  client.useToken(second.access_token);
  trace.step("Call the same tool once more");
  const { token: other } = await callStructured(client.stateless, PLACE_ORDER, OrdersAnswer, trace);
  explain(walk, other, WRITE);
  expect(other.jti !== token.jti, {
    expected: "another token: this one is for other scopes",
    came: `the same, jti ${other.jti}`,
    hint: "A token must be used for what it was asked for.",
  });

  trace.step("Sign out: revoke, and call once more");
  await revoke(walk, registered.server, second.authorization, second);
  trace.learned("and with it what was exchanged for it");
}

/** It is the person's, the server asked for it as its own client, and it is for the API and nothing else. */
function explain(
  { trace, url }: Walk,
  { iss, sub, aud, client_id, scope, jti }: Token,
  needed: string,
): void {
  expect(aud !== url, {
    expected: "a token that is meant for the other API",
    came: `one for ${aud}`,
    hint: "Whoever has a token for this server could use it there, and the other way round.",
  });
  expect(scope === needed, {
    expected: `the scope ${needed}, and nothing else`,
    came: scope,
    hint: "A tool must not get more than it asks for.",
  });
  trace.learned(
    `the server exchanged the person's own token at ${iss} (RFC 8693), as its client ${client_id}`,
  );
  trace.learned(
    `the API was shown a token of ${sub}, for ${aud} alone, with the scope ${scope} (jti ${jti})`,
  );
  trace.learned("we got the API's answer and neither token: tokens never go to a client");
}
