/** The demo's tools that call another API in the person's name: one reads, the other needs more than was granted at first. */
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import type { Features } from "../../src/mcp/authoring/features.ts";
import { ToolError } from "../../src/mcp/authoring/request-context.ts";
import { getAccessTokenFor } from "../../src/resource/access-token-context.ts";
import { ORDERS_API, ORDERS_SCOPES, OrdersAnswer } from "./orders-api.ts";

/** What the server has, with these tools; without, where it has tools or scopes of the same names. */
export function withOrders(features: Features, url: string): Features {
  const { tools, scopes } = features;
  const orders = ordersTools(url);
  const names = new Set([...tools.map(({ name }) => name), ...Object.keys(scopes)]);
  const isTaken = [...orders.map(({ name }) => name), ...Object.keys(ORDERS_SCOPES)].some((name) =>
    names.has(name),
  );
  if (isTaken) return features;
  return { ...features, tools: [...tools, ...orders], scopes: { ...scopes, ...ORDERS_SCOPES } };
}

function ordersTools(url: string) {
  async function ask(method: string, scope: keyof typeof ORDERS_SCOPES, signal: AbortSignal) {
    const accessToken = await getAccessTokenFor({ audience: ORDERS_API, scopes: [scope] });
    const answer = await fetch(url, { method, headers: { authorization: `Bearer ${accessToken}` }, signal });
    if (!answer.ok) throw new ToolError(`The orders service answered ${answer.status}.`);
    return OrdersAnswer.parse(await answer.json());
  }

  return [
    defineTool({
      name: "my_orders",
      description: "The orders of whoever is signed in",
      scopes: ["orders:read"],
      output: OrdersAnswer,
      annotations: { readOnlyHint: true },
      run: (_input, { signal }) => ask("GET", "orders:read", signal),
    }),
    defineTool({
      name: "place_order",
      description: "Orders rubber boots for whoever is signed in",
      // Listed for everybody who may read: the scope to write is asked for when it is needed.
      scopes: ["orders:read"],
      output: OrdersAnswer,
      run: (_input, { signal }) => ask("POST", "orders:write", signal),
    }),
  ];
}
