/** A tool whose scope is not among the default scopes, and a user who may have it: for step-up tests. */
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { ALICE, type TestServerOptions } from "./test-server.ts";

export const PLACE_ORDER = { name: "place_order", arguments: {} };

export const withOrders: TestServerOptions = {
  tools: [
    defineTool({
      name: PLACE_ORDER.name,
      description: "Places one",
      scopes: ["orders:write"],
      run: () => "placed",
    }),
  ],
  scopes: { "orders:write": { description: "Place orders", whenNeeded: true } },
  apiScopes: ["orders:write"],
  users: [{ ...ALICE, permissions: ["weather:read", "orders:write"] }],
  // Clients see what they may not use yet: some look a tool up before they call it.
  environment: { TOOLS_LISTED: "all" },
};
