/**
 * `npm run demo -- --backend`: an MCP server as companies have them, with sessions and without any sign-in, made with another library
 * than this project's own (the TypeScript MCP SDK 1.x, which is a dependency anyway: the demo is part of the package). Of what stands
 * in front of it only `who_is_calling` knows.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { z } from "zod";

export interface Crm {
  /** Its MCP endpoint: whoever reaches it may call everything. */
  url: string;
  close(): Promise<void>;
}

export interface CrmOptions {
  /** Who signs the identity of callers. */
  issuer: string;
  /** What it is called there. */
  audience: string;
}

const STEPS = 4;
const STEP_MS = 250;

/** Listens on any free port of 127.0.0.1. */
export async function startCrm(options: CrmOptions): Promise<Crm> {
  const server = createServer(withSessions(crmTools(options)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** As the SDK's example has it: a server and a transport for each session. */
function withSessions(newServer: () => McpServer): RequestListener {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  return async (req, res) => {
    const id = req.headers["mcp-session-id"];
    const known = typeof id === "string" ? sessions.get(id) : undefined;
    if (known !== undefined) return known.handleRequest(req, res);
    if (id !== undefined) return void res.writeHead(404).end();
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (session) => void sessions.set(session, transport),
      onsessionclosed: (session) => void sessions.delete(session),
    });
    // Its own type of a transport leaves no room for exactOptionalPropertyTypes.
    await newServer().connect(transport as never);
    await transport.handleRequest(req, res);
  };
}

function crmTools({ issuer, audience }: CrmOptions): () => McpServer {
  const customers = ["Ada's Umbrellas", "Boots & Sons"];
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  const output = { customers: z.array(z.string()) };
  const answer = (structuredContent: Record<string, unknown>) => ({
    content: [{ type: "text" as const, text: JSON.stringify(structuredContent) }],
    structuredContent,
  });

  return () => {
    const server = new McpServer({ name: "crm", version: "1.0.0" });
    server.registerTool(
      "find_customers",
      { description: "All customers", outputSchema: output, annotations: { readOnlyHint: true } },
      () => answer({ customers }),
    );
    server.registerTool(
      "add_customer",
      { description: "Adds one", inputSchema: { name: z.string().min(1).max(100) }, outputSchema: output },
      ({ name }) => {
        customers.push(name);
        return answer({ customers });
      },
    );
    server.registerTool(
      "count_customers",
      { description: "Counts them, slowly, and reports how far it is", annotations: { readOnlyHint: true } },
      async ({ sendNotification, _meta: { progressToken } = {} }) => {
        for (let progress = 1; progress <= STEPS; progress++) {
          await delay(STEP_MS);
          if (progressToken === undefined) continue;
          const params = { progressToken, progress, total: STEPS };
          await sendNotification({ method: "notifications/progress", params });
        }
        return answer({ count: customers.length });
      },
    );
    server.registerTool(
      "who_is_calling",
      { description: "What came with this very call", annotations: { readOnlyHint: true } },
      async ({ requestInfo }) => {
        const headers = requestInfo?.headers ?? {};
        const assertion = headers["x-mcp-identity-assertion"];
        if (typeof assertion !== "string") return answer({ headers: Object.keys(headers) });
        const expected = { issuer, audience, typ: "mcp-identity+jwt", algorithms: ["ES256"] };
        const { payload } = await jwtVerify(assertion, keys, expected);
        return answer({ headers: Object.keys(headers), identity: payload });
      },
    );
    server.registerTool("delete_customers", { description: "Deletes all" }, () => {
      customers.length = 0;
      return answer({ customers });
    });
    return server;
  };
}
