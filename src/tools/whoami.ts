/** whoami: who the caller is, as this server sees them. Needs no scope beyond being signed in. */
import { z } from "zod";
import { getAccessToken } from "../mcp/access-token-context.ts";
import { defineTool } from "../mcp/define-tool.ts";

export const whoami = defineTool({
  name: "whoami",
  title: "Who am I",
  description: "Who is signed in, through which client, with which scopes, and until when",
  annotations: { readOnlyHint: true },
  output: z.object({
    subject: z.string(),
    name: z.string().optional(),
    email: z.string().optional(),
    clientId: z.string(),
    scopes: z.array(z.string()),
    expiresAt: z.string().describe("UTC, ISO 8601"),
  }),
  run() {
    const { subject, clientId, scopes, claims, expiresAt } = getAccessToken();
    return {
      subject,
      clientId,
      scopes: [...scopes],
      expiresAt: new Date(expiresAt * 1000).toISOString(),
      ...(typeof claims.name === "string" && { name: claims.name }),
      ...(typeof claims.email === "string" && { email: claims.email }),
    };
  },
});
