/**
 * A server that was written with the MCP SDK 1.x, behind the bearer check, scopes and consent of this one. Its tools,
 * resources and prompts stay as they are; what is new is at the end: which scopes each of them needs.
 *
 *   npm install mcp-oidc-proxy @modelcontextprotocol/sdk zod
 *   node --env-file=.env existing-server.mts              # .env as in minimal.mts
 */
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import { featuresOf, getAccessToken, loadConfig, requireScopes, serve } from "mcp-oidc-proxy";
import { z } from "zod";

/** The server that was there before. */
function createOrdersServer(): McpServer {
  const server = new McpServer({ name: "orders", version: "1.0.0" });

  server.registerTool("list_orders", { description: "Your orders" }, ({ authInfo }) => {
    // The SDK's own way of asking who is calling works …
    return { content: [{ type: "text", text: `Orders of ${authInfo?.extra?.subject}: 17, 18` }] };
  });

  server.registerTool(
    "cancel_order",
    {
      description: "Cancels an order",
      inputSchema: { id: z.string(), refund: z.boolean().optional() },
    },
    async ({ id, refund }, { sendNotification, _meta }) => {
      // … and so do ours: without this scope the client is answered with HTTP 403 and asks the user for it.
      if (refund) requireScopes("orders:refund");
      if (_meta?.progressToken !== undefined)
        await sendNotification({
          method: "notifications/progress",
          params: { progressToken: _meta.progressToken, progress: 1, total: 2 },
        });
      const done = refund ? "cancelled and refunded" : "cancelled";
      return { content: [{ type: "text", text: `${getAccessToken().subject} ${done} order ${id}` }] };
    },
  );

  server.registerResource(
    "order",
    new ResourceTemplate("orders://order/{id}", { list: undefined }),
    { description: "One order", mimeType: "application/json" },
    (uri, { id }) => ({
      contents: [{ uri: uri.href, mimeType: "application/json", text: JSON.stringify({ id }) }],
    }),
  );

  server.registerPrompt(
    "complain",
    { description: "Complain about an order", argsSchema: { id: z.string() } },
    ({ id }) => ({
      messages: [{ role: "user", content: { type: "text", text: `Write a complaint about order ${id}.` } }],
    }),
  );
  return server;
}

// Everything that the server offers has to be named here, or this one does not start: a tool that was forgotten would be
// open to everybody who can sign in. That is what [] means.
const orders = await featuresOf(createOrdersServer(), {
  tools: { list_orders: ["orders:read"], cancel_order: ["orders:read", "orders:write"] },
  resources: { "orders://order/{id}": ["orders:read"] },
  prompts: { complain: [] },
});

await serve(loadConfig(process.env), {
  ...orders,
  scopes: {
    "orders:read": "See your orders",
    "orders:write": "Cancel your orders",
    "orders:refund": { description: "Send you money back", whenNeeded: true }, // asked for by the call that needs it
  },
});
